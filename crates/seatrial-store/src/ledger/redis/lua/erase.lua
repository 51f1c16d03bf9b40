-- Forgets a job, if nobody moved it since it was read. ARGV: prefix, id, the number that was read.

local id = ARGV[2]
local job = redis.call('HMGET', P .. ':j:' .. id, 'cas', 'priority', 'caller', 'idem')
if job[1] ~= ARGV[3] then
  return 0
end
local priority, caller, key = job[2], job[3], job[4]
leave(priority, caller, id)
for _, index in ipairs({ ':d:' .. priority, ':picked', ':due', ':all', ':c:' .. caller, ':settled', ':outbox' }) do
  redis.call('ZREM', P .. index, id)
end
redis.call('SREM', P .. ':running', id)
redis.call('HDEL', P .. ':deliveries', id)
if key and key ~= '' then
  -- The key may have been given to another job since.
  local kept = redis.call('GET', P .. ':i:' .. key)
  if kept and string.match(kept, '^%S+') == id then
    redis.call('DEL', P .. ':i:' .. key)
  end
end
redis.call('DEL', P .. ':n:' .. id)
redis.call('DEL', P .. ':j:' .. id)
redis.call('PUBLISH', P .. ':moved', id)
return 1
