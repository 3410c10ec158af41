//! Acquires and releases, alone or several in one statement.

use std::sync::Arc;

use super::connections::Checkout;
use super::errors::failed;
use super::statements::Flavour;
use super::{Inner, column, first, reply};
use crate::drivers::group::{Answer, Answers, Carrier, Errand};
use crate::drivers::sql;
use crate::store::{AcquireRequest, Acquired, ReleaseRequest, Reply, StoreError};

impl Carrier for Arc<Inner> {
    type Link = Checkout;

    async fn alone(&self, errand: Errand) -> Result<Answer, StoreError> {
        self.one(self.checkout().await?, &errand).await
    }

    async fn link(&self) -> Result<Checkout, StoreError> {
        self.checkout().await
    }

    async fn carry(&self, mut link: Checkout, errands: &[Errand]) -> Result<Answers, StoreError> {
        if let [errand] = errands {
            return Ok(vec![self.one(link, errand).await]);
        }
        let statement = self.statements.batch(errands);
        let rows = link
            .run(statement)
            .await
            .map_err(|error| failed(&error))?
            .rows;
        drop(link);
        // The rows after them are those that fill up the batch.
        let mut answers = Vec::with_capacity(errands.len());
        for (errand, row) in errands.iter().zip(&rows) {
            let owner = column::<Option<Vec<u8>>>(row, 0)?;
            let (token, left) = (column::<i64>(row, 1)?, column::<i64>(row, 2)?);
            answers.push(match errand {
                Errand::Acquire(request) => Answer::Acquired(
                    if owner.as_deref() == Some(request.owner.as_bytes()) && left > 0 {
                        let token = sql::token(token)?;
                        Acquired::Granted { token }
                    } else {
                        Acquired::Held {
                            remaining: sql::between(0, left),
                        }
                    },
                ),
                Errand::Release(request) => {
                    let changed = column::<i64>(row, 3)? != 0;
                    let own = owner.as_deref() == Some(request.owner.as_bytes());
                    // A token of 0 is that of a row which a release for nothing has made.
                    let done = own && changed && left <= 0 && token > 0;
                    if done {
                        self.watcher.released(&request.key);
                    }
                    Answer::Released(reply(done))
                }
            });
        }
        Ok(answers.into_iter().map(Ok).collect())
    }
}

impl Inner {
    async fn one(&self, connection: Checkout, errand: &Errand) -> Result<Answer, StoreError> {
        Ok(match errand {
            Errand::Acquire(request) => Answer::Acquired(self.acquire(connection, request).await?),
            Errand::Release(request) => Answer::Released(self.release(connection, request).await?),
        })
    }

    pub(super) async fn acquire(
        &self,
        mut connection: Checkout,
        request: &AcquireRequest,
    ) -> Result<Acquired, StoreError> {
        request.sent.mark();
        let mut answer = connection
            .settle(|| self.statements.acquire(request, self.flavour))
            .await?;
        if self.flavour != Flavour::MariaDb {
            answer = connection
                .settle(|| self.statements.look(request))
                .await
                // The first statement was executed, whatever became of the second.
                .map_err(|error| StoreError::unknown(error.cause().clone()))?;
        }
        let row = first(&answer)?;
        let (own, token, left) = (
            column::<i64>(row, 0)? != 0,
            column::<i64>(row, 1)?,
            column::<i64>(row, 2)?,
        );
        if own && left > 0 {
            let token = sql::token(token)?;
            return Ok(Acquired::Granted { token });
        }
        if token == i64::MAX && left <= 0 {
            return Err(sql::tokens_used_up());
        }
        Ok(Acquired::Held {
            remaining: sql::between(0, left),
        })
    }

    pub(super) async fn release(
        &self,
        mut connection: Checkout,
        request: &ReleaseRequest,
    ) -> Result<Reply, StoreError> {
        request.sent.mark();
        let answer = connection
            .settle(|| self.statements.release(request))
            .await?;
        // One that went out twice finds no owner if it was executed the first time.
        let done = answer.found > 0 || answer.repeated;
        if done && request.keep.is_zero() {
            self.watcher.released(&request.key);
        }
        Ok(reply(done))
    }
}
