// Peers from npm on Redis. Reads a work a line, answers with a line of JSON; see scripts.rs.
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import { Verrou } from '@verrou/core'
import { redisStore } from '@verrou/core/drivers/redis'

const redis = new Redis(process.env.VERROU_BENCH_URL)
const verrou = new Verrou({
  default: 'redis',
  stores: { redis: { driver: redisStore({ connection: redis }) } },
})

// Each contender: a key by its name, with what takes it and what gives it back.
const contenders = {
  'npm: `PING` x2': () => ({ acquire: () => redis.ping(), release: () => redis.ping() }),
  'npm: @verrou/core': (name) => {
    const key = `npm:${name}`
    let lock
    return {
      // As its users do: a lock for each acquisition, for it carries the owner.
      acquire: async () => {
        lock = verrou.createLock(key, '20s')
        await lock.acquire()
      },
      release: () => lock.release(),
    }
  },
}

const now = () => Number(process.hrtime.bigint())

async function oneTask(make, nanos) {
  const { acquire, release } = make('k0')
  const samples = []
  const begun = now()
  for (let last = begun; last - begun < nanos; ) {
    await acquire()
    await release()
    const at = now()
    samples.push(at - last)
    last = at
  }
  return samples
}

async function manyKeys(make, nanos, tasks) {
  const begun = now()
  let cycles = 0
  const task = async (_, number) => {
    const { acquire, release } = make(`k${number}`)
    while (now() - begun < nanos) {
      await acquire()
      await release()
      cycles += 1
    }
  }
  await Promise.all(Array.from({ length: tasks }, task))
  return cycles / ((now() - begun) / 1e9)
}

async function oneKey(make, nanos, tasks) {
  const begun = now()
  const waits = []
  const task = async () => {
    const { acquire, release } = make('k0')
    let grants = 0
    for (let asked = now(); asked - begun < nanos; asked = now()) {
      await acquire()
      waits.push(now() - asked)
      await release()
      grants += 1
    }
    return grants
  }
  const grants = await Promise.all(Array.from({ length: tasks }, task))
  return { grants, waits, elapsed: now() - begun }
}

const works = { one_task: oneTask, many_keys: manyKeys, one_key: oneKey }

console.log(JSON.stringify(Object.keys(contenders)))
for await (const line of createInterface({ input: process.stdin })) {
  const { contender, work, nanos, tasks } = JSON.parse(line)
  console.log(JSON.stringify(await works[work](contenders[contender], nanos, tasks)))
}
redis.disconnect()
