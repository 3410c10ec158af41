-- KEYS: lock, fence, waiters. ARGV: owner, keep, grace (both ms), channel.
-- Answers 1, or 0 if the owner does not hold it.
local lock = redis.call('GET', KEYS[1])
if not lock or string.sub(lock, 1, 17) ~= ARGV[1] then
  return 0
end
local token, granted = string.match(lock, '^(%d+):(%d+)', 18)
local keep = tonumber(ARGV[2])
if keep > 0 then
  redis.call('SET', KEYS[1], 'k' .. token .. ':' .. granted .. ':', 'PX', ARGV[2])
end
-- The counter goes when the clock is past the token by the grace: from then on the clock alone is above it.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local last = math.max(now, math.ceil(tonumber(token) / 1000)) + keep + tonumber(ARGV[3])
if redis.call('PEXPIREAT', KEYS[2], string.format('%.0f', last)) == 0 then
  -- Somebody has removed it; it may well be that there is no memory for it.
  redis.pcall('SET', KEYS[2], token, 'PX', string.format('%.0f', last - now))
end
if keep == 0 then
  redis.call('DEL', KEYS[1])
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  -- A user without the right to publish can release all the same.
  redis.pcall('PUBLISH', ARGV[4], KEYS[1])
end
return 1
