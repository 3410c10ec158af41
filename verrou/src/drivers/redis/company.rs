//! Acquires and releases, alone or several in one script.

use std::sync::Arc;

use redis::Value;

use super::answers::{acquired, no_answer, reply};
use super::connections::{Link, PATIENCE};
use super::{Inner, RedisStore};
use crate::drivers::group::{Answer, Carrier, Errand};
use crate::store::{AcquireRequest, Acquired, ReleaseRequest, Reply, StoreError};

impl Carrier for RedisStore {
    type Link = Link;

    async fn alone(&self, errand: Errand) -> Result<Answer, StoreError> {
        Ok(match errand {
            Errand::Acquire(request) => Answer::Acquired(self.inner.acquire(&request).await?),
            Errand::Release(request) => Answer::Released(self.inner.release(&request).await?),
        })
    }

    async fn link(&self) -> Result<Link, StoreError> {
        Ok(self.inner.connections.checkout(PATIENCE).await?)
    }

    async fn carry(&self, link: Link, errands: &[Errand]) -> Result<Vec<Answer>, StoreError> {
        let (mut acquires, mut releases) = (Vec::new(), Vec::new());
        for errand in errands {
            match errand {
                Errand::Acquire(request) => acquires.push(request),
                Errand::Release(request) => releases.push(request),
            }
        }
        let answer = link.run(&self.inner.names.many(&acquires, &releases)).await;
        // What the server refuses in the middle it has done up to there.
        answer
            .map_err(|error| self.inner.failed(&link, &error, true))
            .and_then(|answer| carried(&answer, acquires.len(), errands))
            .map_err(|error| StoreError::unknown(Arc::clone(error.cause())))
    }
}

/// The answers to `errands` in their order, from those of `acquires` and then those of all releases.
fn carried(answer: &Value, acquires: usize, errands: &[Errand]) -> Result<Vec<Answer>, StoreError> {
    let Value::Array(answers) = answer else {
        return Err(no_answer());
    };
    let (granted, released) = answers.split_at_checked(acquires).ok_or_else(no_answer)?;
    let (mut granted, mut released) = (granted.iter(), released.iter());
    let answers = errands.iter().map(|errand| match errand {
        Errand::Acquire(_) => {
            let answer = granted.next().ok_or_else(no_answer)?;
            acquired(answer).map(Answer::Acquired)
        }
        Errand::Release(_) => {
            let answer = released.next().ok_or_else(no_answer)?;
            reply(answer).map(Answer::Released)
        }
    });
    answers.collect()
}

impl Inner {
    pub(super) async fn acquire(&self, request: &AcquireRequest) -> Result<Acquired, StoreError> {
        let call = self.names.acquire(request);
        acquired(&self.call(&request.sent, &call, PATIENCE).await?)
    }

    pub(super) async fn release(&self, request: &ReleaseRequest) -> Result<Reply, StoreError> {
        let call = self.names.release(request);
        let (answer, doubt) = self.attempt(&request.sent, &call, PATIENCE).await?;
        match reply(&answer)? {
            // The first attempt has released it, and its answer was lost.
            Reply::NotHeld if doubt => Ok(Reply::Done),
            reply => Ok(reply),
        }
    }
}
