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
    local next, kept = now, grace
    -- Without leading zeros the longer text is the greater.
    if counter and (#counter > #now or (#counter == #now and counter >= now)) then
      -- The counter is ahead of the clock, which may have been set back: it stays until the clock has passed it.
      answer = redis.pcall('INCR', fence)
      if type(answer) == 'number' then
        answer, next = nil, call('GET', fence)
        kept = string.format('%.0f', (tonumber(next) - tonumber(now)) / 1000 + tonumber(grace))
      elseif string.find(answer.err, 'overflow', 1, true) then
        answer = -3
      end
    end
    if not answer then
      -- Before any lock: what is granted is never above the counter.
      local set = redis.pcall('SET', fence, next, 'PX', kept)
      if set.err then
        answer = set
      else
        token = next
      end
    end
  end
  if token then
    local set = redis.pcall('SET', key, owner .. token .. ':' .. now .. ':' .. holder, 'PX', ttl, from and 'XX' or 'NX')
    if not set then
      -- Something that is no lock, which GET says.
      answer = redis.pcall('GET', key)
    else
      answer = set.err and set or token
    end
  end
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
