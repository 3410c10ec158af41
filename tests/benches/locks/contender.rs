//! What is measured: a lock that is taken and given back, or the bare work that it cannot be faster than.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tests::history::{boot_nanos, nanos};
use tokio::task::JoinSet;

use crate::figures::quantile;

pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How it takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// verrou.
    Ours,
    /// The bare work.
    Floor,
    /// What else does the job.
    Peer,
    /// The bare work of a peer in another language.
    OtherFloor,
}

/// Takes a key and gives it back; a floor does the first and the second half of its bare work.
///
/// What goes wrong ends the bench: a figure beside an error would mean nothing.
pub(crate) trait Contender: Send + Sync + 'static {
    /// A key, made once before the measuring.
    type Key: Send + Sync + 'static;
    type Held: Send;

    fn key(&self, name: &str) -> Self::Key;
    fn acquire(&self, key: &Self::Key) -> impl Future<Output = Self::Held> + Send;
    fn release(&self, held: Self::Held) -> impl Future<Output = ()> + Send;
}

/// What many tasks on one key came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Crowd {
    /// Of each task.
    pub(crate) grants: Vec<u64>,
    /// From the call to the grant, in nanoseconds.
    pub(crate) waits: Vec<u64>,
    /// In nanoseconds.
    pub(crate) elapsed: u64,
}

impl Crowd {
    pub(crate) fn all_grants(&self) -> u64 {
        self.grants.iter().sum()
    }

    /// The time that passes for each grant, in microseconds; the bodies are empty.
    pub(crate) fn dead_time(&self) -> f64 {
        self.elapsed as f64 / 1e3 / self.all_grants().max(1) as f64
    }

    pub(crate) fn least(&self) -> f64 {
        self.grants.iter().copied().min().unwrap_or(0) as f64
    }

    pub(crate) fn most(&self) -> f64 {
        self.grants.iter().copied().max().unwrap_or(0) as f64
    }

    /// In microseconds.
    pub(crate) fn p99_wait(&self) -> f64 {
        let mut waits = self.waits.clone();
        quantile(&mut waits, 0.99) / 1e3
    }

    /// In microseconds.
    pub(crate) fn mean_wait(&self) -> f64 {
        self.waits.iter().sum::<u64>() as f64 / 1e3 / self.waits.len().max(1) as f64
    }

    /// With those of another process at the same time.
    pub(crate) fn join(&mut self, other: &Self) {
        self.grants.extend(&other.grants);
        self.waits.extend(&other.waits);
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

/// Somebody else who waits for the key that one has.
pub(crate) trait Waiter: Send {
    /// Begins to wait now.
    fn go(&mut self) -> Boxed<'_, ()>;
    /// The moment at which it got the key, once it has given it back.
    fn granted(&mut self) -> Boxed<'_, u64>;
    /// The time that its process has spent on a processor, in nanoseconds.
    fn cpu(&self) -> u64;
}

/// One hand-over from here to a waiter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    /// From the return of the release to the grant, in nanoseconds; the grant may be first.
    pub(crate) after: i64,
    /// From the call of the release to the grant.
    pub(crate) in_all: i64,
    /// How long the key was held.
    pub(crate) held: i64,
}

/// A contender by its name, whatever its types, in what one process does: boxed once for a round, never for a cycle.
pub(crate) trait Alone: Send + Sync {
    fn name(&self) -> &str;
    fn role(&self) -> Role;
    /// W1: for `time`, the nanoseconds of a cycle; each sample is the mean of `chunk` of them.
    fn one_task(&self, time: Duration, chunk: u32) -> Boxed<'_, Vec<u64>>;
    /// W2: `tasks` on a key each; cycles per second.
    fn many_keys(&self, tasks: usize, time: Duration) -> Boxed<'_, f64>;
    /// W3: `tasks` on one key.
    fn one_key(&self, tasks: usize, time: Duration) -> Boxed<'_, Crowd>;
}

/// One that also does what takes two.
pub(crate) trait Entrant: Alone {
    /// W4: takes the key, lets `waiter` wait, gives it back after each of the times.
    fn hand_over<'a>(
        &'a self,
        waiter: &'a mut dyn Waiter,
        hold: &'a [Duration],
    ) -> Boxed<'a, Vec<HandOver>>;
    /// The other side of it, once: the moment of the grant.
    fn wait_once(&self) -> Boxed<'_, u64>;
}

/// A contender in the bench.
pub(crate) struct Entry<C: Contender> {
    name: &'static str,
    role: Role,
    contender: Arc<C>,
    key: Arc<C::Key>,
}

impl<C: Contender> Entry<C> {
    pub(crate) fn shared(name: &'static str, role: Role, contender: C) -> Arc<dyn Entrant> {
        let key = Arc::new(contender.key("k0"));
        Arc::new(Self {
            name,
            role,
            contender: Arc::new(contender),
            key,
        })
    }
}

impl<C: Contender> Alone for Entry<C> {
    fn name(&self) -> &str {
        self.name
    }

    fn role(&self) -> Role {
        self.role
    }

    fn one_task(&self, time: Duration, chunk: u32) -> Boxed<'_, Vec<u64>> {
        Box::pin(async move {
            let (contender, key) = (&*self.contender, &*self.key);
            for _ in 0..20 {
                contender.release(contender.acquire(key).await).await;
            }
            let mut samples = Vec::with_capacity(1 << 16);
            let begun = Instant::now();
            let mut last = begun;
            while last - begun < time {
                for _ in 0..chunk {
                    contender.release(contender.acquire(key).await).await;
                }
                let now = Instant::now();
                samples.push(nanos(now - last) / u64::from(chunk));
                last = now;
            }
            samples
        })
    }

    fn many_keys(&self, tasks: usize, time: Duration) -> Boxed<'_, f64> {
        Box::pin(async move {
            let mut running = JoinSet::new();
            let begun = Instant::now();
            for task in 0..tasks {
                let contender = Arc::clone(&self.contender);
                running.spawn(async move {
                    let key = contender.key(&format!("k{task}"));
                    let mut cycles = 0_u64;
                    while begun.elapsed() < time {
                        contender.release(contender.acquire(&key).await).await;
                        cycles += 1;
                        // In memory nothing else would let the others of this thread run.
                        if cycles.is_multiple_of(64) {
                            tokio::task::yield_now().await;
                        }
                    }
                    cycles
                });
            }
            let cycles: u64 = running.join_all().await.into_iter().sum();
            cycles as f64 / begun.elapsed().as_secs_f64()
        })
    }

    fn one_key(&self, tasks: usize, time: Duration) -> Boxed<'_, Crowd> {
        Box::pin(async move {
            let mut running = JoinSet::new();
            let begun = Instant::now();
            for _ in 0..tasks {
                let contender = Arc::clone(&self.contender);
                let key = Arc::clone(&self.key);
                running.spawn(async move {
                    let mut waits = Vec::new();
                    loop {
                        let asked = Instant::now();
                        if asked - begun >= time {
                            return waits;
                        }
                        let held = contender.acquire(&key).await;
                        waits.push(nanos(asked.elapsed()));
                        contender.release(held).await;
                        tokio::task::yield_now().await;
                    }
                });
            }
            let waits = running.join_all().await;
            Crowd {
                elapsed: nanos(begun.elapsed()),
                grants: waits.iter().map(|waits| waits.len() as u64).collect(),
                waits: waits.concat(),
            }
        })
    }
}

impl<C: Contender> Entrant for Entry<C> {
    fn hand_over<'a>(
        &'a self,
        waiter: &'a mut dyn Waiter,
        hold: &'a [Duration],
    ) -> Boxed<'a, Vec<HandOver>> {
        Box::pin(async move {
            let mut seen = Vec::new();
            for time in hold {
                let asked = boot_nanos();
                let held = self.contender.acquire(&self.key).await;
                waiter.go().await;
                tokio::time::sleep(*time).await;
                let released = boot_nanos();
                self.contender.release(held).await;
                let returned = boot_nanos();
                let granted = waiter.granted().await;
                seen.push(HandOver {
                    after: granted.cast_signed() - returned.cast_signed(),
                    in_all: granted.cast_signed() - released.cast_signed(),
                    held: released.cast_signed() - asked.cast_signed(),
                });
            }
            seen
        })
    }

    fn wait_once(&self) -> Boxed<'_, u64> {
        Box::pin(async move {
            let held = self.contender.acquire(&self.key).await;
            let granted = boot_nanos();
            self.contender.release(held).await;
            granted
        })
    }
}
