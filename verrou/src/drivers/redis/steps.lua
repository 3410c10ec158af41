-- What the scripts of one request and of many share. A lock is `o` and 16 bytes of its owner, `c` if its counter needs care
-- at the release or `-`, then `token:granted:holder`; one that is kept for nobody is `k`, then `token:granted:`.
-- The keys of a request are lock, fence and waiters.
local call, sub = redis.call, string.sub

-- The server's clock in microseconds. Times and tokens are text: a number of Lua is exact below 2^53 only.
local function clock()
  local time = call('TIME')
  return time[1] .. sub('00000' .. time[2], -6)
end

-- From ARGV[a]: owner, ttl, ttl and grace (both ms), `c` or `-`, holder, how long a waiter is known (ms). `lock` and `counter`
-- are what was found at KEYS[k] and KEYS[k + 1], `from` is who must pass it on.
-- {1, token}; {0, ms left} if another holds it, or nobody who could pass it on; {-1} if the tokens are used up.
local function acquire(k, a, lock, counter, now, from)
  local owner = ARGV[a]
  if lock then
    local holder = sub(lock, 1, 17)
    if holder == owner then
      if call('PTTL', KEYS[k]) < tonumber(ARGV[a + 1]) then
        call('PEXPIRE', KEYS[k], ARGV[a + 1])
      end
      if call('PTTL', KEYS[k + 1]) < tonumber(ARGV[a + 2]) then
        call('PEXPIRE', KEYS[k + 1], ARGV[a + 2])
      end
      return {1, string.match(lock, '^%d+', 19)}
    end
    if not from then
      -- A full memory is no reason not to say that the key is held.
      redis.pcall('SET', KEYS[k + 2], '', 'PX', ARGV[a + 5])
      return {0, call('PTTL', KEYS[k])}
    elseif holder ~= from then
      return {0, 0}
    end
  elseif from then
    return {0, 0}
  end
  local token, care, kept = now, ARGV[a + 3], ARGV[a + 2]
  -- Without leading zeros the longer text is the greater.
  if counter and (#counter > #now or (#counter == #now and counter >= now)) then
    -- The counter is ahead of the clock, which may have been set back: the counter stays until the clock has passed it.
    local raised = redis.pcall('INCR', KEYS[k + 1])
    if type(raised) == 'table' then
      if string.find(raised.err, 'overflow', 1, true) then
        return {-1}
      end
      return raised
    end
    token, care = call('GET', KEYS[k + 1]), 'c'
    kept = string.format('%.0f', (tonumber(token) - tonumber(now)) / 1000 + tonumber(kept))
  end
  local value = owner .. care .. token .. ':' .. now .. ':' .. ARGV[a + 4]
  if lock then
    call('SET', KEYS[k], value, 'PX', ARGV[a + 1])
  elseif not call('SET', KEYS[k], value, 'PX', ARGV[a + 1], 'NX') then
    -- Something that is no lock, which GET says.
    return call('GET', KEYS[k])
  end
  call('SET', KEYS[k + 1], token, 'PX', kept)
  return {1, token}
end

-- The counter goes when the clock is past the token by the grace and `keep`: from then on the clock alone is above it.
local function keep_counter(k, token, keep, grace)
  local now = math.floor(tonumber(clock()) / 1000)
  local last = math.max(now, math.ceil(tonumber(token) / 1000)) + keep + tonumber(grace)
  if call('PEXPIREAT', KEYS[k + 1], string.format('%.0f', last)) == 0 then
    -- Somebody has removed it; it may well be that there is no memory for it.
    redis.pcall('SET', KEYS[k + 1], token, 'PX', string.format('%.0f', last - now))
  end
end

-- From ARGV[a]: owner, keep, grace (both ms), channel. `waiters` is what was found at KEYS[k + 2].
-- 1, or 0 if the owner does not hold it.
local function release(k, a, lock, waiters)
  if not lock or sub(lock, 1, 17) ~= ARGV[a] then
    return 0
  end
  local keep = tonumber(ARGV[a + 1])
  -- Else it was set for a ttl and the grace when it was granted or renewed, which is long enough and not much longer.
  if keep > 0 or sub(lock, 18, 18) == 'c' then
    local token, granted = string.match(lock, '^(%d+):(%d+)', 19)
    if keep > 0 then
      call('SET', KEYS[k], 'k' .. token .. ':' .. granted .. ':', 'PX', ARGV[a + 1])
    end
    keep_counter(k, token, keep, ARGV[a + 2])
  end
  if keep == 0 then
    call('DEL', KEYS[k])
  end
  if waiters then
    -- A user without the right to publish can release all the same.
    redis.pcall('PUBLISH', ARGV[a + 3], KEYS[k])
  end
  return 1
end

