-- KEYS: lock, fence. ARGV: old owner, new owner, ttl, ttl and grace (both ms), `c` or `-`, holder.
-- Answers {1, token}, or {0} if neither of the two holds it.
local lock = redis.call('GET', KEYS[1])
if not lock then
  return {0}
end
local owner = string.sub(lock, 1, 17)
if owner ~= ARGV[1] and owner ~= ARGV[2] then
  return {0}
end
local care, token, granted = string.match(lock, '^([c-])(%d+):(%d+)', 18)
if ARGV[5] == 'c' then
  care = 'c'
end
local left = redis.call('PTTL', KEYS[1])
local expiry = ARGV[3]
if left > tonumber(expiry) then
  expiry = string.format('%.0f', left)
end
redis.call('SET', KEYS[1], ARGV[2] .. care .. token .. ':' .. granted .. ':' .. ARGV[6], 'PX', expiry)
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[4]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return {1, token}
