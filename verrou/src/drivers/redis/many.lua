-- KEYS: lock, fence and waiters of each request, all of other keys. ARGV: for each `a` or `r`, then as `acquire` and `release` say.
-- The answer to each. One that is an error ends the script: what was done before it stays.
local found = call('MGET', unpack(KEYS))
local now = clock()
local answers = {}
local a = 1
for k = 1, #KEYS, 3 do
  local answer
  if ARGV[a] == 'a' then
    answer = acquire(k, a + 1, found[k], found[k + 1], now)
    a = a + 7
  else
    answer = release(k, a + 1, found[k], found[k + 2])
    a = a + 5
  end
  if type(answer) == 'table' and answer.err then
    return answer
  end
  answers[#answers + 1] = answer
end
return answers
