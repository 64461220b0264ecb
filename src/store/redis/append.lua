-- Appends a record to a log. Does the same as `Logs`, without its bound in octets and its
-- limit for the number of logs.
-- KEYS: the log, a stream. ARGV: record, records kept, end, now (milliseconds), first position of a new log.
-- Entry: position as ID, expiry time of the log, record. Answer: the position.
local now, position = tonumber(ARGV[4]), tonumber(ARGV[5])
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last then
  local following = tonumber(last[1]:match('^(%d+)')) + 1
  if now < tonumber(last[2][2]) then
    position = following
  else
    position = math.max(position, following)
    redis.call('DEL', KEYS[1])
  end
end
local id = string.format('%.0f-0', position)
redis.call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[2], id, 'e', ARGV[3], 'r', ARGV[1])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(tonumber(ARGV[3]) - now, 1)))
return string.format('%.0f', position)
