-- Reads a page of a log. Does the same as `Logs`.
-- KEYS: the log. ARGV: from (a position), now (milliseconds), octets and records of a page.
-- Answer: next position, 1 if records were missed, a line end, then each record as its length, a
-- space and its octets.
local from, now, octets, records = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function position(entry)
  return tonumber(entry[1]:match('^(%d+)'))
end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not last or now >= tonumber(last[2][2]) then
  return ARGV[1] .. ' 0\n'
end
local first = position(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1])
local start = from
if from < first or from > position(last) + 1 then
  start = first
end
local missed = 0
if from ~= 0 and start ~= from then
  missed = 1
end
local page, following = {}, start
while following <= position(last) and records > 0 do
  -- In small batches, because the page may already be full after the first record.
  local entries = redis.call('XRANGE', KEYS[1], string.format('%.0f-0', following), '+', 'COUNT', 16)
  for _, entry in ipairs(entries) do
    local record = entry[2][4]
    octets, records = octets - #record, records - 1
    if octets < 0 or records < 0 then
      records = 0
      break
    end
    page[#page + 1] = #record .. ' ' .. record
    following = position(entry) + 1
  end
end
return string.format('%.0f %d\n', following, missed) .. table.concat(page)
