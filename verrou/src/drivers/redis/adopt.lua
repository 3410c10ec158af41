-- KEYS: lock. ARGV: old owner, new owner, ttl (ms), holder. Answers the token, or 0 if neither of the two holds it.
local lock = redis.call('GET', KEYS[1])
local owner = lock and string.sub(lock, 1, 17)
if not lock or (owner ~= ARGV[1] and owner ~= ARGV[2]) then
  return 0
end
local token, granted = string.match(lock, '^(%d+):(%d+)', 18)
local left, expiry = redis.call('PTTL', KEYS[1]), ARGV[3]
if left > tonumber(expiry) then
  expiry = string.format('%.0f', left)
end
redis.call('SET', KEYS[1], ARGV[2] .. token .. ':' .. granted .. ':' .. ARGV[4], 'PX', expiry)
return token
