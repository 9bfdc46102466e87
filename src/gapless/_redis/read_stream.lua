-- Read a stream from one entry on, in one step with what shows whether anything is missing.
--
-- KEYS  1 stream, 2 last-id key
-- ARGV  1 id to begin with, or "-"
--       2 COUNT, "" for all
--       3 stop after so many bytes of payloads, "" for never
--       4 "pushed": leave out what gapless has not appended
-- Returns the entries with a payload from the id on (the payload of that very entry is left out, the reader
-- has it), the oldest entry (a list of at most one, its payload left out), the last id, 1 if there are more
-- entries than these, and the number of all entries.

local count = tonumber(ARGV[2])
local ask = count
local page
local entries
repeat
  if ask then
    page = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ask)
  else
    page = redis.call('XRANGE', KEYS[1], ARGV[1], '+')
  end
  -- Those of others don't take the place of ours: who gets fewer than it asks for has got all.
  entries = {}
  for _, entry in ipairs(page) do
    local wanted = entry[2][1] == 'data' and (ARGV[4] ~= 'pushed' or entry[2][5] == 'by')
    if wanted and not (count and #entries == count) then
      entries[#entries + 1] = entry
    end
  end
  local read_all = not ask or #page < ask
  ask = ask and ask + 2 * (#page - #entries)
until read_all or #entries == count
local more = count and #entries == count or false
if entries[1] and entries[1][1] == ARGV[1] then
  entries[1][2][2] = ''
end
if ARGV[3] ~= '' then
  local left = tonumber(ARGV[3])
  for i, entry in ipairs(entries) do
    -- At least one that the reader does not have.
    if left <= 0 and i > 2 then
      more = true
      for j = #entries, i, -1 do
        entries[j] = nil
      end
      break
    end
    left = left - #entry[2][2]
  end
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
if oldest[1] then
  oldest[1][2] = {}
end
return {entries, oldest, redis.call('GET', KEYS[2]), more and 1 or 0, redis.call('XLEN', KEYS[1])}
