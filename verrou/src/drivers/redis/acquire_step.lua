-- One acquire, in the words of the script around it. A lock is `o` and 16 bytes of its owner, then `token:granted:holder`; one
-- that is kept for nobody is `k`, then `token:granted:`. `token` is that of all grants of a script: they have one moment.
-- Times and tokens are text: a number of Lua is exact below 2^53 only.
-- `answer` is the token; ms left if another holds the key, or it is not the one that passes it on; -3 if the tokens are used up.
local answer
local holds = lock and sub(lock, 1, 17) or nil
if holds == from then
  if not token then
    local micros = time[2]
    if #micros < 6 then
      micros = sub('00000' .. micros, -6)
    end
    now = time[1] .. micros
    token = now
    local kept = grace
    -- Without leading zeros the longer text is the greater.
    if counter and (#counter > #now or (#counter == #now and counter >= now)) then
      -- The counter is ahead of the clock, which may have been set back: it stays until the clock has passed it.
      local raised = redis.pcall('INCR', fence)
      if type(raised) == 'table' then
        return string.find(raised.err, 'overflow', 1, true) and -3 or raised
      end
      token = call('GET', fence)
      kept = string.format('%.0f', (tonumber(token) - tonumber(now)) / 1000 + tonumber(grace))
    end
    -- Before any lock: what is granted is never above the counter.
    call('SET', fence, token, 'PX', kept)
  end
  if not call('SET', key, owner .. token .. ':' .. now .. ':' .. holder, 'PX', ttl, from and 'XX' or 'NX') then
    -- Something that is no lock, which GET says.
    return call('GET', key)
  end
  answer = token
elseif holds == owner then
  if call('PTTL', key) < tonumber(ttl) then
    call('PEXPIRE', key, ttl)
  end
  answer = string.match(lock, '^%d+', 18)
elseif from then
  answer = 0
else
  -- A full memory is no reason not to say that the key is held.
  redis.pcall('SET', waiters, '', 'PX', '{known}')
  answer = call('PTTL', key)
end
