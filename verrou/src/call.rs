//! One store call: bounded in time, and never torn.
//!
//! A call whose caller is dropped after the request went out is not dropped with it: it moves to the keeper, which
//! polls it to its end. Before that it is dropped where it is; nothing has happened yet.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::clock::{self, Moment};
use crate::error::{Error, Outcome};
use crate::key::StoredKey;
use crate::registered::Registered;
use crate::store::erased::Boxed;
use crate::store::{Sent, StoreError};

/// A store call under way. When it ends without an answer, `abandon` gets it; or nothing, if it was never sent.
pub(crate) struct Call<T, A: FnOnce(Option<Orphan<T>>)> {
    future: Option<Boxed<T>>,
    sent: Sent,
    abandon: Option<A>,
}

/// A call that was sent and that nobody waits for any more.
pub(crate) struct Orphan<T>(pub(crate) Boxed<T>);

impl<T, A: FnOnce(Option<Orphan<T>>)> Call<T, A> {
    /// `sent` is what the request carries.
    pub(crate) fn new(future: Boxed<T>, sent: Sent, abandon: A) -> Self {
        Self {
            future: Some(future),
            sent,
            abandon: Some(abandon),
        }
    }
}

/// A fresh mark for a call to `registered`; untracked for a store without I/O, whose calls count as sent at once.
pub(crate) fn mark(registered: &Registered) -> Sent {
    if registered.has_io {
        Sent::tracked()
    } else {
        Sent::default()
    }
}

impl<T, A: FnOnce(Option<Orphan<T>>) + Unpin> Call<T, A> {
    /// Waits for the answer until `limit`; `None` if there was none. Then the call is given up as if it were dropped.
    pub(crate) async fn answer(mut self, limit: Moment) -> Result<T, Unanswered> {
        match clock::until(limit, &mut self).await {
            Ok(answer) => Ok(answer),
            Err(clock::Elapsed) => Err(Unanswered {
                sent: self.sent.withdraw().then_some(Outcome::NotApplied),
            }),
        }
    }
}

/// A call that had no answer in time.
pub(crate) struct Unanswered {
    sent: Option<Outcome>,
}

impl Unanswered {
    /// The driver's view of it: not applied if the request never went out.
    pub(crate) fn into_store_error(self, registered: &Registered) -> StoreError {
        let what = NoAnswer {
            timeout: registered.request_timeout,
        };
        match self.sent {
            Some(Outcome::NotApplied) => StoreError::not_applied(what),
            _ => StoreError::unknown(what),
        }
    }
}

/// The cause of the error of a call that took too long.
#[derive(Debug)]
struct NoAnswer {
    timeout: std::time::Duration,
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "no answer within the request timeout of {:?}",
            self.timeout
        )
    }
}

impl std::error::Error for NoAnswer {}

impl<T, A: FnOnce(Option<Orphan<T>>) + Unpin> Future for Call<T, A> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let Some(future) = &mut this.future else {
            return Poll::Pending;
        };
        let answer = std::task::ready!(future.as_mut().poll(cx));
        this.future = None;
        Poll::Ready(answer)
    }
}

impl<T, A: FnOnce(Option<Orphan<T>>)> Drop for Call<T, A> {
    fn drop(&mut self) {
        if let (Some(future), Some(abandon)) = (self.future.take(), self.abandon.take()) {
            // Not sent: what it waits for, a connection of the caller's pool, belongs to the caller's runtime.
            abandon((!self.sent.withdraw()).then_some(Orphan(future)));
        }
    }
}

/// `error` of a driver, as the caller of `attempted` sees it.
pub(crate) fn store_error(
    registered: &Registered,
    key: &StoredKey,
    attempted: &'static str,
    error: &StoreError,
) -> Error {
    Error::Store {
        attempted,
        store: registered.name.clone(),
        key: key.key().to_owned(),
        outcome: error.outcome(),
        source: std::sync::Arc::clone(error.cause()),
    }
}
