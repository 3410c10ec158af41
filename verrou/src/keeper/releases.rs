//! What others have left behind: releases that were dropped or had no answer, acquires whose caller has gone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Caught, sibling, submit};
use crate::call::{Orphan, store_error};
use crate::clock::{self, Moment};
use crate::error::Outcome;
use crate::hold::Hold;
use crate::key::StoredKey;
use crate::observe;
use crate::pass::Pass;
use crate::registered::Registered;
use crate::store::erased::Boxed;
use crate::store::{Acquired, Adopted, Owner, Passed, ReleaseRequest, Reply, Sent, StoreError};
use crate::turnstile::Leaving;

/// The first delay before a failed release is tried again; it doubles up to [`SLOWEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(20);
const SLOWEST_RETRY: Duration = Duration::from_secs(1);

/// Releases the key of `hold`: here and now if the store does no I/O, else on the keeper's thread.
///
/// `leaving` lets the next waiter of this process go once it is done.
pub(crate) fn release(hold: &Arc<Hold>, leaving: Option<Leaving>) {
    let hold = Arc::clone(hold);
    if hold.registered.has_io {
        submit(finish_release(hold, leaving, None));
        return;
    }
    let store = hold.registered.store.clone();
    match in_place(store.release(hold.release_request(Sent::default()))) {
        Placed::Done => {
            drop(leaving);
            observe::released(&hold);
        }
        Placed::Failed => submit(finish_release(hold, leaving, None)),
        Placed::UnderWay(call) => submit(finish_release(hold, leaving, Some(call))),
    }
}

/// What became of a release that was polled once, where its guard was dropped.
enum Placed {
    Done,
    Failed,
    UnderWay(Boxed<Result<Reply, StoreError>>),
}

fn in_place(call: Boxed<Result<Reply, StoreError>>) -> Placed {
    let mut call = Caught(call);
    match Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(_))) => Placed::Done,
        Poll::Ready(Some(Err(_)) | None) => Placed::Failed,
        Poll::Pending => Placed::UnderWay(call.0),
    }
}

/// Goes on with a release whose caller was dropped or had no answer.
pub(crate) fn adopt_release(
    hold: Arc<Hold>,
    leaving: Option<Leaving>,
    call: Option<Orphan<Result<Reply, StoreError>>>,
) {
    submit(finish_release(hold, leaving, call.map(|call| call.0)));
}

/// An acquire whose caller has gone: what it wins belongs to nobody.
pub(crate) struct Unclaimed {
    pub(crate) registered: Arc<Registered>,
    pub(crate) key: StoredKey,
    pub(crate) owner: Owner,
    pub(crate) ttl: Duration,
    pub(crate) sent: Moment,
    pub(crate) label: &'static str,
}

impl Unclaimed {
    fn release_request(&self) -> ReleaseRequest {
        ReleaseRequest::new(self.key.clone(), self.owner)
    }
}

/// Polls an acquire to its end whose caller was dropped or had no answer, and releases what it won.
pub(crate) fn adopt_acquire<T: Answer>(
    unclaimed: Unclaimed,
    leaving: Option<Leaving>,
    call: Orphan<Result<T, StoreError>>,
) {
    submit(finish_acquire(unclaimed, leaving, call.0));
}

/// Releases what an acquire or a pass has won, or may have won, and nobody has; where and when, as [`release`].
pub(crate) fn release_unclaimed(unclaimed: Unclaimed, leaving: Option<Leaving>) {
    let mut first = None;
    if !unclaimed.registered.has_io {
        let store = unclaimed.registered.store.clone();
        match in_place(store.release(unclaimed.release_request())) {
            Placed::Done => return drop(leaving),
            Placed::Failed => {}
            Placed::UnderWay(call) => first = Some(call),
        }
    }
    submit(async move {
        release_until_done(&unclaimed, first, leaving).await;
    });
}

/// Polls a pass to its end whose caller was dropped or had no answer: what it granted goes to its heir.
pub(crate) fn adopt_pass(pass: Pass, call: Orphan<Result<Passed, StoreError>>) {
    submit(finish_pass(pass, call.0));
}

/// Releases what a pass was to end and what it may have begun.
pub(crate) fn release_both(hold: Arc<Hold>, unclaimed: Unclaimed) {
    submit(release_one_after_the_other(hold, unclaimed, None));
}

/// Polls a call to its end whose answer nobody waits for, within one request timeout.
pub(crate) fn finish<T: Send + 'static>(registered: &Registered, call: Orphan<T>) {
    let limit = Moment::now().after(registered.request_timeout);
    submit(async move {
        let _ = clock::until(limit, &mut Caught(call.0)).await;
    });
}

async fn finish_release(
    hold: Arc<Hold>,
    leaving: Option<Leaving>,
    first: Option<Boxed<Result<Reply, StoreError>>>,
) {
    let again = || hold.release_request(Sent::default());
    let (label, until) = (hold.terms.label, hold.orphaned_until());
    repeat_release(&hold.registered, label, first, again, until).await;
    drop(leaving);
}

/// Releases what `unclaimed` may hold.
async fn release_until_done(
    unclaimed: &Unclaimed,
    first: Option<Boxed<Result<Reply, StoreError>>>,
    leaving: Option<Leaving>,
) {
    let again = || unclaimed.release_request();
    let until = Moment::now().after(unclaimed.ttl);
    let label = unclaimed.label;
    repeat_release(&unclaimed.registered, label, first, again, until).await;
    drop(leaving);
}

/// Releases until the store has answered, or until nothing is left to release.
async fn repeat_release(
    registered: &Arc<Registered>,
    label: &'static str,
    mut first: Option<Boxed<Result<Reply, StoreError>>>,
    request: impl Fn() -> ReleaseRequest,
    until: Moment,
) {
    let mut pause = FIRST_RETRY;
    for tries in 1.. {
        let again = request();
        let key = again.key.clone();
        let call = first
            .take()
            .unwrap_or_else(|| sibling(registered).release(again));
        let limit = Moment::now().after(registered.request_timeout);
        let error = match clock::until(limit, &mut Caught(call)).await {
            Ok(Some(Ok(_))) => {
                observe::released_late(registered, &key, label, tries);
                return registered.release_done(&key);
            }
            Ok(Some(Err(error))) => error,
            Ok(None) => StoreError::unknown("the driver panicked"),
            Err(clock::Elapsed) => StoreError::unknown("no answer in time"),
        };
        let error = store_error(registered, &key, "release", &error);
        let next = Moment::now().after(pause);
        if next >= until {
            observe::release_given_up(registered, &key, label, &error);
            // The lease is over: nothing is left that a shutdown could tell of.
            return registered.release_done(&key);
        }
        registered.release_failed(&key, error);
        clock::sleep_until(next).await;
        pause = (pause * 2).min(SLOWEST_RETRY);
    }
}

async fn finish_acquire<T: Answer>(
    unclaimed: Unclaimed,
    leaving: Option<Leaving>,
    call: Boxed<Result<T, StoreError>>,
) {
    let mut call = Caught(call);
    let patience = unclaimed.sent.after(unclaimed.registered.request_timeout);
    match clock::until(patience, &mut call).await {
        Ok(answer) => {
            if may_hold(answer.as_ref()) {
                release_until_done(&unclaimed, None, leaving).await;
            }
            return;
        }
        Err(clock::Elapsed) => drop(leaving),
    }
    // A release alone could overtake the acquire, and then the key would be held by nobody for its whole lease: so the
    // call is polled on as well, and "not yours" proves nothing until it has answered.
    let mut release = Some(Box::pin(release_until_done(&unclaimed, None, None)));
    let mut both = std::future::poll_fn(|cx| {
        if release
            .as_mut()
            .is_some_and(|release| release.as_mut().poll(cx).is_ready())
        {
            release = None;
        }
        Pin::new(&mut call).poll(cx)
    });
    let end = Moment::now().after(unclaimed.ttl);
    let answered = clock::until(end, &mut both).await;
    if answered.is_ok_and(|answer| may_hold(answer.as_ref())) {
        release_until_done(&unclaimed, None, None).await;
    } else {
        // A release that was under way beside it was for nothing, and is none that a shutdown could tell of.
        unclaimed.registered.release_done(&unclaimed.key);
    }
}

async fn finish_pass(pass: Pass, call: Boxed<Result<Passed, StoreError>>) {
    let mut call = Caught(call);
    let patience = pass.sent.after(pass.hold.registered.request_timeout);
    let answer = clock::until(patience, &mut call).await;
    match answer {
        Ok(Some(Ok(passed))) => {
            let hold = &pass.hold;
            observe::released_late(&hold.registered, &hold.key, hold.terms.label, 1);
            if let Passed::Granted { token } = passed {
                pass.granted(token);
            }
            return;
        }
        Ok(Some(Err(error))) if error.outcome() == Outcome::NotApplied => {
            return finish_release(pass.hold, Some(pass.leaving), None).await;
        }
        Ok(_) => {}
        Err(clock::Elapsed) => {
            let end = Moment::now().after(pass.hold.terms.ttl);
            submit(async move {
                let _ = clock::until(end, &mut call).await;
            });
        }
    }
    let unclaimed = pass.unclaimed();
    release_one_after_the_other(pass.hold, unclaimed, Some(pass.leaving)).await;
}

/// In this order, so that it does not matter when a pass without an answer arrives: once the old owner holds nothing, there
/// is nothing to pass on.
async fn release_one_after_the_other(
    hold: Arc<Hold>,
    unclaimed: Unclaimed,
    leaving: Option<Leaving>,
) {
    finish_release(hold, None, None).await;
    release_until_done(&unclaimed, None, leaving).await;
}

/// Whether the store may think, after this answer, that the owner holds the key. A panic says nothing.
fn may_hold<T: Answer>(answer: Option<&Result<T, StoreError>>) -> bool {
    match answer {
        Some(Ok(answer)) => answer.is_won(),
        Some(Err(error)) => error.outcome() != Outcome::NotApplied,
        None => true,
    }
}

/// The answer of a call that makes an owner the holder.
pub(crate) trait Answer: Send + 'static {
    fn is_won(&self) -> bool;
}

impl Answer for Acquired {
    fn is_won(&self) -> bool {
        matches!(self, Self::Granted { .. })
    }
}

impl Answer for Adopted {
    fn is_won(&self) -> bool {
        matches!(self, Self::Adopted { .. })
    }
}
