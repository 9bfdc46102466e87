-- Look which of some publishes a stream holds, and what shows whether it held others before.
--
-- KEYS  1 stream, 2 last-id key
-- ARGV  1 id from which on to look: none of the publishes can have got a smaller one
--       2 look at no more entries than this
--       3... unique ids of the publishes, as in the field "by" that publish_stream.lua adds
-- Returns the unique ids that were found, 1 if all entries were looked at, and the ids of the oldest entry and
-- of the last event ("" if there is none).

-- Payloads pass through the memory of this script, so it takes a few at a time.
local BATCH = 16

local wanted, left = {}, #ARGV - 2
for i = 3, #ARGV do
  wanted[ARGV[i]] = true
end

local found, looked, complete, start = {}, 0, 0, ARGV[1]
while left > 0 and complete == 0 and looked < tonumber(ARGV[2]) do
  local entries = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', BATCH)
  for _, entry in ipairs(entries) do
    local by = entry[2][6]
    if by and wanted[by] then
      wanted[by] = nil
      found[#found + 1] = by
      left = left - 1
    end
    start = '(' .. entry[1]
  end
  looked = looked + #entries
  if #entries < BATCH then
    complete = 1
  end
end

local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
return {found, complete, oldest and oldest[1] or '', redis.call('GET', KEYS[2]) or ''}
