-- KEYS: the lock of each lease. ARGV: for each its owner, ttl (ms).
-- Answers the server's clock, seconds and microseconds, then for each 1, or 0 if the owner does not hold it.
local call, sub = redis.call, string.sub
local time = call('TIME')
local answers = {time[1], time[2]}
for k = 1, #KEYS do
  local key, ttl = KEYS[k], ARGV[2 * k]
  local lock, answer = call('GET', key), 0
  if lock and sub(lock, 1, 17) == ARGV[2 * k - 1] then
    if call('PTTL', key) < tonumber(ttl) then
      call('PEXPIRE', key, ttl)
    end
    answer = 1
  end
  answers[k + 2] = answer
end
return answers
