-- Sets a value. KEYS: the record. ARGV: value, expiry time, now (milliseconds). Record: expiry
-- time, a space, value.
local lifetime = tonumber(ARGV[2]) - tonumber(ARGV[3])
if lifetime > 0 then
  redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[1], 'PX', string.format('%.0f', lifetime))
else
  redis.call('DEL', KEYS[1])
end
return ''
