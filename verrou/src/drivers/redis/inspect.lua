-- KEYS: lock. Answers {the lock or nil, ms left, seconds, microseconds}, the last two of the server's clock.
local time = redis.call('TIME')
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), time[1], time[2]}
