-- KEYS: lock and fence of each lease. ARGV: for each its owner, ttl, ttl and grace (both ms), `c` or `-`.
-- Answers the server's clock, seconds and microseconds, then for each 1, or 0 if the owner does not hold it.
local time = redis.call('TIME')
local answers = {time[1], time[2]}
for k = 1, #KEYS, 2 do
  local a = 2 * k - 1
  local lock = redis.call('GET', KEYS[k])
  local holds = lock and string.sub(lock, 1, 17) == ARGV[a]
  if holds then
    if redis.call('PTTL', KEYS[k]) < tonumber(ARGV[a + 1]) then
      redis.call('PEXPIRE', KEYS[k], ARGV[a + 1])
    end
    if redis.call('PTTL', KEYS[k + 1]) < tonumber(ARGV[a + 2]) then
      redis.call('PEXPIRE', KEYS[k + 1], ARGV[a + 2])
    end
    if ARGV[a + 3] == 'c' and string.sub(lock, 18, 18) ~= 'c' then
      redis.pcall('SETRANGE', KEYS[k], 17, 'c')
    end
  end
  answers[#answers + 1] = holds and 1 or 0
end
return answers
