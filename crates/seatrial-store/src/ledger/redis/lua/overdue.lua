-- Jobs whose time may be over, the longest overdue first. Those of a newer schema are left to newer
-- processes. ARGV: prefix, how many, the newest schema that the asker knows.

local most, schema = tonumber(ARGV[2]), tonumber(ARGV[3])
local now = clock()
promote(now)
local found = {}
for _, id in ipairs(redis.call('ZRANGE', P .. ':due', '-inf', now, 'BYSCORE', 'LIMIT', 0, most + 64)) do
  local of = redis.call('HGET', P .. ':j:' .. id, 'schema')
  if not of then
    redis.call('ZREM', P .. ':due', id)
  elseif tonumber(of) <= schema and #found < most then
    found[#found + 1] = id
  end
end
return found
