-- Deliveries to try now; nobody else gets them for a while. ARGV: prefix, how many, for how long.

local now = clock()
local found = {}
for _, id in ipairs(redis.call('ZRANGE', P .. ':outbox', '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  local delivery = redis.call('HGET', P .. ':deliveries', id)
  if delivery then
    redis.call('ZADD', P .. ':outbox', now + tonumber(ARGV[3]), id)
    found[#found + 1] = delivery
  else
    redis.call('ZREM', P .. ':outbox', id)
  end
end
return found
