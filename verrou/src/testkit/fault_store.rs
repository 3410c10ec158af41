//! A store that delays, fails or hangs the calls it is told to.

use std::future::Future;
use std::sync::Arc;

use super::faults::{Fault, Op, Plan, Rule, pause};
use crate::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, Doubt, ForceReleaseRequest,
    Holding, InspectRequest, ListRequest, LockStore, Page, PassRequest, Passed, ReleaseRequest,
    RenewRequest, Reply, Sent, StoreError, StoredKey, Watch,
};

/// A store over another one, whose calls fail as told, and are counted.
///
/// Clones share their rules and counters, so keep one to give orders while verrou has the other. A call is counted from its
/// first poll to its answer or drop.
///
/// Like a store in memory it has no I/O state by default, and gives the keeper no sibling. For a test of what happens to
/// calls that are on their way for a while, which is what delays and hanging are for, make it a store
/// [`with_io`](Self::with_io).
///
/// # Examples
/// The answer to an acquire gets lost, and the same acquire again has won:
/// ```
/// use std::time::Duration;
/// use verrou::drivers::MemoryStore;
/// use verrou::store::{AcquireRequest, Acquired, LockStore, Owner, StoredKey};
/// use verrou::testkit::{FaultStore, Op};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let faults = FaultStore::new(MemoryStore::new());
/// faults.on(Op::Acquire).times(1).fail_after();
///
/// let key = StoredKey::new("", "report")?;
/// let request = AcquireRequest::new(key, Owner::random()?, Duration::from_secs(20));
/// assert!(faults.acquire(request.clone()).await.is_err());
/// assert!(matches!(faults.acquire(request).await?, Acquired::Granted { .. }));
/// assert_eq!(faults.calls(Op::Acquire), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultStore<S> {
    inner: Arc<S>,
    plan: Arc<Plan>,
    io: bool,
    spare_sibling: bool,
    /// This is a sibling that is left alone.
    spared: bool,
}

impl<S> Clone for FaultStore<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            plan: Arc::clone(&self.plan),
            ..*self
        }
    }
}

impl<S: LockStore> FaultStore<S> {
    /// Lets every call through to `inner` until it is told otherwise.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self {
            inner: Arc::new(inner),
            plan: Arc::new(Plan::new()),
            io: false,
            spare_sibling: false,
            spared: false,
        }
    }

    /// Acts as a store with connections: marks its calls as sent, and gives the keeper a sibling under the same rules.
    ///
    /// A store whose inner one has a sibling has one in any case.
    #[must_use]
    pub fn with_io(mut self) -> Self {
        self.io = true;
        self
    }

    /// Leaves the calls of the keeper's sibling alone; they are counted.
    #[must_use]
    pub fn sparing_the_sibling(mut self) -> Self {
        self.spare_sibling = true;
        self
    }

    /// Begins a rule for calls of `op`.
    pub fn on(&self, op: Op) -> Rule {
        Rule::new(Arc::clone(&self.plan), op)
    }

    /// Ends all rules. Calls that hang go on hanging.
    pub fn clear(&self) {
        self.plan.clear();
    }

    /// Lets all calls that hang now go on; later ones hang as before.
    pub fn let_go(&self) {
        self.plan.let_go();
    }

    /// Watches give no hints any more, though the capabilities still promise them.
    pub fn lose_hints(&self) {
        self.plan.lose_hints();
    }

    /// How many calls of `op` have begun.
    #[must_use]
    pub fn calls(&self, op: Op) -> usize {
        self.plan.calls(op)
    }

    /// How many calls of `op` are neither answered nor dropped now.
    #[must_use]
    pub fn in_flight(&self, op: Op) -> usize {
        self.plan.in_flight(op)
    }

    /// How many calls of `op` for `key` there were at most at one time.
    #[must_use]
    pub fn most_in_flight(&self, op: Op, key: &str) -> usize {
        self.plan.most_in_flight(op, key)
    }

    /// Waits until `condition` holds; it is asked again whenever a call begins or ends.
    ///
    /// # Cancel safety
    /// It holds nothing.
    ///
    /// # Examples
    /// ```
    /// # use verrou::{drivers::MemoryStore, testkit::{FaultStore, Op}};
    /// # async fn example(faults: FaultStore<MemoryStore>) {
    /// faults.until(|faults| faults.in_flight(Op::Acquire) == 1).await;
    /// # }
    /// ```
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changes = self.plan.changed.subscribe();
        while !condition(self) {
            // The sender is in the plan that `self` keeps alive.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn fault(&self, op: Op, keys: &[&StoredKey]) -> Option<Fault> {
        if self.spared {
            return None;
        }
        self.plan.fault(op, keys)
    }

    /// Runs `call` under `fault`; `mark` tells that the request has gone out.
    async fn under<T>(
        &self,
        fault: Option<Fault>,
        mark: impl Fn(),
        call: impl Future<Output = T>,
    ) -> Result<T, StoreError> {
        match fault {
            // A driver with connections marks by itself, and knows better when.
            None if !self.io => return Ok(call.await),
            Some(Fault::FailBefore) => {
                return Err(StoreError::not_applied("refused by a fault of the test"));
            }
            Some(Fault::HangUnsent) => self.plan.hang().await,
            _ => {}
        }
        mark();
        match fault {
            Some(Fault::FailLost) => {
                return Err(StoreError::unknown("lost by a fault of the test"));
            }
            Some(Fault::DelayBefore(delay)) => pause(delay).await,
            Some(Fault::HangBefore) => self.plan.hang().await,
            _ => {}
        }
        let answer = call.await;
        match fault {
            Some(Fault::FailAfter) => {
                return Err(StoreError::unknown("answer lost by a fault of the test"));
            }
            Some(Fault::DelayAfter(delay)) => pause(delay).await,
            Some(Fault::HangAfter) => self.plan.hang().await,
            _ => {}
        }
        Ok(answer)
    }

    async fn one<T>(
        &self,
        op: Op,
        key: StoredKey,
        sent: Sent,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _in_flight = self.plan.begin(op, &key);
        let fault = self.fault(op, &[&key]);
        self.under(fault, || sent.mark(), call).await?
    }
}

impl<S: LockStore> LockStore for FaultStore<S> {
    async fn acquire(&self, request: AcquireRequest) -> Result<Acquired, StoreError> {
        let (key, sent) = (request.key.clone(), request.sent.clone());
        self.one(Op::Acquire, key, sent, self.inner.acquire(request))
            .await
    }

    async fn renew(&self, request: RenewRequest) -> Result<Reply, StoreError> {
        let (key, sent) = (request.key.clone(), request.sent.clone());
        self.one(Op::Renew, key, sent, self.inner.renew(request))
            .await
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Adopted, StoreError> {
        let (key, sent) = (request.key.clone(), request.sent.clone());
        self.one(Op::Adopt, key, sent, self.inner.adopt(request))
            .await
    }

    async fn release(&self, request: ReleaseRequest) -> Result<Reply, StoreError> {
        let (key, sent) = (request.key.clone(), request.sent.clone());
        self.one(Op::Release, key, sent, self.inner.release(request))
            .await
    }

    async fn pass(&self, request: PassRequest) -> Result<Passed, StoreError> {
        let (key, sent) = (request.key.clone(), request.sent.clone());
        self.one(Op::Pass, key, sent, self.inner.pass(request))
            .await
    }

    async fn inspect(&self, request: InspectRequest) -> Result<Option<Holding>, StoreError> {
        let (key, sent) = (request.key.clone(), request.sent.clone());
        self.one(Op::Inspect, key, sent, self.inner.inspect(request))
            .await
    }

    async fn force_release(&self, request: ForceReleaseRequest) -> Result<bool, StoreError> {
        let (key, sent) = (request.key.clone(), request.sent.clone());
        self.one(
            Op::ForceRelease,
            key,
            sent,
            self.inner.force_release(request),
        )
        .await
    }

    /// One piece, unless a rule for [`Op::Renew`] applies to a renewal in it: then they go through one by one.
    async fn renew_many(&self, requests: Vec<RenewRequest>) -> Vec<Result<Reply, StoreError>> {
        let keys: Vec<_> = requests.iter().map(|request| &request.key).collect();
        self.plan.count(Op::RenewMany);
        let of_batch = self.fault(Op::RenewMany, &keys);
        let of_each: Vec<_> = keys
            .iter()
            .map(|key| self.fault(Op::Renew, &[key]))
            .collect();
        let _in_flight: Vec<_> = keys
            .iter()
            .map(|key| self.plan.begin(Op::Renew, key))
            .collect();
        let sent: Vec<_> = requests
            .iter()
            .map(|request| request.sent.clone())
            .collect();
        let asked = requests.len();
        let answers = self
            .under(of_batch, || sent.iter().for_each(Sent::mark), async {
                if of_each.iter().all(Option::is_none) {
                    return self.inner.renew_many(requests).await;
                }
                let mut answers = Vec::with_capacity(asked);
                for (request, fault) in requests.into_iter().zip(of_each) {
                    let sent = request.sent.clone();
                    let call = self.inner.renew(request);
                    let answer = self.under(fault, || sent.mark(), call).await;
                    answers.push(answer.and_then(|answer| answer));
                }
                answers
            })
            .await;
        answers.unwrap_or_else(|error| vec![Err(error); asked])
    }

    fn watch(&self, key: &StoredKey) -> Watch {
        if self.plan.hints_lost() {
            return Watch::none();
        }
        self.inner.watch(key)
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StoreError> {
        self.inner.list(request).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn doubts(&self) -> Vec<Doubt> {
        self.inner.doubts()
    }

    fn for_keeper(&self) -> Option<Self> {
        let inner = match self.inner.for_keeper() {
            Some(sibling) => Arc::new(sibling),
            None if self.io => Arc::clone(&self.inner),
            None => return None,
        };
        Some(Self {
            inner,
            spared: self.spare_sibling,
            ..self.clone()
        })
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::drivers::MemoryStore;
    use crate::error::Outcome;
    use crate::store::Owner;

    const TTL: Duration = Duration::from_secs(60);

    fn key(text: &str) -> StoredKey {
        StoredKey::new("", text).expect("a valid key")
    }

    fn request(text: &str) -> AcquireRequest {
        let mut request =
            AcquireRequest::new(key(text), Owner::random().expect("random bits"), TTL);
        request.sent = Sent::tracked();
        request
    }

    fn store() -> FaultStore<MemoryStore> {
        FaultStore::new(MemoryStore::new()).with_io()
    }

    async fn is_held(store: &FaultStore<MemoryStore>, text: &str) -> bool {
        let request = InspectRequest::new(key(text));
        store
            .inner
            .inspect(request)
            .await
            .expect("memory works")
            .is_some()
    }

    async fn outcome(store: &FaultStore<MemoryStore>, request: AcquireRequest) -> Outcome {
        let answer = store.acquire(request).await;
        answer.expect_err("a call that was told to fail").outcome()
    }

    /// Polls once; whether it is ready.
    fn is_ready(call: &mut (impl Future + Unpin)) -> bool {
        std::pin::Pin::new(call)
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[tokio::test]
    async fn a_call_that_fails_before_was_not_sent_nor_done() {
        let store = store();
        store.on(Op::Acquire).fail_before();
        let asked = request("k");
        assert_eq!(outcome(&store, asked.clone()).await, Outcome::NotApplied);
        assert!(!asked.sent.is_marked());
        assert!(!is_held(&store, "k").await);
    }

    #[tokio::test]
    async fn a_lost_request_was_sent_but_not_done() {
        let store = store();
        store.on(Op::Acquire).fail_lost();
        let asked = request("k");
        assert_eq!(outcome(&store, asked.clone()).await, Outcome::Unknown);
        assert!(asked.sent.is_marked());
        assert!(!is_held(&store, "k").await);
    }

    #[tokio::test]
    async fn a_call_that_fails_after_was_done() {
        let store = store();
        store.on(Op::Acquire).fail_after();
        let asked = request("k");
        assert_eq!(outcome(&store, asked.clone()).await, Outcome::Unknown);
        assert!(asked.sent.is_marked());
        assert!(is_held(&store, "k").await);
    }

    #[tokio::test]
    async fn rules_count_skip_and_look_at_the_key() {
        let store = store();
        store.on(Op::Acquire).after(1).times(2).fail_before();
        let mut failed = Vec::new();
        for number in 0..5 {
            let asked = request(&format!("k{number}"));
            failed.push(store.acquire(asked).await.is_err());
        }
        assert_eq!(failed, [false, true, true, false, false]);
        assert_eq!(store.calls(Op::Acquire), 5);

        store.on(Op::Acquire).on_key("one").fail_before();
        store
            .on(Op::Acquire)
            .when(|key| key.key().starts_with("tw"))
            .fail_lost();
        assert_eq!(outcome(&store, request("one")).await, Outcome::NotApplied);
        assert_eq!(outcome(&store, request("two")).await, Outcome::Unknown);
        assert!(store.acquire(request("three")).await.is_ok());

        store.clear();
        assert!(store.acquire(request("one")).await.is_ok());
    }

    #[tokio::test]
    async fn delays_wait_on_the_side_they_are_told_to() {
        let delay = Duration::from_millis(30);
        let store = store();
        store.on(Op::Acquire).on_key("before").delay_before(delay);
        store.on(Op::Acquire).on_key("after").delay_after(delay);
        for (text, held_meanwhile) in [("before", false), ("after", true)] {
            let asked = request(text);
            let since = Instant::now();
            let mut call = Box::pin(store.acquire(asked.clone()));
            assert!(!is_ready(&mut call));
            assert!(asked.sent.is_marked());
            assert_eq!(is_held(&store, text).await, held_meanwhile);
            assert!(call.await.is_ok());
            assert!(since.elapsed() >= delay);
            assert!(is_held(&store, text).await);
        }
    }

    #[test]
    fn a_delayed_call_needs_no_runtime() {
        let store = store();
        store.on(Op::Acquire).delay_before(Duration::from_millis(1));
        let mut call = Box::pin(store.acquire(request("k")));
        let since = Instant::now();
        while !is_ready(&mut call) {
            assert!(since.elapsed() < TTL);
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn hanging_calls_end_only_when_they_are_let_go() {
        let store = store();
        store.on(Op::Acquire).on_key("unsent").hang_unsent();
        store.on(Op::Acquire).on_key("before").hang_before();
        store.on(Op::Acquire).on_key("after").hang_after();
        for (text, sent, done) in [
            ("unsent", false, false),
            ("before", true, false),
            ("after", true, true),
        ] {
            let asked = request(text);
            let mut call = Box::pin(store.acquire(asked.clone()));
            assert!(!is_ready(&mut call), "{text}");
            assert!(!is_ready(&mut call), "{text}");
            assert_eq!(asked.sent.is_marked(), sent, "{text}");
            assert_eq!(is_held(&store, text).await, done, "{text}");
            assert_eq!(store.in_flight(Op::Acquire), 1, "{text}");
            store.let_go();
            assert!(call.await.is_ok(), "{text}");
            assert!(asked.sent.is_marked(), "{text}");
            assert!(is_held(&store, text).await, "{text}");
            assert_eq!(store.in_flight(Op::Acquire), 0, "{text}");
        }
    }

    #[tokio::test]
    async fn calls_in_flight_are_counted_for_each_key() {
        let store = store();
        store.on(Op::Acquire).hang_before();
        let calls: Vec<_> = ["a", "a", "a", "b"]
            .map(|text| {
                let mut call = Box::pin(store.acquire(request(text)));
                assert!(!is_ready(&mut call));
                call
            })
            .into();
        assert_eq!(store.in_flight(Op::Acquire), 4);
        drop(calls);
        assert_eq!(store.in_flight(Op::Acquire), 0);
        assert_eq!(store.most_in_flight(Op::Acquire, "a"), 3);
        assert_eq!(store.most_in_flight(Op::Acquire, "b"), 1);
        assert_eq!(store.most_in_flight(Op::Release, "a"), 0);
    }

    #[tokio::test]
    async fn until_sees_what_happens_to_a_clone() {
        let store = store();
        store.on(Op::Acquire).hang_before();
        let asking = store.clone();
        let asker = tokio::spawn(async move { asking.acquire(request("k")).await });
        store.until(|store| store.in_flight(Op::Acquire) == 1).await;
        store.let_go();
        assert!(asker.await.expect("no panic").is_ok());
    }

    #[tokio::test]
    async fn renewals_in_a_batch_fail_alone_or_together() {
        let store = store();
        let held = request("held");
        let other = request("other");
        store.acquire(held.clone()).await.expect("granted");
        store.acquire(other.clone()).await.expect("granted");
        let batch = || {
            [&held, &other]
                .map(|of| RenewRequest::new(of.key.clone(), of.owner, TTL))
                .to_vec()
        };
        store.on(Op::Renew).on_key("held").times(1).fail_before();
        let answers = store.renew_many(batch()).await;
        assert!(answers[0].is_err());
        assert!(matches!(answers[1], Ok(Reply::Done)));

        store.on(Op::RenewMany).times(1).fail_after();
        let answers = store.renew_many(batch()).await;
        assert!(answers.iter().all(Result::is_err));

        let answers = store.renew_many(batch()).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(store.calls(Op::Renew), 6);
        assert_eq!(store.calls(Op::RenewMany), 3);
    }

    #[tokio::test]
    async fn a_sibling_is_there_with_io_and_may_be_spared() {
        assert!(FaultStore::new(MemoryStore::new()).for_keeper().is_none());

        let struck = store();
        struck.on(Op::Acquire).fail_before();
        let sibling = struck.for_keeper().expect("a store with I/O has a sibling");
        assert!(sibling.acquire(request("k")).await.is_err());

        let spared = store().sparing_the_sibling();
        spared.on(Op::Acquire).fail_before();
        let sibling = spared.for_keeper().expect("a store with I/O has a sibling");
        assert!(sibling.acquire(request("k")).await.is_ok());
        assert!(spared.acquire(request("k")).await.is_err());
        assert!(is_held(&spared, "k").await, "it is the same table");
        assert_eq!(spared.calls(Op::Acquire), 2);
    }

    #[tokio::test]
    async fn lost_hints_stay_lost() {
        let store = store();
        store.lose_hints();
        let mut watch = store.watch(&key("k"));
        let asked = request("k");
        store.acquire(asked.clone()).await.expect("granted");
        let release = ReleaseRequest::new(asked.key, asked.owner);
        store.release(release).await.expect("released");
        let mut hint = Box::pin(watch.hint());
        assert!(!is_ready(&mut hint));
    }
}
