-- KEYS: lock, fence, waiters. ARGV: owner, ttl, ttl and grace (both ms), holder, how long a waiter is known (ms); and to pass
-- the key on, the owner that must hold it.
-- Answers {1, token}; {0, ms left} if another holds it, or nobody who could pass it on; {-1} if the tokens are used up.
local lock = redis.call('GET', KEYS[1])
if lock then
  local left = redis.call('PTTL', KEYS[1])
  if string.sub(lock, 1, 17) == ARGV[1] then
    if left < tonumber(ARGV[2]) then
      redis.call('PEXPIRE', KEYS[1], ARGV[2])
    end
    if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then
      redis.call('PEXPIRE', KEYS[2], ARGV[3])
    end
    return {1, string.match(lock, '^%d+', 18)}
  end
  if not ARGV[6] then
    -- A full memory is no reason not to say that the key is held.
    redis.pcall('SET', KEYS[3], '', 'PX', ARGV[5])
    return {0, left}
  end
end
if ARGV[6] and (not lock or string.sub(lock, 1, 17) ~= ARGV[6]) then
  return {0, 0}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
-- Tokens are text: a number of Lua is exact below 2^53 only. Without leading zeros the longer text is the greater.
local granted = string.format('%.0f', now)
local token = redis.call('GET', KEYS[2])
if not token or #token < #granted or (#token == #granted and token < granted) then
  token = granted
  redis.call('SET', KEYS[2], token, 'PX', ARGV[3])
else
  -- The counter is ahead of the clock, which may have been set back: the counter stays until the clock has passed it.
  local raised = redis.pcall('INCR', KEYS[2])
  if type(raised) == 'table' then
    if string.find(raised.err, 'overflow', 1, true) then
      return {-1}
    end
    return raised
  end
  token = redis.call('GET', KEYS[2])
  redis.call('PEXPIRE', KEYS[2], string.format('%.0f', (tonumber(token) - now) / 1000 + tonumber(ARGV[3])))
end
redis.call('SET', KEYS[1], ARGV[1] .. token .. ':' .. granted .. ':' .. ARGV[4], 'PX', ARGV[2])
return {1, token}
