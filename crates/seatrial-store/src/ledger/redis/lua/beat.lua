-- A worker says that it lives; those that did not say so for long are forgotten.
-- ARGV: prefix, its name, its card, for how many microseconds.

local now = clock()
for _, name in ipairs(redis.call('ZRANGE', P .. ':beats', '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('ZREM', P .. ':beats', name)
  redis.call('HDEL', P .. ':workers', name)
end
redis.call('HSET', P .. ':workers', ARGV[2], ARGV[3])
redis.call('ZADD', P .. ':beats', now + tonumber(ARGV[4]), ARGV[2])
return 1
