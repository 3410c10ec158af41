//! The contract between verrou and a place that keeps locks.
//!
//! Implement [`LockStore`] to bring a driver of your own, and run the suite of `testkit` against it: the suite is this
//! contract as code. [`MemoryStore`](crate::drivers::MemoryStore) is the one to read first.
//!
//! # What every operation keeps
//!
//! - **One step.** Each is one statement or script in the store: one round trip, all of it or nothing.
//! - **The owner decides.** Renew, adopt, pass and release act only if the stored owner equals the request's.
//! - **The store's clock decides.** A lease is over when the store's clock says so, and at no other time; never compare
//!   a client's clock.
//! - **Idempotent.** The same request again, after an answer that got lost, does no harm and gets the same answer: an
//!   acquire that finds its own owner has won, with the token of the first time.
//! - **Nothing shortens a lease but release, pass and force release.** A repeated acquire or pass, a renew and an adopt set
//!   the expiry to the later of what it was and `now + ttl`.
//! - **Tokens rise.** A grant's token is `max(previous token of the key + 1, the store's time in microseconds)`, whatever
//!   happened to the key since. The floor keeps the order when the store has lost its data.
//! - **Keys are bytes.** No case folding, no trimming, no normalisation, no cut.
//!
//! # What a driver does not do
//!
//! Sleep, retry because a key is held, block its thread, read lock options, or bound its calls by a timer: verrou
//! bounds each call from outside, and may poll the future of a call that was [sent](Sent) on another runtime to its end.
//! A call whose connection was found dead is retried once; an engine's own transient refusals (a busy file, a
//! serialization failure) are retried too, while the caller still waits.

mod all;
mod doubt;
pub(crate) mod erased;
mod listing;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

pub(crate) use self::all::all;
pub use self::doubt::Doubt;
pub use self::listing::{Cursor, ListRequest, Listed, Page};
use crate::error::{Cause, Outcome};
pub use crate::key::StoredKey;
pub use crate::owner::Owner;
use crate::token::FencingToken;

/// A place that keeps locks. The module's page has what every operation keeps.
///
/// Write the methods as plain `async fn`. Their futures must be `Send`, and own what they need of the request.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a lock store",
    label = "`LockStore` is not implemented for `{Self}`",
    note = "take one of `verrou::drivers`, or implement `verrou::LockStore` for it"
)]
pub trait LockStore: Send + Sync + 'static {
    /// Takes the key for `request.owner` if it is free, expired, or already this owner's.
    ///
    /// - Free or expired: writes owner, holder, expiry `now + ttl` and the next token; answers
    ///   [`Granted`](Acquired::Granted).
    /// - Own: extends the lease as renew does; `Granted` with the token it has.
    /// - Another's: changes nothing; [`Held`](Acquired::Held) with the time left.
    fn acquire(
        &self,
        request: AcquireRequest,
    ) -> impl Future<Output = Result<Acquired, StoreError>> + Send;

    /// Grants the key on the spot if it is free: for a store whose answer takes no waiting at all. `now` is on the boot-time
    /// clock, in nanoseconds.
    ///
    /// `None`: nothing was done, ask by [`acquire`](Self::acquire). So it is by default.
    #[doc(hidden)]
    fn grant_now(&self, request: &AcquireRequest, now: u64) -> Option<FencingToken> {
        let _ = (request, now);
        None
    }

    /// Releases on the spot what the owner holds; `None`: nothing was done, ask by [`release`](Self::release). So it is by default.
    #[doc(hidden)]
    fn release_now(&self, request: &ReleaseRequest, now: u64) -> Option<Reply> {
        let _ = (request, now);
        None
    }

    /// Sets the expiry to `max(expiry, now + ttl)` if the owner holds the key and it has not expired.
    ///
    /// An expired lease is [`NotHeld`](Reply::NotHeld), also if nobody has taken the key since.
    fn renew(
        &self,
        request: RenewRequest,
    ) -> impl Future<Output = Result<Reply, StoreError>> + Send;

    /// Replaces the owner of a live lease, keeps its token, and extends it as renew does.
    ///
    /// The old owner can do nothing with the key afterwards. A repeated adopt by the same new owner has won.
    fn adopt(
        &self,
        request: AdoptRequest,
    ) -> impl Future<Output = Result<Adopted, StoreError>> + Send;

    /// Frees the key if the owner holds it.
    ///
    /// With a `keep` above zero the key stays taken until `now + keep`, under no owner that any request can have, even if that is
    /// sooner or later than the expiry was. The token stays known either way.
    fn release(
        &self,
        request: ReleaseRequest,
    ) -> impl Future<Output = Result<Reply, StoreError>> + Send;

    /// Releases the key of one owner and grants it to the next, in one step: two in one round trip, and nobody in between.
    ///
    /// - `request.from` holds it: it is `request.owner`'s from now on, as by a release and an acquire: holder, expiry
    ///   `now + ttl` and the next token are new; [`Granted`](Passed::Granted).
    /// - `request.owner` holds it already: a repetition, which has won with the token of the first time and extends the
    ///   lease as renew does.
    /// - Else: changes nothing; [`NotHeld`](Passed::NotHeld).
    ///
    /// Nobody who waits elsewhere is told. verrou asks for it only if [`capabilities`](Self::capabilities) say that it works.
    ///
    /// # Errors
    /// By default [`StoreError::unsupported`].
    fn pass(
        &self,
        request: PassRequest,
    ) -> impl Future<Output = Result<Passed, StoreError>> + Send {
        let _ = request;
        async { Err(StoreError::unsupported("passing a key on")) }
    }

    /// Who holds the key now; `None` if it is free or expired.
    fn inspect(
        &self,
        request: InspectRequest,
    ) -> impl Future<Output = Result<Option<Holding>, StoreError>> + Send;

    /// Frees the key whoever holds it; whether somebody did. The next grant's token is greater all the same.
    fn force_release(
        &self,
        request: ForceReleaseRequest,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Renews several leases, each with its own answer, in the order of the requests.
    ///
    /// By default all of them at the same time, each by itself. Override it where the engine can do it in one round trip. Answers as many as there are requests.
    fn renew_many(
        &self,
        requests: Vec<RenewRequest>,
    ) -> impl Future<Output = Vec<Result<Reply, StoreError>>> + Send {
        async move {
            let renewals = requests.into_iter().map(|request| self.renew(request));
            all(renewals).await
        }
    }

    /// A hint that `key` may have become free. By default there is none, and waiters poll.
    ///
    /// Must not wait: what has to be set up is set up in the background. All watches of a store share one connection. A
    /// hint may be missed or come for nothing; it costs latency, never progress.
    fn watch(&self, key: &StoredKey) -> Watch {
        let _ = key;
        Watch::none()
    }

    /// One page of the held keys that begin with `request.prefix`.
    ///
    /// A call looks at about `request.limit` keys, held or not, so that none takes long or holds others up, however many there
    /// are. All pages together have every key that was held from the first to the last of them; one that was taken or
    /// released meanwhile may be missing, and any may come twice.
    ///
    /// # Errors
    /// By default [`StoreError::unsupported`]; say so in [`capabilities`](Self::capabilities) if it works.
    fn list(&self, request: ListRequest) -> impl Future<Output = Result<Page, StoreError>> + Send {
        let _ = request;
        async { Err(StoreError::unsupported("listing keys")) }
    }

    /// What this driver can do beyond the required methods.
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("custom")
    }

    /// What this store, or its sibling, has seen since this was last called that may break a promise; each occurrence once.
    ///
    /// Asked when the store is registered and after each [`renew_many`](Self::renew_many), so it does no I/O: what there is
    /// to see rides on the answers of renewals, and costs no round trip of its own. By default nothing.
    fn doubts(&self) -> Vec<Doubt> {
        Vec::new()
    }

    /// A sibling of this store with connections of its own, for the thread that renews leases.
    ///
    /// Called wherever the store is registered, to see whether there is one, and on the keeper's thread: so it needs no
    /// runtime, and connects when it is first used. `None` means that this store has no I/O state, and its futures may be
    /// polled anywhere: then the store itself is used, and a guard's release happens inside its `Drop`.
    fn for_keeper(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Ends what runs in the background and closes connections that are the store's own.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Tells verrou that a call has reached the point from which the store may execute it.
///
/// A driver calls [`mark`](Self::mark) once it has its connection, before the first byte of the request goes out. If the
/// caller of verrou gives up after that, the future is polled on by the keeper and what it won is released; before that,
/// it is dropped where it is. A driver without I/O needs no mark.
#[derive(Clone, Debug, Default)]
pub struct Sent(Option<Arc<AtomicU8>>);

/// Nothing of the request has gone out.
const UNSENT: u8 = 0;
const SENT: u8 = 1;
/// The caller gave up before anything went out.
const WITHDRAWN: u8 = 2;

impl Sent {
    pub(crate) fn tracked() -> Self {
        Self(Some(Arc::new(AtomicU8::new(UNSENT))))
    }

    /// The request goes out now.
    pub fn mark(&self) {
        let _ = self.claim();
    }

    /// As [`mark`](Self::mark), for a request that is carried by something else than its own future: false if its caller has
    /// given up meanwhile, and it must not go out any more.
    #[must_use]
    pub fn claim(&self) -> bool {
        let Some(sent) = &self.0 else { return true };
        sent.compare_exchange(UNSENT, SENT, Ordering::AcqRel, Ordering::Acquire)
            .map_or_else(|state| state == SENT, |_| true)
    }

    /// The caller gives up: whether the request has certainly not gone out, and will not.
    pub(crate) fn withdraw(&self) -> bool {
        self.0.as_ref().is_some_and(|sent| {
            sent.compare_exchange(UNSENT, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire)
                .map_or_else(|state| state == WITHDRAWN, |_| true)
        })
    }

    /// Whether [`mark`](Self::mark) was called on this or a clone.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|sent| sent.load(Ordering::Acquire) == SENT)
    }
}

/// Asks for a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcquireRequest {
    /// The key.
    pub key: StoredKey,
    /// Who asks; the same for every repetition of one call.
    pub owner: Owner,
    /// The length of the lease.
    pub ttl: Duration,
    /// What `inspect` shows; at most 255 bytes.
    pub holder: Arc<str>,
    /// To be marked when the request goes out.
    pub sent: Sent,
}

impl AcquireRequest {
    /// A request with an empty `holder`.
    #[must_use]
    pub fn new(key: StoredKey, owner: Owner, ttl: Duration) -> Self {
        Self {
            key,
            owner,
            ttl,
            holder: Arc::from(""),
            sent: Sent::default(),
        }
    }
}

/// Asks to extend a held lease.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RenewRequest {
    /// The key.
    pub key: StoredKey,
    /// Who must hold it.
    pub owner: Owner,
    /// The lease ends no earlier than this from now.
    pub ttl: Duration,
    /// To be marked when the request goes out.
    pub sent: Sent,
}

impl RenewRequest {
    /// A request.
    #[must_use]
    pub fn new(key: StoredKey, owner: Owner, ttl: Duration) -> Self {
        Self {
            key,
            owner,
            ttl,
            sent: Sent::default(),
        }
    }
}

/// Asks to hand a held lease to another owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdoptRequest {
    /// The key.
    pub key: StoredKey,
    /// Who must hold it.
    pub from: Owner,
    /// Who holds it afterwards.
    pub owner: Owner,
    /// The lease ends no earlier than this from now.
    pub ttl: Duration,
    /// What `inspect` shows afterwards.
    pub holder: Arc<str>,
    /// To be marked when the request goes out.
    pub sent: Sent,
}

impl AdoptRequest {
    /// A request with an empty `holder`.
    #[must_use]
    pub fn new(key: StoredKey, from: Owner, owner: Owner, ttl: Duration) -> Self {
        Self {
            key,
            from,
            owner,
            ttl,
            holder: Arc::from(""),
            sent: Sent::default(),
        }
    }
}

/// Asks to free a held key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReleaseRequest {
    /// The key.
    pub key: StoredKey,
    /// Who must hold it.
    pub owner: Owner,
    /// How long the key stays taken from now on; zero frees it.
    pub keep: Duration,
    /// To be marked when the request goes out.
    pub sent: Sent,
}

impl ReleaseRequest {
    /// A request that frees the key at once.
    #[must_use]
    pub fn new(key: StoredKey, owner: Owner) -> Self {
        Self {
            key,
            owner,
            keep: Duration::ZERO,
            sent: Sent::default(),
        }
    }

    /// Keeps the key taken for this long from now.
    #[must_use]
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }
}

/// Asks to pass a held key on to the next owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PassRequest {
    /// The key.
    pub key: StoredKey,
    /// Who must hold it.
    pub from: Owner,
    /// Who holds it afterwards.
    pub owner: Owner,
    /// The length of the new lease.
    pub ttl: Duration,
    /// What `inspect` shows afterwards; at most 255 bytes.
    pub holder: Arc<str>,
    /// To be marked when the request goes out.
    pub sent: Sent,
}

impl PassRequest {
    /// A request with an empty `holder`.
    #[must_use]
    pub fn new(key: StoredKey, from: Owner, owner: Owner, ttl: Duration) -> Self {
        Self {
            key,
            from,
            owner,
            ttl,
            holder: Arc::from(""),
            sent: Sent::default(),
        }
    }
}

/// Asks who holds a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InspectRequest {
    /// The key.
    pub key: StoredKey,
    /// To be marked when the request goes out.
    pub sent: Sent,
}

impl InspectRequest {
    /// A request.
    #[must_use]
    pub fn new(key: StoredKey) -> Self {
        Self {
            key,
            sent: Sent::default(),
        }
    }
}

/// Asks to free a key whoever holds it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ForceReleaseRequest {
    /// The key.
    pub key: StoredKey,
    /// To be marked when the request goes out.
    pub sent: Sent,
}

impl ForceReleaseRequest {
    /// A request.
    #[must_use]
    pub fn new(key: StoredKey) -> Self {
        Self {
            key,
            sent: Sent::default(),
        }
    }
}

/// The answer to an acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third answer would be another contract"
)]
pub enum Acquired {
    /// The owner holds the key from now on.
    Granted {
        /// The fencing token of this grant.
        token: FencingToken,
    },
    /// Another owner holds it: a normal answer, no error.
    Held {
        /// What is left of the other's lease, by the store's clock.
        remaining: Duration,
    },
}

/// The answer to an adopt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third answer would be another contract"
)]
pub enum Adopted {
    /// The new owner holds the key.
    Adopted {
        /// The token of the grant, unchanged.
        token: FencingToken,
    },
    /// The old owner does not hold the key.
    NotHeld,
}

/// The answer to a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third answer would be another contract"
)]
pub enum Passed {
    /// The new owner holds the key.
    Granted {
        /// The fencing token of its grant.
        token: FencingToken,
    },
    /// The old owner does not hold the key.
    NotHeld,
}

/// The answer to a renew or a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third answer would be another contract"
)]
pub enum Reply {
    /// Done.
    Done,
    /// This owner does not hold the key, or its lease has expired.
    NotHeld,
}

/// Who holds a key, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// What the holder said of itself; empty while a released key is kept taken.
    pub holder: String,
    /// The token of the grant.
    pub token: FencingToken,
    /// What is left of the lease, by the store's clock.
    pub remaining: Duration,
    /// How long ago the key was granted, by the store's clock.
    pub held_for: Duration,
}

impl Holding {
    /// A holding.
    #[must_use]
    pub fn new(
        holder: impl Into<String>,
        token: FencingToken,
        remaining: Duration,
        held_for: Duration,
    ) -> Self {
        Self {
            holder: holder.into(),
            token,
            remaining,
            held_for,
        }
    }
}

/// What a driver can do beyond the required methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The technology, in lower case: `memory`, `sqlite`, ...
    pub driver: &'static str,
    /// [`LockStore::watch`] gives hints.
    pub watch: bool,
    /// [`LockStore::list`] works.
    pub list: bool,
    /// [`LockStore::pass`] works.
    pub pass: bool,
}

impl Capabilities {
    /// None but the required methods.
    #[must_use]
    pub const fn new(driver: &'static str) -> Self {
        Self {
            driver,
            watch: false,
            list: false,
            pass: false,
        }
    }

    /// With hints for waiters.
    #[must_use]
    pub const fn watch(mut self) -> Self {
        self.watch = true;
        self
    }

    /// With listing.
    #[must_use]
    pub const fn list(mut self) -> Self {
        self.list = true;
        self
    }

    /// With passing on.
    #[must_use]
    pub const fn pass(mut self) -> Self {
        self.pass = true;
        self
    }
}

/// A subscription to the hint that a key may be free; ends when it is dropped.
#[derive(Default)]
pub struct Watch {
    hints: Option<tokio::sync::watch::Receiver<u64>>,
    /// Ends the subscription in its `Drop`.
    _subscription: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl Watch {
    /// No hints.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A hint for each change of the number; `subscription` is dropped with the watch.
    #[must_use]
    pub fn new(
        hints: tokio::sync::watch::Receiver<u64>,
        subscription: impl std::any::Any + Send + Sync,
    ) -> Self {
        Self {
            hints: Some(hints),
            _subscription: Some(Box::new(subscription)),
        }
    }

    /// Waits for the next hint; for ever if there are none.
    ///
    /// # Cancel safety
    /// A hint that has come is not lost when this is dropped before it is ready.
    pub async fn hint(&mut self) {
        if let Some(hints) = &mut self.hints
            && hints.changed().await.is_ok()
        {
            return;
        }
        // None, or the store has stopped telling: polling goes on.
        self.hints = None;
        std::future::pending().await
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("hints", &self.hints.is_some())
            .finish_non_exhaustive()
    }
}

/// A store call that failed: neither a yes nor a no.
#[derive(Clone, Debug)]
pub struct StoreError {
    outcome: Outcome,
    cause: Cause,
}

impl StoreError {
    /// The store did not do it: it refused, or the request never went out.
    pub fn not_applied(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            outcome: Outcome::NotApplied,
            cause: Arc::from(cause.into()),
        }
    }

    /// The store may have done it, or may still do it: the answer did not arrive.
    pub fn unknown(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            outcome: Outcome::Unknown,
            cause: Arc::from(cause.into()),
        }
    }

    /// This driver cannot do `what`.
    #[must_use]
    pub fn unsupported(what: &'static str) -> Self {
        Self::not_applied(format!("{what} is not supported by this driver"))
    }

    /// Whether it may have been done.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What went wrong.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.cause
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.outcome {
            Outcome::NotApplied => "the store refused the call",
            Outcome::Unknown => "the store did not answer the call",
        })
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}
