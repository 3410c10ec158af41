//! Who holds the key that a wait is about to end without. Known when the wait ends, or not at all: nobody waits for it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::call::{self, Call};
use crate::clock::Moment;
use crate::holder::Holder;
use crate::keeper;
use crate::key::StoredKey;
use crate::registered::Registered;
use crate::store::erased::Boxed;
use crate::store::{Holding, InspectRequest};

/// The question of one wait: put once, when there is no other try to come.
pub(crate) struct Who<'a> {
    registered: &'a Arc<Registered>,
    key: &'a StoredKey,
    asked: bool,
    asking: Option<Boxed<Option<Holder>>>,
    holder: Option<Holder>,
}

impl<'a> Who<'a> {
    pub(crate) fn new(registered: &'a Arc<Registered>, key: &'a StoredKey) -> Self {
        Self {
            registered,
            key,
            asked: false,
            asking: None,
            holder: None,
        }
    }

    /// Waits for `turn`; if it is the `last` thing to wait for, the store is asked meanwhile.
    ///
    /// Cancel safe as `turn` is: a question that was sent moves to the keeper.
    pub(crate) async fn beside<T>(&mut self, last: bool, turn: impl Future<Output = T>) -> T {
        if last && !self.asked {
            self.asked = true;
            self.asking = Some(ask(Arc::clone(self.registered), self.key.clone()));
        }
        let mut turn = pin!(turn);
        poll_fn(|cx| {
            if let Some(asking) = &mut self.asking
                && let Poll::Ready(holder) = asking.as_mut().poll(cx)
            {
                self.asking = None;
                self.holder = holder;
            }
            turn.as_mut().poll(cx)
        })
        .await
    }

    /// What is known when the wait ends. A holder of this process is, without asking.
    pub(crate) fn holder(self) -> Option<Box<Holder>> {
        let here = self.registered.turnstile.holder(self.key);
        let here = here.and_then(|hold| {
            let until = hold.deadline().filter(|until| !until.has_passed())?;
            let holder = self.registered.holder.to_string();
            let holder = Holder::new(holder, hold.token, until.remaining(), hold.held_for());
            Some(holder)
        });
        here.or(self.holder).map(Box::new)
    }
}

/// An answer that does not come in time is no answer.
fn ask(registered: Arc<Registered>, key: StoredKey) -> Boxed<Option<Holder>> {
    Box::pin(async move {
        let sent = call::mark(&registered);
        let mut request = InspectRequest::new(key);
        request.sent = sent.clone();
        let abandon = |call: Option<_>| {
            if let Some(call) = call {
                keeper::finish(&registered, call);
            }
        };
        let limit = Moment::now().after(registered.request_timeout);
        let call = Call::new(registered.store.clone().inspect(request), sent, abandon);
        let holding = call.answer(limit).await.ok()?.ok()??;
        Some(Holder::from(holding))
    })
}

impl From<Holding> for Holder {
    fn from(holding: Holding) -> Self {
        Self::new(
            holding.holder,
            holding.token,
            holding.remaining,
            holding.held_for,
        )
    }
}
