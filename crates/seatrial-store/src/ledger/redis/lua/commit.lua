-- Writes moved jobs, each only if nobody moved it since it was read. ARGV[2]: how many; then each one's
-- arguments as `put` takes them, the second being the number that was read. Returns 1 or 0 for each.

local done, at = {}, 3
for i = 1, tonumber(ARGV[2]) do
  if redis.call('HGET', P .. ':j:' .. ARGV[at], 'cas') == ARGV[at + 1] then
    at = put(at)
    done[i] = 1
  else
    at = at + 14 + tonumber(ARGV[at + 13])
    done[i] = 0
  end
end
return done
