-- One release, in the words of the script around it. `answer` is 1, or 0 if the owner does not hold the key.
local answer = 0
if lock and sub(lock, 1, 17) == ARGV[a] then
  if ARGV[a + 1] == '0' then
    call('DEL', KEYS[k])
  else
    call('SET', KEYS[k], 'k' .. string.match(lock, '^%d+:%d+:', 18), 'PX', ARGV[a + 1])
  end
  if found[k + 1] then
    -- A user without the right to publish can release all the same.
    redis.pcall('PUBLISH', ARGV[a + 2], KEYS[k])
  end
  answer = 1
end
