//! Requests of the same moment, in one statement.
//!
//! A commit costs a server as much for one row as for a hundred, so what waits at the same moment goes out together. A
//! request that finds nobody before it goes alone, in its caller's own future, and waits for no company. One that comes
//! while others are under way joins a queue, which runners empty: tasks of the runtime that calls, so that no caller's
//! future, which may be kept and not polled, carries the request of another.
//!
//! A statement for many that fails is no answer for any of them: each goes again by itself, with the owner that it had, as
//! long as its caller waits.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

use crate::clock::Moment;
use crate::error::Outcome;
use crate::store::{
    AcquireRequest, Acquired, ReleaseRequest, Reply, Sent, StoreError, StoredKey, all,
};

/// The most requests in one statement, if the driver does not say less: it keeps the rows of all of them locked.
const MOST: usize = 128;

/// A runner whose statement takes longer no longer counts among those under way: its server may never answer.
const STALE: Duration = Duration::from_secs(1);

/// How a driver does what is asked of it.
pub(super) trait Carrier: Clone + Send + Sync + 'static {
    /// What a statement travels on.
    type Link: Send;

    /// One request, on a link of its own.
    fn alone(&self, errand: Errand) -> impl Future<Output = Result<Answer, StoreError>> + Send;

    /// A link for [`carry`](Self::carry).
    ///
    /// May be dropped anywhere.
    fn link(&self) -> impl Future<Output = Result<Self::Link, StoreError>> + Send;

    /// How many requests one statement takes.
    fn most(&self) -> usize {
        MOST
    }

    /// At least one request, each of another key, in the order of the keys' bytes; their answers in that order.
    ///
    /// They count as sent. On an error each goes again by itself.
    fn carry(
        &self,
        link: Self::Link,
        errands: &[Errand],
    ) -> impl Future<Output = Result<Answers, StoreError>> + Send;
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    Acquire(AcquireRequest),
    Release(ReleaseRequest),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Acquired(Acquired),
    Released(Reply),
}

/// What came of each of many.
pub(super) type Answers = Vec<Result<Answer, StoreError>>;

impl Errand {
    pub(super) fn key(&self) -> &StoredKey {
        match self {
            Self::Acquire(request) => &request.key,
            Self::Release(request) => &request.key,
        }
    }

    fn sent(&self) -> &Sent {
        match self {
            Self::Acquire(request) => &request.sent,
            Self::Release(request) => &request.sent,
        }
    }
}

/// The requests of a store that wait, by the runtime that they were made on.
#[derive(Clone)]
pub(super) struct Group {
    stations: Arc<Mutex<HashMap<Id, Station>>>,
    /// How many statements are under way at the same time.
    runners: usize,
}

/// What waits on one runtime, and what is under way for it.
#[derive(Default)]
struct Station {
    queue: Vec<Member>,
    /// The number of each runner, and when its statement began.
    runners: Vec<(u64, Moment)>,
    alone: usize,
}

struct Member {
    errand: Errand,
    reply: oneshot::Sender<Result<Answer, StoreError>>,
}

impl Group {
    /// With at most `runners` statements for many at the same time.
    pub(super) fn new(runners: usize) -> Self {
        Self {
            stations: Arc::default(),
            runners,
        }
    }

    /// Acquires by `carrier`, in company where there is some.
    pub(super) async fn acquire(
        &self,
        carrier: &impl Carrier,
        request: AcquireRequest,
    ) -> Result<Acquired, StoreError> {
        match self.ask(carrier, Errand::Acquire(request)).await? {
            Answer::Acquired(acquired) => Ok(acquired),
            Answer::Released(_) => Err(mixed_up()),
        }
    }

    /// Releases by `carrier`, in company where there is some.
    pub(super) async fn release(
        &self,
        carrier: &impl Carrier,
        request: ReleaseRequest,
    ) -> Result<Reply, StoreError> {
        match self.ask(carrier, Errand::Release(request)).await? {
            Answer::Released(reply) => Ok(reply),
            Answer::Acquired(_) => Err(mixed_up()),
        }
    }

    /// If it is dropped before the request was claimed, nothing goes out; after that, the statement is carried on by its runner.
    async fn ask(&self, carrier: &impl Carrier, errand: Errand) -> Result<Answer, StoreError> {
        let Ok(runtime) = Handle::try_current() else {
            return carrier.alone(errand).await;
        };
        let sent = errand.sent().clone();
        let waiting = {
            let mut stations = self.stations();
            let station = stations.entry(runtime.id()).or_default();
            if station.runners.is_empty() && station.alone == 0 {
                station.alone = 1;
                None
            } else {
                let (reply, answer) = oneshot::channel();
                station.queue.push(Member {
                    errand: errand.clone(),
                    reply,
                });
                let number = station.has_room(self.runners).then(|| station.begin());
                Some((answer, number))
            }
        };
        let Some((answer, number)) = waiting else {
            let _alone = Alone {
                group: self,
                runtime: runtime.id(),
            };
            return carrier.alone(errand).await;
        };
        if let Some(number) = number {
            let runner = Runner {
                group: self.clone(),
                runtime: runtime.id(),
                number,
            };
            runtime.spawn(runner.run(carrier.clone()));
        }
        answer.await.unwrap_or_else(|_| {
            // The runner has gone with its runtime, or with a panic.
            let gone = "the task that carried the request has ended";
            Err(if sent.is_marked() {
                StoreError::unknown(gone)
            } else {
                StoreError::not_applied(gone)
            })
        })
    }

    fn stations(&self) -> MutexGuard<'_, HashMap<Id, Station>> {
        self.stations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is under way, and forgets a runtime for which nothing is.
    fn settle<T>(&self, runtime: Id, change: impl FnOnce(&mut Station) -> T) -> T {
        let mut stations = self.stations();
        let station = stations.entry(runtime).or_default();
        let changed = change(station);
        if station.alone == 0 && station.runners.is_empty() && station.queue.is_empty() {
            stations.remove(&runtime);
        }
        changed
    }
}

impl Station {
    fn has_room(&self, limit: usize) -> bool {
        let live = |(_, since): &&(u64, Moment)| !since.after(STALE).has_passed();
        self.runners.iter().filter(live).count() < limit
    }

    /// The number of a new runner.
    fn begin(&mut self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.runners.push((number, Moment::now()));
        number
    }

    fn end(&mut self, number: u64) {
        self.runners.retain(|(runner, _)| *runner != number);
    }
}

/// A request is under way by itself; when dropped, it is not any more.
struct Alone<'a> {
    group: &'a Group,
    runtime: Id,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.group
            .settle(self.runtime, |station| station.alone -= 1);
    }
}

/// Carries what waits until nothing does.
struct Runner {
    group: Group,
    runtime: Id,
    number: u64,
}

impl Runner {
    async fn run<C: Carrier>(self, carrier: C) {
        // Those who ask in the same turn of the scheduler come along.
        tokio::task::yield_now().await;
        while !self.ends() {
            let link = carrier.link().await;
            // Only now: who came while there was no link comes along, and who left meanwhile does not.
            let party = self.take(carrier.most());
            match link {
                Err(error) => {
                    for member in party {
                        let _ = member.reply.send(Err(error.clone()));
                    }
                }
                Ok(link) => carried(&carrier, link, party).await,
            }
            // Those who were answered ask again.
            tokio::task::yield_now().await;
        }
    }

    /// Whether nothing waits; then this runner counts no more.
    fn ends(&self) -> bool {
        self.group.settle(self.runtime, |station| {
            let ends = station.queue.is_empty();
            if ends {
                station.end(self.number);
            }
            ends
        })
    }

    /// The requests that go out now, at most one of a key, in the order of the keys.
    fn take(&self, most: usize) -> Vec<Member> {
        let mut party: BTreeMap<StoredKey, Member> = BTreeMap::new();
        let mut gone = Vec::new();
        self.group.settle(self.runtime, |station| {
            for (_, since) in station
                .runners
                .iter_mut()
                .filter(|(runner, _)| *runner == self.number)
            {
                *since = Moment::now();
            }
            let mut rest = Vec::new();
            for member in station.queue.drain(..) {
                let key = member.errand.key();
                if party.len() >= most || party.contains_key(key) {
                    rest.push(member);
                } else if !member.reply.is_closed() && member.errand.sent().claim() {
                    party.insert(key.clone(), member);
                } else {
                    gone.push(member);
                }
            }
            station.queue = rest;
        });
        // Their wakers are foreign code: outside of the lock.
        drop(gone);
        party.into_values().collect()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // It has ended, or its runtime ends, or the driver panicked: then nobody else may be there to carry what waits.
        let left = self.group.settle(self.runtime, |station| {
            station.end(self.number);
            if station.runners.is_empty() {
                std::mem::take(&mut station.queue)
            } else {
                Vec::new()
            }
        });
        drop(left);
    }
}

/// One statement for all, or one for each.
async fn carried<C: Carrier>(carrier: &C, link: C::Link, party: Vec<Member>) {
    if party.is_empty() {
        return;
    }
    let (errands, mut replies): (Vec<_>, Vec<_>) = party
        .into_iter()
        .map(|member| (member.errand, member.reply))
        .unzip();
    let Some(answers) = unless_left(&mut replies, carrier.carry(link, &errands)).await else {
        return;
    };
    let error = match answers {
        Ok(answers) if answers.len() == replies.len() => {
            for (reply, answer) in replies.into_iter().zip(answers) {
                let _ = reply.send(answer);
            }
            return;
        }
        Ok(_) => mixed_up(),
        Err(error) => error,
    };
    for (errand, reply) in errands.into_iter().zip(replies) {
        let (carrier, error) = (carrier.clone(), error.clone());
        // A task each: what keeps one of them waiting is no matter of the others.
        tokio::spawn(async move {
            if reply.is_closed() {
                return;
            }
            let _ = reply.send(again(carrier, errand, error).await);
        });
    }
}

/// What `carried` brings; `None` as soon as nobody waits for it any more.
async fn unless_left<T>(
    replies: &mut [oneshot::Sender<Result<Answer, StoreError>>],
    carried: impl Future<Output = T>,
) -> Option<T> {
    let mut carried = std::pin::pin!(carried);
    let mut left = std::pin::pin!(all(replies.iter_mut().map(oneshot::Sender::closed)));
    std::future::poll_fn(|cx| match carried.as_mut().poll(cx) {
        Poll::Ready(carried) => Poll::Ready(Some(carried)),
        Poll::Pending => left.as_mut().poll(cx).map(|_| None),
    })
    .await
}

/// One by itself, after a statement that it was in has failed with `before`.
async fn again<C: Carrier>(
    carrier: C,
    errand: Errand,
    before: StoreError,
) -> Result<Answer, StoreError> {
    match carrier.alone(errand).await {
        // It is the statement with the others that released it.
        Ok(Answer::Released(Reply::NotHeld)) if before.outcome() == Outcome::Unknown => {
            Ok(Answer::Released(Reply::Done))
        }
        // The statement with the others may have been executed, or still be.
        Err(error) if before.outcome() == Outcome::Unknown => {
            Err(StoreError::unknown(error.cause().clone()))
        }
        answer => answer,
    }
}

fn mixed_up() -> StoreError {
    StoreError::unknown("the answers do not match the requests")
}

#[cfg(test)]
mod tests;
