//! The acquire loop: from a key that is wanted to a key that is held, or to the reason why not.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use backon::BackoffBuilder as _;

use crate::call::{self, Call, store_error};
use crate::clock::{self, Moment};
use crate::error::{Error, Outcome};
use crate::guard::LockGuard;
use crate::hold::{Grant, Hold, Loss};
use crate::keeper::{self, Unclaimed};
use crate::key::StoredKey;
use crate::observe;
use crate::options::{Terms, Wait};
use crate::reentry::Chain;
use crate::registered::Registered;
use crate::store::{AcquireRequest, Acquired, Owner, Watch};
use crate::turnstile::{Glance, Look, Ticket, Visit};

/// One acquisition: what is wanted, and how long it may take.
pub(crate) struct Acquisition {
    pub(crate) registered: Arc<Registered>,
    /// Sorted by their bytes, without repetition, never empty.
    pub(crate) keys: Vec<StoredKey>,
    pub(crate) terms: Terms,
    /// The bodies in which the wait began.
    pub(crate) chain: Chain,
}

/// The first try is due at once, also if the wait is over by then.
const FIRST: Moment = Moment::from_nanos(0);
/// A holder that has just expired by the store's word is asked again after this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// What asking the store once has brought.
enum Answer {
    Won(Arc<Hold>),
    /// Another process holds it for so long, if it does not renew.
    Held(Duration),
}

impl Acquisition {
    /// Waits as the terms say.
    ///
    /// Cancel safe: keys already won are guarded from the moment they are won, a call in flight moves to the keeper,
    /// and the place in the queue goes to the next one.
    pub(crate) async fn acquire(self) -> Result<LockGuard, Error> {
        let started = Moment::now();
        let deadline = match self.terms.wait {
            Wait::Never => {
                let store = self.registered.name.clone();
                return match self.try_acquire_from(started).await? {
                    Ok(guard) => Ok(guard),
                    Err(key) if self.registered.turnstile.is_held_by(&key, &self.chain) => {
                        Err(Error::Reentrant {
                            store,
                            key: key.key().to_owned(),
                        })
                    }
                    Err(key) => Err(Error::Busy {
                        store,
                        key: key.key().to_owned(),
                    }),
                };
            }
            Wait::Forever => Moment::NEVER,
            Wait::For(wait) => started.after(wait),
        };
        let mut won = Won::new(&self);
        for key in &self.keys {
            let hold = match self.acquire_key(key, started, deadline, &won.loss).await {
                Ok(hold) => hold,
                Err(error) => {
                    observe::not_acquired(&self.registered, key, &self.terms, started, &error);
                    return Err(error);
                }
            };
            won.add(hold, self.keys.len());
        }
        won.into_guard(started)
    }

    /// One try for each key; `None` if one of them is held.
    pub(crate) async fn try_acquire(self) -> Result<Option<LockGuard>, Error> {
        Ok(self.try_acquire_from(Moment::now()).await?.ok())
    }

    /// The inner error is the key that is held.
    async fn try_acquire_from(
        &self,
        started: Moment,
    ) -> Result<Result<LockGuard, StoredKey>, Error> {
        let mut won = Won::new(self);
        for key in &self.keys {
            match self.try_key(key, &won.loss).await {
                Ok(Some(hold)) => won.add(hold, self.keys.len()),
                Ok(None) => {
                    observe::busy(&self.registered, key, &self.terms);
                    return Ok(Err(key.clone()));
                }
                Err(error) => {
                    observe::not_acquired(&self.registered, key, &self.terms, started, &error);
                    return Err(error);
                }
            }
        }
        won.into_guard(started).map(Ok)
    }

    async fn acquire_key(
        &self,
        key: &StoredKey,
        started: Moment,
        deadline: Moment,
        loss: &Arc<Loss>,
    ) -> Result<Arc<Hold>, Error> {
        let visit = self.registered.turnstile.enter(key)?;
        let ticket = visit.queue();
        let owner = fresh_owner()?;
        let retry = self.terms.retry;
        let mut pauses = backon::ExponentialBuilder::new()
            .with_min_delay(retry.min_delay)
            .with_max_delay(retry.max_delay)
            .with_jitter()
            .without_max_times()
            .build();
        let mut hints = None;
        let mut next_try = FIRST;
        let mut attempts = 0;
        loop {
            let turn = self
                .turn(&ticket, key, &mut hints, next_try, deadline)
                .await?;
            if !turn || retry.attempts == Some(attempts) {
                return Err(self.timeout(key, started, attempts));
            }
            attempts += 1;
            ticket.due(Moment::now().after(self.registered.request_timeout));
            match self.ask(key, owner, &visit, loss).await {
                Ok(Answer::Won(hold)) => return Ok(hold),
                Ok(Answer::Held(remaining)) => {
                    if retry.attempts == Some(attempts) {
                        return Err(self.timeout(key, started, attempts));
                    }
                    // The one that told the hints may have been missed before this: then the first, short pause is
                    // what it costs.
                    hints.get_or_insert_with(|| self.registered.store.watch(key));
                    let pause = pauses
                        .next()
                        .unwrap_or(retry.max_delay)
                        .min(retry.max_delay);
                    next_try = Moment::now().after(pause.min(remaining.max(SHORTEST_PAUSE)));
                }
                Err(error) => {
                    ticket.fail_queue(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Waits until this waiter is the head, nobody of this process has the key, and `next_try` or a hint has come; false
    /// if `deadline` came first.
    async fn turn(
        &self,
        ticket: &Ticket<'_>,
        key: &StoredKey,
        hints: &mut Option<Watch>,
        next_try: Moment,
        deadline: Moment,
    ) -> Result<bool, Error> {
        let mut hinted = false;
        loop {
            let mut hint = pin!(async {
                match hints.as_mut() {
                    Some(hints) => hints.hint().await,
                    None => std::future::pending().await,
                }
            });
            let mut heard = false;
            let mut wake_at = Moment::NEVER;
            let mut timer = pin!(None);
            let step = poll_fn(|cx| {
                if next_try > FIRST && deadline.has_passed() {
                    return Poll::Ready(Ok(false));
                }
                if !heard && !hinted && next_try > FIRST {
                    heard = hint.as_mut().poll(cx).is_ready();
                }
                let until = match ticket.look(cx.waker(), &self.chain) {
                    Look::Turn if heard || hinted || next_try.has_passed() => {
                        return Poll::Ready(Ok(true));
                    }
                    Look::Turn => {
                        ticket.due(next_try);
                        next_try
                    }
                    Look::Wait(until) => until,
                    Look::Refused(error) => return Poll::Ready(Err(error)),
                    Look::Reentrant => {
                        let (store, key) = (self.registered.name.clone(), key.key().to_owned());
                        return Poll::Ready(Err(Error::Reentrant { store, key }));
                    }
                };
                if deadline.has_passed() {
                    return Poll::Ready(Ok(false));
                }
                let until = until.min(deadline);
                if until != wake_at || timer.is_none() {
                    wake_at = until;
                    timer.set(Some(clock::sleep_until(until)));
                }
                match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
                    // Look again, with another timer.
                    Some(Poll::Ready(())) => Poll::Ready(Ok(false)),
                    _ => Poll::Pending,
                }
            })
            .await?;
            if step {
                return Ok(true);
            }
            if deadline.has_passed() {
                return Ok(false);
            }
            hinted |= heard;
        }
    }

    async fn try_key(&self, key: &StoredKey, loss: &Arc<Loss>) -> Result<Option<Arc<Hold>>, Error> {
        let visit = self.registered.turnstile.enter(key)?;
        let patience = Moment::now().after(self.registered.request_timeout);
        let mut timer = pin!(clock::sleep_until(patience));
        let held = poll_fn(|cx| match visit.glance(cx.waker()) {
            Glance::Free => Poll::Ready(false),
            Glance::Held => Poll::Ready(true),
            // Woken when the late release is done; nobody waits for it longer than for a call.
            Glance::Leaving => timer.as_mut().poll(cx).map(|()| false),
        });
        if held.await {
            return Ok(None);
        }
        let owner = fresh_owner()?;
        match self.ask(key, owner, &visit, loss).await? {
            Answer::Won(hold) => Ok(Some(hold)),
            Answer::Held(_) => Ok(None),
        }
    }

    /// One acquire at the store, and another if the grant came back too late to be of use.
    async fn ask(
        &self,
        key: &StoredKey,
        owner: Owner,
        visit: &Visit,
        loss: &Arc<Loss>,
    ) -> Result<Answer, Error> {
        let registered = &self.registered;
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = Moment::now();
            let unclaimed = || Unclaimed {
                registered: Arc::clone(registered),
                key: key.clone(),
                owner,
                ttl: self.terms.ttl,
                sent,
            };
            let leaving = || {
                Some(
                    visit
                        .clone()
                        .leave(unique(), sent.after(registered.request_timeout)),
                )
            };
            let mut request = AcquireRequest::new(key.clone(), owner, self.terms.ttl);
            request.holder = Arc::clone(&registered.holder);
            request.sent = call::mark(registered);
            let mark = request.sent.clone();
            let abandon = |call: Option<_>| {
                if let Some(call) = call {
                    keeper::adopt_acquire(unclaimed(), leaving(), call);
                }
            };
            let call = Call::new(registered.store.clone().acquire(request), mark, abandon);
            let answer = match call.answer(sent.after(registered.request_timeout)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    if error.outcome() == Outcome::Unknown {
                        keeper::release_unclaimed(unclaimed(), leaving());
                    }
                    return Err(store_error(registered, key, "acquire", &error));
                }
                // The call itself has gone to the keeper.
                Err(unanswered) => {
                    let error = unanswered.into_store_error(registered);
                    return Err(store_error(registered, key, "acquire", &error));
                }
            };
            let token = match answer {
                Acquired::Held { remaining } => return Ok(Answer::Held(remaining)),
                Acquired::Granted { token } => token,
            };
            if !sent
                .after(self.terms.ttl)
                .before(self.terms.margin())
                .has_passed()
            {
                let grant = Grant {
                    key: key.clone(),
                    owner,
                    token,
                    sent,
                };
                let (registered, loss) = (Arc::clone(registered), Arc::clone(loss));
                return Ok(Answer::Won(Hold::new(
                    registered,
                    grant,
                    self.terms,
                    loss,
                    visit.clone(),
                )));
            }
            // The lease was over before its grant was known. The same owner asks again: still its own, and longer, or a
            // new grant.
            if tries == 3 {
                keeper::release_unclaimed(unclaimed(), leaving());
                let error = crate::store::StoreError::not_applied(
                    "each answer took longer than the ttl; the ttl is too short for this store",
                );
                return Err(store_error(registered, key, "acquire", &error));
            }
        }
    }

    fn timeout(&self, key: &StoredKey, started: Moment, attempts: u32) -> Error {
        Error::Timeout {
            store: self.registered.name.clone(),
            key: key.key().to_owned(),
            waited: Moment::now().since(started),
            attempts,
        }
    }
}

/// The keys won so far: released if the acquisition ends here, renewed while others are awaited.
struct Won<'a> {
    acquisition: &'a Acquisition,
    holds: Vec<Arc<Hold>>,
    loss: Arc<Loss>,
}

impl<'a> Won<'a> {
    fn new(acquisition: &'a Acquisition) -> Self {
        Self {
            acquisition,
            holds: Vec::with_capacity(acquisition.keys.len()),
            loss: Arc::default(),
        }
    }

    fn add(&mut self, hold: Arc<Hold>, of: usize) {
        if of > 1 {
            self.loss.join(&hold);
            hold.renew_while_awaiting();
        }
        self.holds.push(hold);
    }

    /// All are won: from here on the caller has them.
    fn into_guard(mut self, started: Moment) -> Result<LockGuard, Error> {
        let guard = LockGuard::new(std::mem::take(&mut self.holds), Arc::clone(&self.loss));
        guard.check()?;
        self.acquisition.registered.check_open()?;
        observe::acquired(&guard, started);
        Ok(guard)
    }
}

impl Drop for Won<'_> {
    fn drop(&mut self) {
        for hold in &self.holds {
            Hold::release_late(hold);
        }
    }
}

fn fresh_owner() -> Result<Owner, Error> {
    Owner::random()
        .map_err(|error| Error::config(format!("the system's random source failed: {error}")))
}

/// A number that no hold has, for a call that was given up.
fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(u64::MAX / 2);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
