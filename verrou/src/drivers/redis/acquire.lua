-- KEYS: lock, counter, waiters. ARGV: owner, ttl, holder, grace (both ms); to pass the key on, the owner that must hold it.
-- Answers as the step says.
local call, sub = redis.call, string.sub
local key, fence, waiters = KEYS[1], KEYS[2], KEYS[3]
local owner, ttl, holder, grace, from = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local found, time = call('MGET', key, fence), call('TIME')
local lock, counter = found[1], found[2]
local token, now
--[[acquire_step]]
return answer
