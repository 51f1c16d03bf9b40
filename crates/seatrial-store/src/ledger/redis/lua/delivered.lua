-- Writes how a try to deliver ended, if nobody did since it was read.
-- ARGV: prefix, id, what was read, what to write or '', in how many microseconds to try again or ''.

local id = ARGV[2]
if redis.call('HGET', P .. ':deliveries', id) ~= ARGV[3] then
  return 0
end
if ARGV[4] == '' then
  redis.call('HDEL', P .. ':deliveries', id)
else
  redis.call('HSET', P .. ':deliveries', id, ARGV[4])
end
if ARGV[5] == '' then
  redis.call('ZREM', P .. ':outbox', id)
else
  redis.call('ZADD', P .. ':outbox', clock() + tonumber(ARGV[5]), id)
end
return 1
