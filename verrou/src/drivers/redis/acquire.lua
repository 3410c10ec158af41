-- KEYS: lock, fence, waiters. ARGV: as `acquire` says; to pass the key on, the owner that must hold it comes after them.
local found = call('MGET', KEYS[1], KEYS[2])
return acquire(1, 1, found[1], found[2], clock(), ARGV[7])
