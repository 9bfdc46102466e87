-- Read a stream from one entry on, in one step with what shows whether anything is missing.
--
-- KEYS  1 stream, 2 last-id key
-- ARGV  1 id to begin with, 2 COUNT, "" for all
-- Returns the entries from the id on, the oldest entry (a list of at most one), and the last id.

local entries
if ARGV[2] == '' then
  entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+')
else
  entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
end
return {entries, redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1), redis.call('GET', KEYS[2])}
