//! How long the calls to a store take, and how they end.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Histogram, Key, Label};

use super::{ABOUT, Cache, STORE_CALLS, describe};
use crate::clock::Moment;
use crate::error::Outcome;
use crate::store::erased::{AnyStore, Boxed, DynStore};
use crate::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, Doubt, ForceReleaseRequest,
    Holding, InspectRequest, ListRequest, Page, PassRequest, Passed, ReleaseRequest, RenewRequest,
    Reply, StoreError, StoredKey, Watch,
};
use crate::token::FencingToken;

/// `store`, with its calls counted under `name`.
pub(crate) fn metered(name: &str, store: AnyStore) -> AnyStore {
    let calls = Arc::new(Calls {
        name: name.into(),
        series: Cache::default(),
    });
    Arc::new(Metered { store, calls })
}

struct Metered {
    store: AnyStore,
    calls: Arc<Calls>,
}

/// The series of one store and of its sibling, by operation and outcome.
struct Calls {
    name: Arc<str>,
    series: Cache<(&'static str, &'static str), Histogram>,
}

impl Calls {
    fn record(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        let series = self.series.get((operation, outcome), |recorder| {
            describe(recorder);
            let labels = vec![
                Label::new("store", Arc::clone(&self.name)),
                Label::new("operation", operation),
                Label::new("outcome", outcome),
            ];
            recorder.register_histogram(&Key::from_parts(STORE_CALLS, labels), &ABOUT)
        });
        if let Some(series) = series {
            series.record(took);
        }
    }
}

/// A call that is under way: what is dropped before its answer counts as well.
struct UnderWay {
    calls: Arc<Calls>,
    operation: &'static str,
    outcome: &'static str,
    began: Moment,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let took = Moment::now().since(self.began);
        self.calls.record(self.operation, self.outcome, took);
    }
}

impl Metered {
    /// `call`, counted; as it is where nobody listens.
    fn timed<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: Boxed<T>,
        outcome: impl FnOnce(&T) -> &'static str + Send + 'static,
    ) -> Boxed<T> {
        if metrics::with_recorder(super::address_of).is_none() {
            return call;
        }
        let calls = Arc::clone(&self.calls);
        Box::pin(async move {
            let mut under_way = UnderWay {
                calls,
                operation,
                outcome: "dropped",
                began: Moment::now(),
            };
            let answer = call.await;
            under_way.outcome = outcome(&answer);
            answer
        })
    }
}

/// The outcome of a call that failed, or else what `done` makes of it.
fn outcome<T>(
    answer: &Result<T, StoreError>,
    done: impl FnOnce(&T) -> &'static str,
) -> &'static str {
    match answer {
        Ok(answer) => done(answer),
        Err(error) if error.outcome() == Outcome::NotApplied => "not_applied",
        Err(_) => "unknown",
    }
}

fn replied(answer: &Result<Reply, StoreError>) -> &'static str {
    outcome(answer, |reply| match reply {
        Reply::Done => "done",
        Reply::NotHeld => "not_held",
    })
}

impl DynStore for Metered {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Boxed<Result<Acquired, StoreError>> {
        self.timed("acquire", self.store.clone().acquire(request), |answer| {
            outcome(answer, |acquired| match acquired {
                Acquired::Granted { .. } => "done",
                Acquired::Held { .. } => "busy",
            })
        })
    }

    /// What is counted goes the usual way.
    fn grant_now(&self, request: &AcquireRequest, now: Moment) -> Option<FencingToken> {
        let nobody_listens = metrics::with_recorder(super::address_of).is_none();
        nobody_listens.then(|| self.store.grant_now(request, now))?
    }

    fn release_now(&self, request: &ReleaseRequest, now: Moment) -> Option<Reply> {
        let nobody_listens = metrics::with_recorder(super::address_of).is_none();
        nobody_listens.then(|| self.store.release_now(request, now))?
    }

    fn renew_many(
        self: Arc<Self>,
        requests: Vec<RenewRequest>,
    ) -> Boxed<Vec<Result<Reply, StoreError>>> {
        let call = self.store.clone().renew_many(requests);
        // One call for many leases: it failed if one of them did.
        self.timed("renew_many", call, |answers| {
            let failure = answers.iter().find(|answer| answer.is_err());
            failure.map_or("done", replied)
        })
    }

    fn adopt(self: Arc<Self>, request: AdoptRequest) -> Boxed<Result<Adopted, StoreError>> {
        self.timed("adopt", self.store.clone().adopt(request), |answer| {
            outcome(answer, |adopted| match adopted {
                Adopted::Adopted { .. } => "done",
                Adopted::NotHeld => "not_held",
            })
        })
    }

    fn release(self: Arc<Self>, request: ReleaseRequest) -> Boxed<Result<Reply, StoreError>> {
        self.timed("release", self.store.clone().release(request), replied)
    }

    fn pass(self: Arc<Self>, request: PassRequest) -> Boxed<Result<Passed, StoreError>> {
        self.timed("pass", self.store.clone().pass(request), |answer| {
            outcome(answer, |passed| match passed {
                Passed::Granted { .. } => "done",
                Passed::NotHeld => "not_held",
            })
        })
    }

    fn renew(self: Arc<Self>, request: RenewRequest) -> Boxed<Result<Reply, StoreError>> {
        self.timed("renew", self.store.clone().renew(request), replied)
    }

    fn inspect(
        self: Arc<Self>,
        request: InspectRequest,
    ) -> Boxed<Result<Option<Holding>, StoreError>> {
        self.timed("inspect", self.store.clone().inspect(request), |answer| {
            outcome(answer, |_| "done")
        })
    }

    fn force_release(
        self: Arc<Self>,
        request: ForceReleaseRequest,
    ) -> Boxed<Result<bool, StoreError>> {
        let call = self.store.clone().force_release(request);
        self.timed("force_release", call, |answer| outcome(answer, |_| "done"))
    }

    fn list(self: Arc<Self>, request: ListRequest) -> Boxed<Result<Page, StoreError>> {
        self.timed("list", self.store.clone().list(request), |answer| {
            outcome(answer, |_| "done")
        })
    }

    fn close(self: Arc<Self>) -> Boxed<()> {
        self.store.clone().close()
    }

    fn watch(&self, key: &StoredKey) -> Watch {
        self.store.watch(key)
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn doubts(&self) -> Vec<Doubt> {
        self.store.doubts()
    }

    fn for_keeper(&self) -> Option<AnyStore> {
        let store = self.store.for_keeper()?;
        let calls = Arc::clone(&self.calls);
        Some(Arc::new(Metered { store, calls }))
    }
}
