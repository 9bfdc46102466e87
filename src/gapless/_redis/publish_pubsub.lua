-- Publish one payload to several channels, in order, in one step.
--
-- ARGV  1 payload
--       2... push channel names. Not KEYS: an ACL checks those against its key patterns.

for i = 2, #ARGV do
  redis.call('PUBLISH', ARGV[i], ARGV[1])
end
return 1
