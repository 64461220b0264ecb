-- Records a sighting, or only returns it if ARGV[5] is "recall". Does the same as `Seen`.
-- KEYS: the record. ARGV: now, apart, once, again (milliseconds), "see" or "recall".
-- Record: first, last, expires, times, early. Answer: first, last, times, early, counted.
local now, apart, once, again = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local record = redis.call('GET', KEYS[1]) or ''
local first, last, expires, times, early = record:match('^(%d+) (%d+) (%d+) (%d+) (%d+)$')
first, last, expires = tonumber(first), tonumber(last), tonumber(expires)
times, early = tonumber(times), tonumber(early)
local known = first and now < expires
local counted = 0
if ARGV[5] == 'recall' then
  if not known then
    return ''
  end
else
  if not known then
    first, last, expires, times, early, counted = now, now, now + once, 1, 0, 1
  else
    first, last = math.min(first, now), math.min(last, now)
    if now - last >= apart then
      last, expires, times, counted = now, now + again, math.min(times + 1, 4294967295), 1
    else
      early = math.min(early + 1, 4294967295)
      expires = math.min(expires, now + math.max(once, again))
    end
  end
  record = string.format('%.0f %.0f %.0f %.0f %.0f', first, last, expires, times, early)
  redis.call('SET', KEYS[1], record, 'PX', string.format('%.0f', math.max(expires - now, 1)))
end
return string.format('%.0f %.0f %.0f %.0f %d', first, last, times, early, counted)
