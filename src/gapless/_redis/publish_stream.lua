-- Append one payload to the stream of each channel and push it to the channel's subscribers.
--
-- KEYS  stream, last-id key, stream, last-id key, ...        one pair per channel, in publish order
-- ARGV  1 payload
--       2 MAXLEN operator, "~" or "="
--       3 MAXLEN
--       4 time to live of a stream in ms, "" for ever
--       5 time to live of a last-id key in ms
--       6... channel names, as in KEYS
--
-- Pushes "g<id> g<previous id> <payload>" ("g-" if there is no previous id) on a channel named like the stream.
-- A key of the wrong type is found before anything is written, or what was written is taken back. What the
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

for i = 1, #KEYS, 2 do
  local stream = KEYS[i]
  local id = redis.call('XADD', stream, 'MAXLEN', ARGV[2], ARGV[3], '*', 'data', ARGV[1], 'channel', ARGV[5 + (i + 1) / 2])
  if ARGV[4] == '' then
    redis.call('PERSIST', stream)
  else
    redis.call('PEXPIRE', stream, ARGV[4])
  end
  local previous = redis.pcall('SET', KEYS[i + 1], id, 'PX', ARGV[5], 'GET') or '-'
  if type(previous) == 'table' then
    redis.call('XDEL', stream, id)
    return previous
  end
  redis.call('PUBLISH', stream, 'g' .. id .. ' g' .. previous .. ' ' .. ARGV[1])
end
return 1
