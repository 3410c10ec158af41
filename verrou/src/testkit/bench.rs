//! What a case works with: opened stores, keys of its own, and questions whose failures are sentences.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Backend;
use crate::store::erased::{AnyStore, Boxed};
use crate::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, ForceReleaseRequest, Holding,
    InspectRequest, ListRequest, Listed, Owner, Page, PassRequest, Passed, ReleaseRequest,
    RenewRequest, Reply, StoreError, StoredKey, Watch,
};
use crate::token::FencingToken;

/// The lease of a case that does not wait for its end.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// The lease of a case that waits for its end.
pub(crate) const SHORT: Duration = Duration::from_millis(150);
/// How far off a store may be by rounding its times.
pub(crate) const ROUNDING: Duration = Duration::from_millis(2);
/// How late a store may notice that a lease is over.
pub(crate) const LATENESS: Duration = Duration::from_millis(100);
/// How long a case waits for what has to happen; only a broken store needs as much.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two looks at a condition.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// The backend of one run of one case.
pub(crate) struct Bench {
    open: Box<dyn Fn() -> Boxed<AnyStore> + Send + Sync>,
    /// Random, so that the leftovers of another run are other keys.
    run: String,
}

impl Bench {
    pub(crate) fn new<B: Backend>(backend: B) -> Self {
        let backend = Arc::new(backend);
        let bits = *owner().as_bytes();
        Self {
            open: Box::new(move || {
                let backend = Arc::clone(&backend);
                Box::pin(async move { Arc::new(backend.open().await) as AnyStore })
            }),
            run: bits[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// Another store on the place that all stores of this bench share.
    pub(crate) async fn open(&self) -> Client {
        Client {
            store: (self.open)().await,
        }
    }

    /// A key that no other run of a case uses, for each `text` another.
    pub(crate) fn key(&self, text: &str) -> StoredKey {
        self.key_in("testkit", text)
    }

    pub(crate) fn key_in(&self, namespace: &str, text: &str) -> StoredKey {
        StoredKey::new(namespace, &format!("{}{text}", self.run))
            .expect("the suite uses valid keys")
    }

    /// What the keys of this run begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("testkit:{}", self.run)
    }

    /// Lets every lease of at most `ttl` that was taken up to now come to its end, by the store's clock, without a
    /// touch of its key: a lease that was taken later and is as long is over.
    pub(crate) async fn outlive(&self, client: &Client, ttl: Duration) {
        let witness = self.key(&format!("witness-{:?}", owner().as_bytes()));
        client.grant(&witness, owner(), ttl).await;
        self.wait_for_end(client, &witness, Instant::now() + ttl + LATENESS)
            .await;
    }

    /// Inspects `key` until nobody holds it; fails when an inspect that was sent after `over` still shows somebody.
    pub(crate) async fn wait_for_end(&self, client: &Client, key: &StoredKey, over: Instant) {
        loop {
            let sent = Instant::now();
            let Some(holding) = client.inspect(key).await else {
                return;
            };
            assert!(
                sent <= over,
                "a lease is over when its ttl has passed, but {:?} later inspect still showed one with {:?} left",
                sent - over,
                holding.remaining
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A new owner.
pub(crate) fn owner() -> Owner {
    Owner::random().expect("the system has a random source")
}

/// One open store. Its methods fail the case when the store answers with an error.
#[derive(Clone)]
pub(crate) struct Client {
    store: AnyStore,
}

impl Client {
    pub(crate) fn acquiring(&self, request: AcquireRequest) -> Boxed<Result<Acquired, StoreError>> {
        self.driver().acquire(request)
    }

    pub(crate) async fn acquire(&self, key: &StoredKey, owner: Owner, ttl: Duration) -> Acquired {
        self.acquire_as(key, owner, ttl, "").await
    }

    pub(crate) async fn acquire_as(
        &self,
        key: &StoredKey,
        owner: Owner,
        ttl: Duration,
        holder: &str,
    ) -> Acquired {
        let mut request = AcquireRequest::new(key.clone(), owner, ttl);
        request.holder = Arc::from(holder);
        answered("acquire", self.driver().acquire(request).await)
    }

    /// Acquires a key that has to be free.
    pub(crate) async fn grant(&self, key: &StoredKey, owner: Owner, ttl: Duration) -> FencingToken {
        match self.acquire(key, owner, ttl).await {
            Acquired::Granted { token } => token,
            Acquired::Held { remaining } => panic!(
                "a key that nobody else holds is granted, but `{key}` was said to be held for another {remaining:?}"
            ),
        }
    }

    /// Acquires a key that somebody else has to hold.
    pub(crate) async fn held(&self, key: &StoredKey, owner: Owner) -> Duration {
        match self.acquire(key, owner, LONG).await {
            Acquired::Held { remaining } => remaining,
            Acquired::Granted { token } => panic!(
                "a key that another owner holds is not granted, but `{key}` was, with token {token}"
            ),
        }
    }

    pub(crate) async fn renew(&self, key: &StoredKey, owner: Owner, ttl: Duration) -> Reply {
        let request = RenewRequest::new(key.clone(), owner, ttl);
        answered("renew", self.driver().renew(request).await)
    }

    pub(crate) async fn renew_many(&self, requests: Vec<RenewRequest>) -> Vec<Reply> {
        self.driver()
            .renew_many(requests)
            .await
            .into_iter()
            .map(|reply| answered("renew_many", reply))
            .collect()
    }

    pub(crate) async fn adopt(
        &self,
        key: &StoredKey,
        from: Owner,
        owner: Owner,
        ttl: Duration,
    ) -> Adopted {
        self.adopt_as(key, from, owner, ttl, "").await
    }

    pub(crate) async fn adopt_as(
        &self,
        key: &StoredKey,
        from: Owner,
        owner: Owner,
        ttl: Duration,
        holder: &str,
    ) -> Adopted {
        let mut request = AdoptRequest::new(key.clone(), from, owner, ttl);
        request.holder = Arc::from(holder);
        answered("adopt", self.driver().adopt(request).await)
    }

    pub(crate) async fn release(&self, key: &StoredKey, owner: Owner) -> Reply {
        self.release_keeping(key, owner, Duration::ZERO).await
    }

    pub(crate) async fn release_keeping(
        &self,
        key: &StoredKey,
        owner: Owner,
        keep: Duration,
    ) -> Reply {
        let request = ReleaseRequest::new(key.clone(), owner).keep(keep);
        answered("release", self.driver().release(request).await)
    }

    /// `None` if the driver cannot pass keys on.
    pub(crate) async fn pass(
        &self,
        key: &StoredKey,
        from: Owner,
        owner: Owner,
        ttl: Duration,
    ) -> Option<Passed> {
        self.pass_as(key, from, owner, ttl, "").await
    }

    pub(crate) async fn pass_as(
        &self,
        key: &StoredKey,
        from: Owner,
        owner: Owner,
        ttl: Duration,
        holder: &str,
    ) -> Option<Passed> {
        if !self.driver().capabilities().pass {
            return None;
        }
        let mut request = PassRequest::new(key.clone(), from, owner, ttl);
        request.holder = Arc::from(holder);
        Some(answered("pass", self.driver().pass(request).await))
    }

    /// The token of a pass that has to work; `None` if the driver cannot.
    pub(crate) async fn passed(
        &self,
        key: &StoredKey,
        from: Owner,
        owner: Owner,
        ttl: Duration,
    ) -> Option<FencingToken> {
        match self.pass(key, from, owner, ttl).await? {
            Passed::Granted { token } => Some(token),
            Passed::NotHeld => panic!("the holder of `{key}` can pass it on, but it could not"),
        }
    }

    pub(crate) async fn inspect(&self, key: &StoredKey) -> Option<Holding> {
        let request = InspectRequest::new(key.clone());
        answered("inspect", self.driver().inspect(request).await)
    }

    /// Inspects a key that has to be held.
    pub(crate) async fn holding(&self, key: &StoredKey) -> Holding {
        match self.inspect(key).await {
            Some(holding) => holding,
            None => panic!("inspect shows a held key, but it said that `{key}` is free"),
        }
    }

    pub(crate) async fn force_release(&self, key: &StoredKey) -> bool {
        let request = ForceReleaseRequest::new(key.clone());
        answered("force_release", self.driver().force_release(request).await)
    }

    /// The held keys under `prefix`, each once, in order; `None` from a driver that says it cannot list, and refuses in the agreed words.
    pub(crate) async fn list(&self, prefix: &str) -> Option<Vec<Listed>> {
        let mut request = ListRequest::new(prefix);
        let mut all = BTreeMap::new();
        loop {
            let page = self.page(request.clone()).await?;
            all.extend(page.listed.into_iter().map(|one| (one.key.clone(), one)));
            let Some(next) = page.next else {
                return Some(all.into_values().collect());
            };
            request.after = Some(next);
        }
    }

    /// One page; `None` as for [`list`](Self::list).
    pub(crate) async fn page(&self, request: ListRequest) -> Option<Page> {
        let answer = self.driver().list(request).await;
        if self.capabilities().list {
            return Some(answered("list", answer));
        }
        let Err(refused) = answer else {
            panic!("a driver whose capabilities deny `list` refuses it, but it answered");
        };
        let expected = StoreError::unsupported("listing keys");
        assert_eq!(
            (refused.outcome(), refused.cause().to_string()),
            (expected.outcome(), expected.cause().to_string()),
            "a driver that cannot list says so with `StoreError::unsupported(\"listing keys\")`"
        );
        None
    }

    pub(crate) fn watch(&self, key: &StoredKey) -> Watch {
        self.store.watch(key)
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    /// The sibling for the keeper; to be called within the runtime that will poll it.
    pub(crate) fn for_keeper(&self) -> Option<Self> {
        self.store.for_keeper().map(|store| Self { store })
    }

    pub(crate) async fn close(&self) {
        self.driver().close().await;
    }

    /// For a case that needs the bare future or the error of a call.
    pub(crate) fn driver(&self) -> AnyStore {
        Arc::clone(&self.store)
    }

    /// Fails unless `key` is free: by inspect, and by granting it to a newcomer, who gives it back.
    pub(crate) async fn assert_free(&self, key: &StoredKey, because: &str) {
        assert_eq!(self.inspect(key).await, None, "{because}");
        let newcomer = owner();
        match self.acquire(key, newcomer, LONG).await {
            Acquired::Granted { .. } => {}
            Acquired::Held { remaining } => {
                panic!("{because}; but `{key}` was said to be held for another {remaining:?}")
            }
        }
        assert_eq!(self.release(key, newcomer).await, Reply::Done, "{because}");
    }

    /// Asks for `key` until a newcomer gets it; fails when it is refused by a call that was sent after `over`, when
    /// the key had to be free. A slow machine does not count: what was sent before may be answered at any time.
    pub(crate) async fn wait_for_grant(
        &self,
        key: &StoredKey,
        newcomer: Owner,
        over: Instant,
    ) -> FencingToken {
        loop {
            let sent = Instant::now();
            match self.acquire(key, newcomer, LONG).await {
                Acquired::Granted { token } => return token,
                Acquired::Held { remaining } => assert!(
                    sent <= over,
                    "a key is free when its time has passed, but {:?} later `{key}` was still held, for another {remaining:?}",
                    sent - over
                ),
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn answered<T>(call: &str, answer: Result<T, StoreError>) -> T {
    answer.unwrap_or_else(|error| {
        panic!(
            "a store that works answers, but `{call}` failed: {error}: {}",
            error.cause()
        )
    })
}

/// Fails unless `remaining` is what a store can have said of a lease of `ttl` that began between `asked` and now.
pub(crate) fn assert_plausible(remaining: Duration, ttl: Duration, asked: Instant) {
    let passed = asked.elapsed();
    assert!(
        remaining <= ttl + ROUNDING && remaining + passed + ROUNDING >= ttl,
        "the store tells what is left of a lease: of one of {ttl:?} that began at most {passed:?} ago it said {remaining:?}"
    );
}
