-- KEYS: lock, waiters. ARGV: channel. Answers 1, or 0 if nobody held it.
if redis.call('DEL', KEYS[1]) == 0 then
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.pcall('PUBLISH', ARGV[1], KEYS[1])
end
return 1
