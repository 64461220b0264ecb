-- Takes tokens from a bucket, all of them or none. Does the same as `Bucket`.
-- KEYS: the record. ARGV: now, whole, each (microseconds), tokens (no more than the bucket holds).
-- Record: the time at which the bucket will be full. Answer: "granted" and the rest, or "exhausted"
-- and the wait, in microseconds.
local now, whole, each, tokens = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local record = redis.call('GET', KEYS[1])
local stored = record and tonumber(record)
local full = math.min(math.max(stored or now, now), now + whole)
local taken = full + each * tokens
local rest = now + whole - taken
if rest >= 0 then
  full = taken
end
-- A query for 0 tokens writes nothing: a trial only reads. Neither does a refusal, unless the
-- record was wrong.
if tokens > 0 and full ~= stored then
  local lifetime = math.ceil((full - now) / 1000)
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', lifetime))
end
if rest >= 0 then
  return string.format('granted %.0f', rest)
end
return string.format('exhausted %.0f', -rest)
