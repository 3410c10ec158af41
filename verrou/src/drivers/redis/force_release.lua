-- KEYS: lock, fence, waiters. ARGV: grace (ms), channel. Answers 1, or 0 if nobody held it.
local lock = call('GET', KEYS[1])
if not lock then
  return 0
end
-- A key that is kept taken has no owner: `k`, then the token.
local token = string.match(lock, '^k(%d+)') or string.match(lock, '^%d+', 19) or '0'
keep_counter(1, token, 0, ARGV[1])
call('DEL', KEYS[1])
if call('EXISTS', KEYS[3]) == 1 then
  redis.pcall('PUBLISH', ARGV[2], KEYS[1])
end
return 1
