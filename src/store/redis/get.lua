-- Returns a value. KEYS: the record. ARGV: now (milliseconds).
-- Answer: empty if there is none, or "=" and the value.
local record = redis.call('GET', KEYS[1])
if not record then
  return ''
end
local stop, value = record:match('^(%d+) (.*)$')
if not stop or tonumber(ARGV[1]) >= tonumber(stop) then
  return ''
end
return '=' .. value
