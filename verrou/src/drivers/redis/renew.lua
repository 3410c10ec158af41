-- KEYS: lock, fence. ARGV: owner, ttl, ttl and grace (both ms).
-- Answers {1 or 0, seconds, microseconds}: 0 if the owner does not hold it, and the server's clock.
local time = redis.call('TIME')
local lock = redis.call('GET', KEYS[1])
if not lock or string.sub(lock, 1, 17) ~= ARGV[1] then
  return {0, time[1], time[2]}
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
return {1, time[1], time[2]}
