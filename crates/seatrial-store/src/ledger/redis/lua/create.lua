-- Remembers a job: record, place, idempotency key and first news, or nothing.
-- ARGV: prefix, name of the idempotency key or '', fingerprint, its life in milliseconds, most jobs that
-- may wait, '1' to keep a list of the caller's jobs; then the job as `put` takes it.

local key, fingerprint, keep, most, listed = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local id, caller, place = ARGV[7], ARGV[10], ARGV[12]

-- Asked again, with the same id or the same key.
local known = redis.call('HGET', P .. ':j:' .. id, 'record')
if known then
  return { 'existing', known }
end
if key ~= '' then
  local kept = redis.call('GET', P .. ':i:' .. key)
  if kept then
    local first, of = string.match(kept, '^(%S+) (%S+)$')
    local record = first and redis.call('HGET', P .. ':j:' .. first, 'record')
    if record and of == fingerprint then
      return { 'existing', record }
    elseif record then
      return { 'reused' }
    end
  end
end
if place == 'ready' or place == 'delayed' then
  local waiting = redis.call('ZCARD', P .. ':picked')
  for _, priority in ipairs(PRIORITIES) do
    waiting = waiting + redis.call('ZCARD', P .. ':r:' .. priority) + redis.call('ZCARD', P .. ':d:' .. priority)
  end
  if waiting >= most then
    return { 'full', waiting }
  end
end

-- The first write is one that Redis refuses when its memory is full: then nothing was written.
redis.call('HSET', P .. ':j:' .. id, 'idem', key)
redis.call('ZADD', P .. ':all', 0, id)
if listed == '1' then
  redis.call('ZADD', P .. ':c:' .. caller, 0, id)
end
if key ~= '' then
  redis.call('SET', P .. ':i:' .. key, id .. ' ' .. fingerprint, 'PX', keep)
end
put(7)
return { 'new' }
