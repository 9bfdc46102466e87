-- Append one payload to the stream of each channel and push it to the channel's subscribers.
--
-- KEYS  stream, last-id key, stream, last-id key, ...        one pair per channel, in publish order
-- ARGV  1 payload
--       2 MAXLEN operator, "~" or "="
--       3 MAXLEN
--       4 time to live of a stream in ms, "" for ever
--       5 time to live of a last-id key in ms
--       6 longest payload that is pushed, in bytes
--       7 unique id of this publish, by which find_publishes.lua knows the entries
--       8 name of this server, "" if unknown
--       9... channel names, as in KEYS
--
-- Pushes "g<id> g<previous id> <payload>" ("g-" if there is no previous id) on a channel named like the stream.
-- A payload that is too long to be pushed is left out, and the letter is r: "g<id> r<previous id> ".
-- A key of the wrong type is found before anything is written. What the
-- ACL forbids is found only when it is tried: earlier channels have got the event then.

if #KEYS > 2 then
  for i, key in ipairs(KEYS) do
    local kind = redis.call('TYPE', key).ok
    local expected = i % 2 == 1 and 'stream' or 'string'
    if kind ~= expected and kind ~= 'none' then
      return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. kind .. ', not a ' .. expected)
    end
  end
end

local link, pushed = ' g', ARGV[1]
if #pushed > tonumber(ARGV[6]) then
  link, pushed = ' r', ''
end

for i = 1, #KEYS, 2 do
  local stream = KEYS[i]
  local previous = redis.pcall('GET', KEYS[i + 1])
  if not previous then
    previous = '-'
  elseif type(previous) == 'table' then
    return previous
  elseif #previous > 41 or not string.find(previous, '^%d+%-%d+$') then
    -- Somebody else's. The stream knows better, unless it has expired: then it is not known.
    local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
    previous = newest[1] and newest[1][1] or '0-1'
  end
  local id = redis.call('XADD', stream, 'MAXLEN', ARGV[2], ARGV[3], '*',
    'data', ARGV[1], 'channel', ARGV[8 + (i + 1) / 2],
    'by', ARGV[7], 'server', ARGV[8], 'previous', previous)
  if ARGV[4] == '' then
    redis.call('PERSIST', stream)
  else
    redis.call('PEXPIRE', stream, ARGV[4])
  end
  redis.call('SET', KEYS[i + 1], id, 'PX', ARGV[5])
  redis.call('PUBLISH', stream, 'g' .. id .. link .. previous .. ' ' .. pushed)
end
return 1
