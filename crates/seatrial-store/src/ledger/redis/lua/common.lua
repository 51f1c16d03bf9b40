-- What the scripts share; stands in front of each. They know where a job is found, not what a move means:
-- that is JobRecord::on, in Rust. Every loop here is bounded by what was asked for, or by 100.
--
-- KEYS[1] only tells which shard; all keys share the hash tag. ARGV[1] is the prefix.
-- Times are microseconds: whole numbers below 2^53, so a double keeps them.

local P = ARGV[1]
local PRIORITIES = { 'high', 'normal', 'low' }

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Puts a job into its queue. Start-time fair queueing: it ranks behind the last that was picked and
-- behind its caller's last; one that had its turn ranks with the last that was picked.
local function enter(priority, caller, id, front)
  local ready = P .. ':r:' .. priority
  if redis.call('ZSCORE', ready, id) then
    return
  end
  local rank = tonumber(redis.call('HGET', P .. ':turn', priority) or '0')
  if not front then
    local last = tonumber(redis.call('HGET', P .. ':last:' .. priority, caller) or '0')
    rank = math.max(rank, last) + 1
    redis.call('HSET', P .. ':last:' .. priority, caller, rank)
  end
  redis.call('ZADD', ready, rank, id)
  redis.call('HINCRBY', P .. ':count:' .. priority, caller, 1)
  -- One token wakes one idle worker. They are bounded: beyond that, all are awake.
  redis.call('LPUSH', P .. ':wake', '1')
  redis.call('LTRIM', P .. ':wake', 0, 63)
end

-- Takes a job out of its queue; `turn` says that it has its turn now. A caller of whom none waits any more
-- is forgotten. What a user may not do stands first: a script that is refused half-way is not undone.
local function leave(priority, caller, id, turn)
  local rank = redis.call('ZSCORE', P .. ':r:' .. priority, id)
  if not rank then
    return
  end
  if turn and tonumber(rank) > tonumber(redis.call('HGET', P .. ':turn', priority) or '0') then
    redis.call('HSET', P .. ':turn', priority, rank)
  end
  redis.call('ZREM', P .. ':r:' .. priority, id)
  if redis.call('HINCRBY', P .. ':count:' .. priority, caller, -1) <= 0 then
    redis.call('HDEL', P .. ':count:' .. priority, caller)
    redis.call('HDEL', P .. ':last:' .. priority, caller)
  end
end

-- Queues what was picked by a process that did not come back, and what is delayed no more.
local function promote(now)
  for _, id in ipairs(redis.call('ZRANGE', P .. ':picked', '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
    redis.call('ZREM', P .. ':picked', id)
    local job = redis.call('HMGET', P .. ':j:' .. id, 'priority', 'caller')
    if job[1] then
      enter(job[1], job[2], id, true)
    end
  end
  for _, priority in ipairs(PRIORITIES) do
    local delayed = P .. ':d:' .. priority
    for _, id in ipairs(redis.call('ZRANGE', delayed, '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
      redis.call('ZREM', delayed, id)
      local job = redis.call('HMGET', P .. ':j:' .. id, 'caller', 'front')
      if job[1] then
        enter(priority, job[1], id, job[2] == '1')
      end
    end
  end
end

-- Writes a job and where it is found. Its arguments stand from `at` on; returns where the next begin.
-- What takes away comes first: Redis lets a script finish beyond its memory limit once it has written, and
-- always lets it remove. So jobs can end while the memory is full, though none can come.
local function put(at)
  local id, priority, caller, front, place = ARGV[at], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local not_before, due, finished, tell, delivery = ARGV[at + 6], ARGV[at + 7], ARGV[at + 8], ARGV[at + 9], ARGV[at + 10]
  local schema, record, news = ARGV[at + 11], ARGV[at + 12], tonumber(ARGV[at + 13])
  local job = P .. ':j:' .. id
  redis.call('ZREM', P .. ':picked', id)
  if place ~= 'ready' then
    leave(priority, caller, id, place == 'running')
  end
  if place ~= 'delayed' then
    redis.call('ZREM', P .. ':d:' .. priority, id)
  end
  if place ~= 'running' then
    redis.call('SREM', P .. ':running', id)
  end
  redis.call('HSET', job, 'schema', schema, 'priority', priority, 'caller', caller, 'front', front, 'record', record)
  redis.call('HINCRBY', job, 'cas', 1)
  if place == 'ready' then
    enter(priority, caller, id, front == '1')
  elseif place == 'delayed' then
    redis.call('ZADD', P .. ':d:' .. priority, not_before, id)
  elseif place == 'running' then
    redis.call('SADD', P .. ':running', id)
  end
  if due == '' then
    redis.call('ZREM', P .. ':due', id)
  else
    redis.call('ZADD', P .. ':due', due, id)
  end
  if finished ~= '' then
    redis.call('ZADD', P .. ':settled', finished, id)
  end
  if delivery ~= '' then
    redis.call('HSET', P .. ':deliveries', id, delivery)
    redis.call('ZADD', P .. ':outbox', clock(), id)
  end
  for i = 1, news do
    redis.call('RPUSH', P .. ':n:' .. id, ARGV[at + 13 + i])
  end
  if tell == '1' then
    redis.call('PUBLISH', P .. ':moved', id)
  end
  return at + 14 + news
end
