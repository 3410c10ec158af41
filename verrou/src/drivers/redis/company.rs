//! Acquires and releases, alone or several in one script.

use std::sync::Arc;

use redis::Value;

use super::answers::{acquired, no_answer, reply};
use super::connections::{Link, PATIENCE};
use super::{Inner, RedisStore};
use crate::drivers::group::{Answer, Answers, Carrier, Errand};
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

    async fn carry(&self, link: Link, errands: &[Errand]) -> Result<Answers, StoreError> {
        let (mut acquires, mut releases) = (Vec::new(), Vec::new());
        for errand in errands {
            match errand {
                Errand::Acquire(request) => acquires.push(request),
                Errand::Release(request) => releases.push(request),
            }
        }
        let call = self.inner.names.many(&acquires, &releases);
        let answers = match link.run(&call).await {
            Ok(Value::Array(answers)) if answers.len() == errands.len() => answers,
            Ok(_) => return Err(no_answer()),
            Err(error) => {
                // What the server refuses in the middle it has done up to there.
                let error = self.inner.failed(&link, &error, true);
                return Err(StoreError::unknown(Arc::clone(error.cause())));
            }
        };
        let mut answers = answers.into_iter().map(|answer| match answer {
            Value::ServerError(error) => Err(self.inner.failed(&link, &error.into(), false)),
            answer => Ok(answer),
        });
        let granted: Vec<_> = answers.by_ref().take(acquires.len()).collect();
        let (mut granted, mut released) = (granted.into_iter(), answers);
        let of = |errand: &Errand| match errand {
            Errand::Acquire(_) => {
                let answer = granted.next().ok_or_else(no_answer)??;
                acquired(&answer).map(Answer::Acquired)
            }
            Errand::Release(_) => {
                let answer = released.next().ok_or_else(no_answer)??;
                reply(&answer).map(Answer::Released)
            }
        };
        Ok(errands.iter().map(of).collect())
    }
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
