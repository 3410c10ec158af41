//! The future that polls a body while its lock is held, and no longer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::error::Error;
use crate::guard::LockGuard;
use crate::hold::Lost;
use crate::options::OnLost;
use crate::reentry::Inside;

pin_project! {
    /// Looks at the deadline before each poll of the body. A body whose lock is lost is dropped, and `Error::Lost` comes
    /// back; unless it is to go on.
    ///
    /// A struct and not an `async fn`: the body is polled where it is, without a box and without a second copy of it.
    pub struct Body<'g, F> {
        guard: Option<&'g LockGuard>,
        lost: Option<Lost>,
        #[pin]
        body: Option<F>,
    }
}

impl<'g, F: Future> Body<'g, F> {
    /// Without a guard the body is just polled.
    pub(crate) fn new(guard: Option<&'g LockGuard>, body: F) -> Self {
        let lost = guard
            .filter(|guard| guard.on_lost() == OnLost::Cancel)
            .map(LockGuard::loss_signal);
        Self {
            guard,
            lost,
            body: Some(body),
        }
    }
}

impl<F: Future> Future for Body<'_, F> {
    type Output = Result<F::Output, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let (Some(guard), Some(_)) = (*this.guard, &*this.lost)
            && !guard.is_held()
        {
            this.body.set(None);
            return Poll::Ready(Err(guard.lost_error()));
        }
        let output = {
            let _span = this.guard.map(|guard| guard.span().enter());
            let _inside = this.guard.map(|guard| Inside::of(guard.hold_ids()));
            let Some(body) = this.body.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            body.poll(cx)
        };
        if let Poll::Ready(output) = output {
            return Poll::Ready(Ok(output));
        }
        if let (Some(guard), Some(lost)) = (*this.guard, this.lost.as_mut())
            && Pin::new(lost).poll(cx).is_ready()
        {
            this.body.set(None);
            return Poll::Ready(Err(guard.lost_error()));
        }
        Poll::Pending
    }
}

impl<F> std::fmt::Debug for Body<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}
