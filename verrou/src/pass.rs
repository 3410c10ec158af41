//! A release that is the next grant: one call to the store, made by the one who releases for the one who waits next.
//!
//! The lease that ends has ended in this process before the call is sent, and the one that begins counts from then. What
//! was granted lies in the heir's place in the queue until it looks; whatever else becomes of it, it is released.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{self, Call, Orphan};
use crate::clock::Moment;
use crate::error::Outcome;
use crate::hold::{Grant, Hold, Loss};
use crate::keeper::{self, Unclaimed};
use crate::options::Terms;
use crate::store::{Owner, PassRequest, Passed, Reply, StoreError};
use crate::token::FencingToken;
use crate::turnstile::{Heir, Leaving, Visit};

/// A key on its way from one waiter of this process to the next.
pub(crate) struct Pass {
    pub(crate) hold: Arc<Hold>,
    pub(crate) leaving: Leaving,
    heir: Heir,
    owner: Owner,
    pub(crate) sent: Moment,
}

impl Pass {
    /// The key of `hold`, whose guard has given it back, goes to the next one in the queue; or `leaving` comes back.
    pub(crate) fn of(hold: &Arc<Hold>, leaving: Option<Leaving>) -> Result<Self, Option<Leaving>> {
        let Some(leaving) = leaving else {
            return Err(None);
        };
        let heir = if hold.registered.passes && hold.min_hold_left().is_zero() {
            leaving.heir(hold.granted(), hold.registered.has_io)
        } else {
            None
        };
        match (heir, Owner::random()) {
            (Some(heir), Ok(owner)) => Ok(Self {
                hold: Arc::clone(hold),
                leaving,
                heir,
                owner,
                sent: Moment::now(),
            }),
            _ => Err(Some(leaving)),
        }
    }

    /// Sends it.
    ///
    /// Cancel safe: a call that was sent moves to the keeper, and so does the release of what was not.
    pub(crate) async fn send(self) -> Result<Reply, StoreError> {
        let registered = Arc::clone(&self.hold.registered);
        let (key, from) = (self.hold.key.clone(), self.hold.owner);
        let mut request = PassRequest::new(key, from, self.owner, self.heir.wish.ttl);
        request.holder = Arc::clone(&registered.holder);
        request.sent = call::mark(&registered);
        let mark = request.sent.clone();
        let limit = self.sent.after(registered.request_timeout);
        let mut pass = Some(self);
        let abandon = |call| {
            if let Some(pass) = pass.take() {
                pass.abandon(call);
            }
        };
        let call = Call::new(registered.store.clone().pass(request), mark, abandon);
        match call.answer(limit).await {
            Ok(answer) => pass.map_or(Ok(Reply::Done), |pass| pass.settle(answer)),
            // The call itself has gone to the keeper.
            Err(unanswered) => Err(unanswered.into_store_error(&registered)),
        }
    }

    fn abandon(self, call: Option<Orphan<Result<Passed, StoreError>>>) {
        match call {
            Some(call) => keeper::adopt_pass(self, call),
            None => keeper::adopt_release(self.hold, Some(self.leaving), None),
        }
    }

    /// What the answer means for the one who released.
    fn settle(self, answer: Result<Passed, StoreError>) -> Result<Reply, StoreError> {
        match answer {
            Ok(Passed::Granted { token }) => {
                self.granted(token);
                Ok(Reply::Done)
            }
            Ok(Passed::NotHeld) => Ok(Reply::NotHeld),
            Err(error) => {
                let unclaimed = self.unclaimed();
                // The next one asks for itself, and hears the store's own answer.
                drop(self.leaving);
                if error.outcome() == Outcome::Unknown {
                    keeper::release_both(self.hold, unclaimed);
                } else {
                    keeper::adopt_release(self.hold, None, None);
                }
                Err(error)
            }
        }
    }

    /// The new owner holds the key.
    pub(crate) fn granted(self, token: FencingToken) {
        let unclaimed = self.unclaimed();
        let given = Given(Some(Claim {
            unclaimed,
            token,
            leaving: self.leaving,
        }));
        // Dropped, it is released: the heir has gone.
        drop(self.heir.give(given));
    }

    /// What the new owner holds, if it does, and nobody takes.
    pub(crate) fn unclaimed(&self) -> Unclaimed {
        Unclaimed {
            registered: Arc::clone(&self.hold.registered),
            key: self.hold.key.clone(),
            owner: self.owner,
            ttl: self.heir.wish.ttl,
            sent: self.sent,
            label: self.heir.wish.label,
        }
    }
}

/// A grant in the place of its heir; dropped before it is taken, it is released.
pub(crate) struct Given(Option<Claim>);

struct Claim {
    unclaimed: Unclaimed,
    token: FencingToken,
    leaving: Leaving,
}

impl Given {
    /// The heir takes it; `None` if its lease is over already: then it is on its way back.
    pub(crate) fn take(
        mut self,
        terms: &Terms,
        loss: &Arc<Loss>,
        visit: &Visit,
    ) -> Option<Arc<Hold>> {
        let sent = self.0.as_ref()?.unclaimed.sent;
        if sent.after(terms.ttl).before(terms.margin()).has_passed() {
            return None;
        }
        let Claim {
            unclaimed,
            token,
            leaving,
        } = self.0.take()?;
        let grant = Grant {
            key: unclaimed.key,
            owner: unclaimed.owner,
            token,
            sent,
        };
        let hold = Hold::new(
            unclaimed.registered,
            grant,
            terms,
            Arc::clone(loss),
            visit.clone(),
            Moment::now(),
        );
        // Not before: in between the key would count as free.
        drop(leaving);
        Some(hold)
    }

    /// How long a store call may take.
    pub(crate) fn patience(&self) -> Duration {
        let registered = self.0.as_ref().map(|claim| &claim.unclaimed.registered);
        registered.map_or(Duration::ZERO, |registered| registered.request_timeout)
    }

    /// How long the call took whose answer has come `now`.
    pub(crate) fn round_trip(&self, now: Moment) -> Duration {
        let sent = self.0.as_ref().map(|claim| claim.unclaimed.sent);
        sent.map_or(Duration::ZERO, |sent| now.since(sent))
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(claim) = self.0.take() {
            keeper::release_unclaimed(claim.unclaimed, Some(claim.leaving));
        }
    }
}
