-- KEYS: lock and waiters of each acquire, then of each release, all of other locks; the counter. ARGV: grace (ms), how many
-- acquires; owner, ttl, holder of each; owner, keep, channel of each release.
-- The answer to each, as the steps say, or its error.
local call, sub = redis.call, string.sub
local found, time = call('MGET', unpack(KEYS)), call('TIME')
local answers, acquires = {}, tonumber(ARGV[2])
local fence, counter, grace, from = KEYS[#KEYS], found[#KEYS], ARGV[1], nil
local token, now
local k, a = 1, 3
for n = 1, acquires do
  local key, waiters, lock = KEYS[k], KEYS[k + 1], found[k]
  local owner, ttl, holder = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  --[[acquire_step]]
  answers[n] = answer
  k, a = k + 2, a + 3
end
for n = acquires + 1, (#KEYS - 1) / 2 do
  local lock = found[k]
  --[[release_step]]
  answers[n] = answer
  k, a = k + 2, a + 3
end
return answers
