-- Adds to a balance. If there is nothing to add, only returns it. Does the same as `Weighed`.
-- KEYS: the record. ARGV: now, half-life (milliseconds), good, bad, maximum of either, lifetime (in
-- half-lives).
-- Record: good, bad, at, expires. Answer: good, bad.
local now, half_life = tonumber(ARGV[1]), tonumber(ARGV[2])
local add_good, add_bad, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local record = redis.call('GET', KEYS[1]) or ''
local good, bad, at, expires = record:match('^([%d.e+-]+) ([%d.e+-]+) (%d+) (%d+)$')
good, bad, at, expires = tonumber(good), tonumber(bad), tonumber(at), tonumber(expires)
if not (good and bad and at and now < expires) then
  good, bad, at = 0, 0, now
end
if at > now + half_life then
  at = now
end
local factor = 0.5 ^ (math.max(now - at, 0) / half_life)
good, bad = good * factor, bad * factor
if add_good > 0 or add_bad > 0 then
  good, bad, at = math.min(good + add_good, most), math.min(bad + add_bad, most), math.max(at, now)
  expires = at + half_life * tonumber(ARGV[6])
  record = string.format('%.17g %.17g %.0f %.0f', good, bad, at, expires)
  redis.call('SET', KEYS[1], record, 'PX', string.format('%.0f', expires - now))
end
return string.format('%.17g %.17g', good, bad)
