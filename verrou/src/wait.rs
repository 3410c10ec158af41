//! The acquire loop: from a key that is wanted to a key that is held, or to the reason why not.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use backon::BackoffBuilder as _;

use crate::call::{self, Call, store_error};
use crate::clock::{self, Moment};
use crate::error::{Error, Outcome};
use crate::guard::LockGuard;
use crate::hold::{Grant, Hold, Loss, Lost, unique};
use crate::keeper::{self, Unclaimed};
use crate::key::StoredKey;
use crate::observe::{self, Waiting};
use crate::options::{Terms, Wait};
use crate::pass::Given;
use crate::reentry::Chain;
use crate::registered::Registered;
use crate::sabotage::Bug;
use crate::store::{AcquireRequest, Acquired, Owner, Sent, StoreError, Watch};
use crate::turnstile::{Glance, Look, Ticket, Visit, Wish};
use crate::who::Who;

/// One acquisition: what is wanted, and how long it may take.
pub(crate) struct Acquisition {
    pub(crate) registered: Arc<Registered>,
    /// Sorted by their bytes, without repetition, never empty.
    pub(crate) keys: Arc<[StoredKey]>,
    pub(crate) terms: Terms,
    /// The bodies in which the wait began.
    pub(crate) chain: Chain,
    /// How often the store was asked.
    pub(crate) asked: AtomicU32,
}

/// The first try is due at once, also if the wait is over by then.
const FIRST: Moment = Moment::from_nanos(0);
/// The first try for a later key is due at once too, but not after the wait.
const AT_ONCE: Moment = Moment::from_nanos(1);
/// A holder that has just expired by the store's word is asked again after this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// How soon after the subscription to hints the store is asked once more: the one that matters may have come before it.
const RECHECK: Duration = Duration::from_millis(5);
/// How often a grant that came back too late is asked for again.
const LATE_GRANTS: u32 = 3;

/// What asking the store once has brought.
enum Answer {
    Won(Arc<Hold>),
    /// Another process holds it for so long, if it does not renew.
    Held(Duration),
    /// Each grant was over before it was known: this lease is too short for this store. No news for other waiters.
    TooShort(Error),
}

/// How the wait for a turn ends.
enum Turned {
    /// The store is to be asked.
    Asks,
    /// The key was passed on.
    Given(Given),
    /// The wait is over.
    Over,
}

/// One way to a key: when the wait for all keys began, when it ends, and what their guard shares.
struct Way {
    started: Moment,
    deadline: Moment,
    loss: Arc<Loss>,
}

impl Acquisition {
    /// Waits as the terms say.
    ///
    /// Cancel safe: keys already won are guarded from the moment they are won, a call in flight moves to the keeper,
    /// and the place in the queue goes to the next one.
    pub(crate) async fn acquire(self) -> Result<LockGuard, Error> {
        let started = Moment::now();
        let waiting = Waiting::begin(&self, started);
        let outcome = waiting.around(self.acquire_from(started)).await;
        waiting.ended(&outcome);
        outcome
    }

    async fn acquire_from(&self, started: Moment) -> Result<LockGuard, Error> {
        let deadline = match self.terms.wait {
            Wait::Never => started,
            Wait::Forever => Moment::NEVER,
            Wait::For(wait) => started.after(wait),
        };
        if let Some(key) = self
            .keys
            .iter()
            .find(|key| self.registered.turnstile.is_held_by(key, &self.chain))
        {
            return Err(self.reentrant(key));
        }
        if self.terms.wait == Wait::Never {
            return self.try_from(started).await?.map_err(|key| self.busy(&key));
        }
        if let Some(guard) = self.at_once(started)? {
            return Ok(guard);
        }
        let mut won = Won::new(self);
        let way = Way {
            started,
            deadline,
            loss: Arc::clone(&won.loss),
        };
        for key in &*self.keys {
            let hold = self.acquire_key(key, &way, won.holds.is_empty()).await?;
            won.add(hold, self.keys.len());
        }
        won.into_guard()
    }

    /// One try for each key; `None` if one of them is held.
    pub(crate) async fn try_acquire(self) -> Result<Option<LockGuard>, Error> {
        let started = Moment::now();
        let waiting = Waiting::begin(&self, started);
        let outcome = waiting.around(self.try_from(started)).await;
        waiting.tried(&outcome);
        Ok(outcome?.ok())
    }

    /// The inner error is the key that is held.
    async fn try_from(&self, started: Moment) -> Result<Result<LockGuard, StoredKey>, Error> {
        let mut won = Won::new(self);
        let way = Way {
            started,
            deadline: started,
            loss: Arc::clone(&won.loss),
        };
        for key in &*self.keys {
            match self.try_key(key, &way).await? {
                Some(hold) => won.add(hold, self.keys.len()),
                None => return Ok(Err(key.clone())),
            }
        }
        won.into_guard().map(Ok)
    }

    /// One key that nobody of this process wants, of a store that grants it on the spot: there is nothing to queue for, no
    /// call that could be left behind, and nothing to wait for with a timer. `None`: take the usual way.
    fn at_once(&self, started: Moment) -> Result<Option<LockGuard>, Error> {
        let ([key], false) = (&*self.keys, self.registered.has_io) else {
            return Ok(None);
        };
        let registered = &self.registered;
        let Some(visit) = registered.turnstile.enter_alone(key)? else {
            return Ok(None);
        };
        let owner = fresh_owner(started)?;
        let request = AcquireRequest {
            key: key.clone(),
            owner,
            ttl: self.terms.ttl,
            holder: Arc::clone(&registered.holder),
            sent: Sent::default(),
        };
        let Some(token) = registered.store.grant_now(&request, started) else {
            return Ok(None);
        };
        let grant = Grant {
            key: request.key,
            owner,
            token,
            sent: started,
        };
        let mut won = Won::new(self);
        let (registered, loss) = (Arc::clone(registered), Arc::clone(&won.loss));
        let hold = Hold::new(registered, grant, &self.terms, loss, visit, Moment::now());
        won.add(hold, 1);
        self.asked.fetch_add(1, Ordering::Relaxed);
        won.into_guard().map(Some)
    }

    async fn acquire_key(
        &self,
        key: &StoredKey,
        way: &Way,
        is_first: bool,
    ) -> Result<Arc<Hold>, Error> {
        let visit = self.registered.turnstile.enter(key)?;
        let ticket = visit.queue(Wish {
            ttl: self.terms.ttl,
            deadline: way.deadline,
            label: self.terms.label,
        });
        let owner = fresh_owner(Moment::now())?;
        let retry = self.terms.retry;
        // Jitter adds up to the delay itself.
        let mut pauses = backon::ExponentialBuilder::new()
            .with_min_delay(retry.min_delay)
            .with_max_delay((retry.max_delay / 2).max(retry.min_delay))
            .with_jitter()
            .without_max_times()
            .build();
        let mut hints = None;
        let mut next_try = if is_first { FIRST } else { AT_ONCE };
        let mut attempts = 0;
        let mut who = Who::new(&self.registered, key);
        loop {
            let turn = self.turn(&ticket, key, way, &mut hints, next_try);
            match who.beside(next_try >= way.deadline, turn).await? {
                Turned::Asks => attempts += 1,
                Turned::Given(given) => {
                    attempts += 1;
                    match given.take(&self.terms, &way.loss, &visit) {
                        Some(hold) => return Ok(hold),
                        // The lease was over before the grant was seen.
                        None if retry.attempts == Some(attempts) => {
                            return Err(self.timeout(key, way, attempts, who));
                        }
                        None => continue,
                    }
                }
                Turned::Over => return Err(self.timeout(key, way, attempts, who)),
            }
            let (asked_at, answered) = (Moment::now(), self.answered_by(way));
            ticket.due(answered);
            let asked = ticket.asks(answered);
            let remaining = match self.ask(key, owner, &visit, way).await {
                Ok(Answer::Won(hold)) => return Ok(hold),
                Ok(Answer::Held(remaining)) => remaining,
                Ok(Answer::TooShort(error)) => return Err(error),
                Err(error) => {
                    // What had no answer within the rest of this wait may well have one within a request timeout.
                    let patient = answered.since(asked_at) >= self.registered.request_timeout / 2;
                    if patient || !answered.has_passed() {
                        ticket.fail_queue(&error);
                    }
                    return Err(error);
                }
            };
            drop(asked);
            if retry.attempts == Some(attempts) {
                return Err(self.timeout(key, way, attempts, who));
            }
            let mut pause = pauses
                .next()
                .unwrap_or(retry.max_delay)
                .min(retry.max_delay);
            if hints.is_none() {
                hints = Some(self.registered.store.watch(key));
                pause = pause.min(RECHECK);
            }
            next_try = Moment::now().after(pause.min(remaining.max(SHORTEST_PAUSE)));
            if Bug::HintNeeded.is_loose() {
                next_try = Moment::NEVER;
            }
        }
    }

    /// Waits until this waiter is the head, nobody of this process has the key, and `next_try` or a hint has come; or until
    /// the key is passed on to it.
    ///
    /// Polled at least once a second, which is how a kept acquire is told from a waiting one.
    async fn turn(
        &self,
        ticket: &Ticket<'_>,
        key: &StoredKey,
        way: &Way,
        hints: &mut Option<Watch>,
        next_try: Moment,
    ) -> Result<Turned, Error> {
        let mut lost = Lost::of(&way.loss);
        let mut hinted = false;
        // The wait is over, and goes on only for an answer that somebody else is waiting for.
        let mut stayed = false;
        loop {
            let mut hint = pin!(async {
                match hints.as_mut() {
                    Some(hints) => hints.hint().await,
                    None => std::future::pending().await,
                }
            });
            let mut heard = hinted;
            let mut deadline = way.deadline;
            let mut wake_at = Moment::NEVER;
            let mut timer = pin!(None);
            let turned = poll_fn(|cx| {
                way.loss.polled_until(Moment::now());
                if way.loss.is_raised() {
                    return Poll::Ready(Err(self.lost(way, key)));
                }
                deadline = way.deadline;
                heard = heard || hint.as_mut().poll(cx).is_ready();
                let until = match ticket.look(cx.waker(), &self.chain) {
                    Look::Turn if (next_try > FIRST || stayed) && deadline.has_passed() => {
                        return Poll::Ready(Ok(Some(Turned::Over)));
                    }
                    Look::Turn if heard || next_try.has_passed() => {
                        return Poll::Ready(Ok(Some(Turned::Asks)));
                    }
                    Look::Turn => {
                        ticket.due(next_try);
                        next_try
                    }
                    Look::Wait(until) => until,
                    Look::Leaving(until) => {
                        if next_try == FIRST {
                            // What this process is just giving back is waited for before the first try.
                            deadline = deadline.max(until);
                        }
                        until
                    }
                    Look::Given(given) => return Poll::Ready(Ok(Some(Turned::Given(given)))),
                    Look::Refused(error) => return Poll::Ready(Err(error)),
                    Look::Reentrant => return Poll::Ready(Err(self.reentrant(key))),
                };
                if deadline.has_passed()
                    && let Some(answered) = ticket.stays(way.deadline)
                {
                    // A store that does not answer the one in front is no contention.
                    stayed = true;
                    let last = way.deadline.after(self.registered.request_timeout);
                    deadline = deadline.max(answered.min(last));
                }
                if deadline.has_passed() {
                    return Poll::Ready(Ok(Some(Turned::Over)));
                }
                let until = until.min(deadline);
                if until != wake_at || timer.is_none() {
                    wake_at = until;
                    timer.set(Some(clock::sleep_until(until)));
                }
                if Pin::new(&mut lost).poll(cx).is_ready() {
                    return Poll::Ready(Err(self.lost(way, key)));
                }
                match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
                    // Look again, with another timer.
                    Some(Poll::Ready(())) => Poll::Ready(Ok(None)),
                    _ => Poll::Pending,
                }
            })
            .await?;
            if let Some(turned) = turned {
                return Ok(turned);
            }
            hinted = heard;
        }
    }

    async fn try_key(&self, key: &StoredKey, way: &Way) -> Result<Option<Arc<Hold>>, Error> {
        let visit = self.registered.turnstile.enter(key)?;
        // Half of the time for what this process is just giving back, half for the try.
        let mut timer = pin!(clock::sleep_until(
            way.started.after(self.registered.request_timeout / 2)
        ));
        let held = poll_fn(|cx| match visit.glance(cx.waker()) {
            Glance::Free => Poll::Ready(false),
            Glance::Held => Poll::Ready(true),
            Glance::Leaving => timer.as_mut().poll(cx).map(|()| false),
        });
        if held.await {
            return Ok(None);
        }
        match self
            .ask(key, fresh_owner(way.started)?, &visit, way)
            .await?
        {
            Answer::Won(hold) => Ok(Some(hold)),
            Answer::Held(_) => Ok(None),
            Answer::TooShort(error) => Err(error),
        }
    }

    /// One acquire at the store, and another if the grant came back too late to be of use.
    async fn ask(
        &self,
        key: &StoredKey,
        owner: Owner,
        visit: &Visit,
        way: &Way,
    ) -> Result<Answer, Error> {
        let registered = &self.registered;
        let limit = self.answered_by(way);
        way.loss.polled_until(limit);
        let mut grants = 0;
        loop {
            let sent = Moment::now();
            self.asked.fetch_add(1, Ordering::Relaxed);
            let unclaimed = || Unclaimed {
                registered: Arc::clone(registered),
                key: key.clone(),
                owner,
                ttl: self.terms.ttl,
                sent,
                label: self.terms.label,
            };
            let leaving = || {
                Some(
                    visit
                        .clone()
                        .leave(unique(), sent.after(registered.request_timeout)),
                )
            };
            let request = AcquireRequest {
                key: key.clone(),
                owner,
                ttl: self.terms.ttl,
                holder: Arc::clone(&registered.holder),
                sent: call::mark(registered),
            };
            let mark = request.sent.clone();
            let abandon = |call: Option<_>| {
                if let Some(call) = call
                    && !Bug::CancelledAcquireForgotten.is_loose()
                {
                    keeper::adopt_acquire(unclaimed(), leaving(), call);
                }
            };
            let call = Call::new(registered.store.clone().acquire(request), mark, abandon);
            let answer = match call.answer(limit).await {
                Ok(Err(_)) | Err(_) if Bug::ErrorAsBusy.is_loose() => Acquired::Held {
                    remaining: SHORTEST_PAUSE,
                },
                Err(_) if Bug::UnknownAsGranted.is_loose() => Acquired::Granted {
                    token: crate::token::FencingToken::MAX,
                },
                Ok(Ok(Acquired::Held { .. })) if Bug::BusyAsError.is_loose() => {
                    let error = StoreError::not_applied("it is locked");
                    return Err(store_error(registered, key, "acquire", &error));
                }
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
                Acquired::Held { remaining } => {
                    visit.heard_of_others();
                    return Ok(Answer::Held(remaining));
                }
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
                let (registered, loss) = (Arc::clone(registered), Arc::clone(&way.loss));
                return Ok(Answer::Won(Hold::new(
                    registered,
                    grant,
                    &self.terms,
                    loss,
                    visit.clone(),
                    Moment::now(),
                )));
            }
            // The lease was over before its grant was known. The same owner asks again: still its own, and longer, or a
            // new grant.
            grants += 1;
            if grants == LATE_GRANTS || limit.has_passed() || way.deadline.has_passed() {
                keeper::release_unclaimed(unclaimed(), leaving());
                let error = StoreError::unknown(
                    "the answers take longer than the ttl: it is too short for this store",
                );
                return Ok(Answer::TooShort(store_error(
                    registered, key, "acquire", &error,
                )));
            }
        }
    }

    /// When a call that begins now is given up. G5: whatever happens, an acquire ends within one request timeout of its deadline.
    fn answered_by(&self, way: &Way) -> Moment {
        let timeout = self.registered.request_timeout;
        Moment::now().min(way.deadline).after(timeout)
    }

    /// How often the store was asked so far, for all keys.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    fn timeout(&self, key: &StoredKey, way: &Way, attempts: u32, who: Who<'_>) -> Error {
        let (store, key) = (self.registered.name.clone(), key.key().to_owned());
        Error::Timeout {
            store,
            key,
            waited: Moment::now().since(way.started),
            attempts,
            holder: who.holder(),
        }
    }

    fn busy(&self, key: &StoredKey) -> Error {
        Error::Busy {
            store: self.registered.name.clone(),
            key: key.key().to_owned(),
        }
    }

    /// A key that was won before `key` is lost, or all are by a shutdown.
    fn lost(&self, way: &Way, key: &StoredKey) -> Error {
        if let Err(shut_down) = self.registered.check_open() {
            return shut_down;
        }
        let key = way.loss.lost_key().unwrap_or_else(|| key.clone());
        Error::Lost {
            store: self.registered.name.clone(),
            key: key.key().to_owned(),
        }
    }

    fn reentrant(&self, key: &StoredKey) -> Error {
        Error::Reentrant {
            store: self.registered.name.clone(),
            key: key.key().to_owned(),
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
            // Renewed while the others are awaited.
            let now = Moment::now();
            self.loss.polled_until(now);
            keeper::watch(&hold, now);
        }
        self.holds.push(hold);
        if let Some(hold) = self.holds.last().filter(|hold| hold.registered.has_io)
            && let Some(last) = hold.registered.last_tokens.granted(&hold.key, hold.token)
        {
            observe::token_did_not_rise(hold, last);
        }
    }

    /// All are won: from here on the caller has them.
    fn into_guard(mut self) -> Result<LockGuard, Error> {
        let guard = LockGuard::new(std::mem::take(&mut self.holds), Arc::clone(&self.loss));
        self.acquisition.registered.check_open()?;
        guard.check()?;
        Ok(guard)
    }
}

impl Drop for Won<'_> {
    fn drop(&mut self) {
        if Bug::PartialLeftBehind.is_loose() {
            return;
        }
        for hold in &self.holds {
            Hold::release_late(hold);
        }
    }
}

fn fresh_owner(now: Moment) -> Result<Owner, Error> {
    Owner::random_at(now)
        .map_err(|error| Error::config(format!("the system's random source failed: {error}")))
}
