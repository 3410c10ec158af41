-- KEYS: lock, fence, waiters. ARGV: as `release` says.
local found = call('MGET', KEYS[1], KEYS[3])
return release(1, 1, found[1], found[2])
