-- KEYS: lock, waiters. ARGV: owner, keep (ms), channel. Answers as the step says.
local call, sub = redis.call, string.sub
local found = call('MGET', KEYS[1], KEYS[2])
local k, a, lock = 1, 1, found[1]
--[[release_step]]
return answer
