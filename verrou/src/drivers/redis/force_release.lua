-- KEYS: lock, fence, waiters. ARGV: grace (ms), channel. Answers 1, or 0 if nobody held it.
local lock = redis.call('GET', KEYS[1])
if not lock then
  return 0
end
-- A key that is kept taken has no owner: `k`, then the token.
local token = string.match(lock, '^k(%d+)') or string.match(lock, '^%d+', 18) or '0'
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local last = math.max(now, math.ceil(tonumber(token) / 1000)) + tonumber(ARGV[1])
if redis.call('PEXPIREAT', KEYS[2], string.format('%.0f', last)) == 0 then
  redis.pcall('SET', KEYS[2], token, 'PX', string.format('%.0f', last - now))
end
redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.pcall('PUBLISH', ARGV[2], KEYS[1])
end
return 1
