//! The held lock.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::call::{self, Call, store_error};
use crate::clock::Moment;
use crate::error::Error;
use crate::hold::{Hold, Loss, Lost};
use crate::keeper;
use crate::observe::{self, HoldSpan};
use crate::options::{OnLost, check_ttl};
use crate::pass::Pass;
use crate::serialized::SerializedLock;
use crate::store::{RenewRequest, Reply, StoreError, all};
use crate::token::FencingToken;
use crate::turnstile::Leaving;

/// A lock that is held, until it is released, dropped or lost.
///
/// While the guard lives, its lease is renewed in the background, whatever the task does with its thread. Dropping it
/// releases the lock without waiting: at once for a store in memory, else within a round trip on a thread of verrou's
/// own. [`release`](Self::release) does the same and says how it went.
///
/// # What a guard can promise
/// [`is_held`](Self::is_held) is judged by the clock of this machine, with a margin, and needs no I/O. What the program
/// does after it has asked may happen later than it thinks: it may be paused in between. So let the resource that is
/// written to compare the [`token`](Self::token).
///
/// A guard that is forgotten (`mem::forget`, a reference cycle) is renewed for as long as the process lives;
/// [`max_hold`](crate::Lock::max_hold) bounds that.
#[must_use = "if unused, the lock is released at once"]
#[clippy::has_significant_drop]
pub struct LockGuard {
    /// One for each key, sorted by the keys' bytes; never empty.
    holds: Vec<Arc<Hold>>,
    loss: Arc<Loss>,
    span: HoldSpan,
}

impl LockGuard {
    /// From here on the leases are looked after.
    pub(crate) fn new(holds: Vec<Arc<Hold>>, loss: Arc<Loss>) -> Self {
        let granted = holds
            .iter()
            .map(|hold| hold.sent())
            .max()
            .unwrap_or(Moment::NEVER);
        for hold in &holds {
            hold.hand_out(granted);
        }
        let span = HoldSpan::of(&holds);
        Self { holds, loss, span }
    }

    fn first(&self) -> &Hold {
        &self.holds[0]
    }

    /// The key; of several the first of [`keys`](Self::keys).
    #[must_use]
    pub fn key(&self) -> &str {
        self.first().key.key()
    }

    /// All keys, in the order in which they were taken: that of their bytes, each once.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.holds.iter().map(|hold| hold.key.key())
    }

    /// The fencing token of this grant; of several keys the first one's.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.first().token
    }

    /// The fencing token of `key`; `None` if it is not one of this guard's.
    #[must_use]
    pub fn token_of(&self, key: &str) -> Option<FencingToken> {
        self.holds
            .iter()
            .find(|hold| hold.key.key() == key)
            .map(|hold| hold.token)
    }

    /// Whether the lock is held now, all keys of it. No I/O; once it says no, it never says yes again.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.loss.is_raised() && self.holds.iter().all(|hold| hold.is_held())
    }

    /// [`is_held`](Self::is_held) for use with `?`.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn check(&self) -> Result<(), Error> {
        if self.is_held() {
            Ok(())
        } else {
            Err(self.lost_error())
        }
    }

    /// How long the lock is held if nothing renews it; zero once it is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        if !self.is_held() {
            return Duration::ZERO;
        }
        self.holds
            .iter()
            .filter_map(|hold| hold.deadline())
            .min()
            .map_or(Duration::ZERO, Moment::remaining)
    }

    /// Resolves when the lock is lost. Owns all it needs, so it may be spawned; needs no I/O to resolve.
    ///
    /// If the guard is released or dropped first, it never resolves: select it together with the work.
    ///
    /// # Cancel safety
    /// It may be dropped and asked for again.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.loss_signal()
    }

    pub(crate) fn loss_signal(&self) -> Lost {
        Lost::of(&self.loss)
    }

    /// Makes the lease end no earlier than `duration` from now. Never shortens it.
    ///
    /// With renewal there is seldom a use for it; it serves to cover a stretch in which this process cannot renew.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a duration outside of 10 ms to 10 years, or past `max_hold`, before any I/O;
    /// [`Error::Lost`]; [`Error::NotHeld`] if the store is the first to say that the lock is gone; [`Error::Store`], after
    /// which the guard is as it was.
    ///
    /// # Cancel safety
    /// Dropped in flight, the lease may have been extended at the store; the guard does not count on it.
    pub async fn extend(&self, duration: Duration) -> Result<(), Error> {
        check_ttl("extend", duration)?;
        self.check()?;
        for hold in &self.holds {
            if Moment::now().after(duration) > hold.cap() {
                let left = hold.cap().remaining();
                return Err(Error::invalid_option(
                    "extend",
                    format!(
                        "{duration:?} reaches past the max_hold of this lock, of which {left:?} are left"
                    ),
                ));
            }
        }
        for hold in &self.holds {
            let registered = &hold.registered;
            let sent = Moment::now();
            hold.leases(duration);
            let mut request = RenewRequest::new(hold.key.clone(), hold.owner, duration);
            request.sent = call::mark(registered);
            let mark = request.sent.clone();
            let abandon = |call: Option<_>| {
                if let Some(call) = call {
                    keeper::finish(registered, call);
                }
            };
            let call = Call::new(registered.store.clone().renew(request), mark, abandon);
            let reply = match call.answer(sent.after(registered.request_timeout)).await {
                Ok(reply) => reply,
                Err(unanswered) => Err(unanswered.into_store_error(registered)),
            };
            match reply {
                Ok(Reply::Done) if hold.confirm(sent, duration) => {
                    keeper::watch(hold, Moment::now())
                }
                Ok(Reply::Done) => return Err(self.lost_error()),
                Ok(Reply::NotHeld) => {
                    let live = hold.is_held();
                    hold.give_up(true);
                    return Err(if live {
                        hold.not_held_error()
                    } else {
                        self.lost_error()
                    });
                }
                Err(error) => return Err(store_error(registered, &hold.key, "extend", &error)),
            }
        }
        Ok(())
    }

    /// Releases the lock and says how it went.
    ///
    /// # Errors
    /// [`Error::Lost`] at once if it was lost before; [`Error::NotHeld`] if the store is the first to say so;
    /// [`Error::Store`] if the store failed: then the release is tried again in the background until the lease is over.
    ///
    /// # Cancel safety
    /// Dropped at any point, the release is finished in the background.
    pub async fn release(mut self) -> Result<(), Error> {
        if self.holds.len() == 1
            && let Some(hold) = self.holds.pop()
        {
            // The usual case, without a list of futures.
            return release(hold).await;
        }
        let lost = (!self.is_held()).then(|| self.lost_error());
        // Each is on its way from the first poll on, and none needs this future to end.
        let released = all(std::mem::take(&mut self.holds).into_iter().map(release)).await;
        let first = released
            .into_iter()
            .collect::<Result<Vec<()>, _>>()
            .map(drop);
        lost.map_or(first, Err)
    }

    /// Hands the lock over: renewal stops, dropping releases nothing, and whoever has the text can take the lock up
    /// with `restore_lock` until the lease ends.
    ///
    /// # Errors
    /// [`Error::Lost`]; [`Error::InvalidOption`] for a guard of several keys, which is released.
    pub fn into_serialized(self) -> Result<SerializedLock, Error> {
        if self.holds.len() != 1 {
            return Err(Error::invalid_option(
                "into_serialized",
                "a lock of several keys cannot be handed over",
            ));
        }
        let text = SerializedLock::of(self.first());
        if !self.is_held() || !self.holds[0].hand_on() {
            return Err(self.lost_error());
        }
        Ok(text)
    }

    /// Releases after the body has ended: its result wins, so a failure is only logged.
    pub(crate) async fn finish(self) {
        let first = Arc::clone(&self.holds[0]);
        if let Err(error) = self.release().await
            // A loss has its own event.
            && !error.is_lost()
        {
            observe::release_failed(&first.registered, &first.key, &error);
        }
    }

    pub(crate) fn span(&self) -> &HoldSpan {
        &self.span
    }

    pub(crate) fn on_lost(&self) -> OnLost {
        self.first().terms.on_lost
    }

    pub(crate) fn hold_ids(&self) -> impl Iterator<Item = u64> {
        self.holds.iter().map(|hold| hold.id)
    }

    pub(crate) fn any_hold(&self) -> &Hold {
        self.first()
    }

    /// Names the key that was lost first.
    pub(crate) fn lost_error(&self) -> Error {
        // Whoever finds a deadline passed makes it known.
        let _ = self.holds.iter().all(|hold| hold.is_held());
        let key = self
            .loss
            .lost_key()
            .unwrap_or_else(|| self.first().key.clone());
        Error::Lost {
            store: self.first().registered.name.clone(),
            key: key.key().to_owned(),
        }
    }
}

/// The release of one key, which is the grant of the next one who waits for it in this process, if there is one.
async fn release(hold: Arc<Hold>) -> Result<(), Error> {
    let deadline = hold.deadline();
    let now = Moment::now();
    let Some(leaving) = hold.give_back(now) else {
        hold.release_late();
        return Err(hold.lost_error());
    };
    let reply = match Pass::of(&hold, leaving) {
        Ok(pass) => pass.send().await,
        Err(leaving) => free(&hold, leaving, now).await,
    };
    match reply {
        Ok(Reply::Done) => {
            observe::released(&hold);
            Ok(())
        }
        Ok(Reply::NotHeld) if deadline.is_none_or(Moment::has_passed) => Err(hold.lost_error()),
        Ok(Reply::NotHeld) => Err(hold.not_held_error()),
        Err(error) => Err(store_error(&hold.registered, &hold.key, "release", &error)),
    }
}

/// Frees the key; what fails is tried again in the background.
async fn free(
    hold: &Arc<Hold>,
    leaving: Option<Leaving>,
    now: Moment,
) -> Result<Reply, StoreError> {
    let registered = &hold.registered;
    let request = hold.release_request(call::mark(registered));
    if !registered.has_io
        && let Some(Reply::Done) = registered.store.release_now(&request, now)
    {
        drop(leaving);
        return Ok(Reply::Done);
    }
    let sent = Moment::now();
    let mark = request.sent.clone();
    let abandon = |call| keeper::adopt_release(Arc::clone(hold), leaving, call);
    let call = Call::new(registered.store.clone().release(request), mark, abandon);
    match call.answer(sent.after(registered.request_timeout)).await {
        Ok(reply) => reply.inspect_err(|_| keeper::adopt_release(Arc::clone(hold), None, None)),
        // The call itself has gone to the keeper.
        Err(unanswered) => Err(unanswered.into_store_error(registered)),
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        for hold in &self.holds {
            hold.release_late();
        }
    }
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockGuard")
            .field("keys", &self.keys().collect::<Vec<_>>())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}
