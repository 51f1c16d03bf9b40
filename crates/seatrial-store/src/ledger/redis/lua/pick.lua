-- Shows jobs that wait, the first to go first: whoever sees them claims them then, in Rust. With a span to
-- hold them, they are kept from others meanwhile; if nobody comes back, `promote` queues them again.
-- ARGV: prefix, how many, for how long or 0, the newest schema that the asker knows.
-- Returns the time, when to look again, and of each job: id, cas, record.

local most, hold, schema = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = clock()
promote(now)

local found, taken = {}, 0
for _, priority in ipairs(PRIORITIES) do
  if taken == most then
    break
  end
  local ready = P .. ':r:' .. priority
  -- A few more than wanted: jobs of a newer process stay where they are.
  for _, id in ipairs(redis.call('ZRANGE', ready, 0, most - taken + 63)) do
    if taken == most then
      break
    end
    local job = redis.call('HMGET', P .. ':j:' .. id, 'record', 'cas', 'schema', 'caller')
    if not job[1] then
      redis.call('ZREM', ready, id)
    elseif tonumber(job[3]) <= schema then
      if hold > 0 then
        -- A removal first, so that a full memory stops nobody who works.
        redis.call('ZREM', P .. ':picked', id)
        redis.call('ZADD', P .. ':picked', now + hold, id)
        leave(priority, job[4], id, true)
      end
      taken = taken + 1
      found[taken] = { id, job[2], job[1] }
    end
  end
end

-- Nobody has to be woken for what was picked.
if taken < most then
  redis.call('LTRIM', P .. ':wake', 1, 0)
end

local again = 0
for _, key in ipairs({ ':picked', ':d:high', ':d:normal', ':d:low' }) do
  local first = redis.call('ZRANGE', P .. key, 0, 0, 'WITHSCORES')
  if first[2] and (again == 0 or tonumber(first[2]) < again) then
    again = tonumber(first[2])
  end
end
return { now, again, found }
