"""Peers from PyPI on Redis. Reads a work a line, answers with a line of JSON; see scripts.rs.

They block, so a task is a thread here."""

import json
import os
import sys
import threading
import time

import redis
import redis_lock

client = redis.Redis.from_url(os.environ["VERROU_BENCH_URL"])


class Pings:
    def __init__(self, name):
        pass

    def acquire(self):
        client.ping()

    def release(self):
        client.ping()


def redis_py(name):
    return client.lock(f"redis-py:{name}", timeout=20)


def python_redis_lock(name):
    return redis_lock.Lock(client, f"python-redis-lock:{name}", expire=20)


CONTENDERS = {
    "PyPI: `PING` x2": Pings,
    "PyPI: redis": redis_py,
    "PyPI: python-redis-lock": python_redis_lock,
}


def one_task(make, nanos, tasks):
    lock, samples = make("k0"), []
    begun = last = time.perf_counter_ns()
    while last - begun < nanos:
        lock.acquire()
        lock.release()
        now = time.perf_counter_ns()
        samples.append(now - last)
        last = now
    return samples


def in_threads(tasks, task):
    results = [None] * tasks

    def run(number):
        results[number] = task(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def many_keys(make, nanos, tasks):
    begun = time.perf_counter_ns()

    def task(number):
        lock, cycles = make(f"k{number}"), 0
        while time.perf_counter_ns() - begun < nanos:
            lock.acquire()
            lock.release()
            cycles += 1
        return cycles

    cycles = sum(in_threads(tasks, task))
    return cycles / ((time.perf_counter_ns() - begun) / 1e9)


def one_key(make, nanos, tasks):
    begun = time.perf_counter_ns()
    waits = []

    def task(_):
        lock, grants = make("k0"), 0
        while (asked := time.perf_counter_ns()) - begun < nanos:
            lock.acquire()
            waits.append(time.perf_counter_ns() - asked)
            lock.release()
            grants += 1
        return grants

    grants = in_threads(tasks, task)
    return {
        "grants": grants,
        "waits": waits,
        "elapsed": time.perf_counter_ns() - begun,
    }


WORKS = {"one_task": one_task, "many_keys": many_keys, "one_key": one_key}

print(json.dumps(list(CONTENDERS)), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    work = WORKS[order["work"]]
    done = work(CONTENDERS[order["contender"]], order["nanos"], order["tasks"])
    print(json.dumps(done), flush=True)
