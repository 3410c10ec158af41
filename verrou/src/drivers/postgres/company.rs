//! Acquires and releases, alone or several in one statement.

use std::collections::HashMap;
use std::sync::Arc;

use super::connections::Checkout;
use super::failure::failed;
use super::{Inner, LOOKS, column, reply};
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
            .run(&statement, self.protocol)
            .await
            .map_err(failed)?
            .rows;
        drop(link);
        let mut said = HashMap::with_capacity(rows.len());
        for row in &rows {
            let key = super::bytes(row, 0)?;
            said.insert(
                key,
                (
                    column::<Option<i64>>(row, 1)?,
                    column::<Option<i64>>(row, 2)?,
                ),
            );
        }
        let answers: Result<Vec<Answer>, StoreError> = errands
            .iter()
            .map(|errand| {
                let said = said.get(errand.key().as_bytes());
                Ok(match (errand, said) {
                    (Errand::Acquire(_), Some((Some(token), _))) => {
                        let token = sql::token(*token)?;
                        Answer::Acquired(Acquired::Granted { token })
                    }
                    // If nothing is left of the other's lease, it was too new to be seen.
                    (Errand::Acquire(_), said) => Answer::Acquired(Acquired::Held {
                        remaining: sql::between(0, said.and_then(|said| said.1).unwrap_or(0)),
                    }),
                    // A token would be that of a row which a release for nothing has made.
                    (Errand::Release(request), Some((None, _))) => {
                        self.released(&request.key);
                        Answer::Released(Reply::Done)
                    }
                    (Errand::Release(_), _) => Answer::Released(Reply::NotHeld),
                })
            })
            .collect();
        Ok(answers?.into_iter().map(Ok).collect())
    }
}

impl Inner {
    async fn one(&self, connection: Checkout, errand: &Errand) -> Result<Answer, StoreError> {
        Ok(match errand {
            Errand::Acquire(request) => Answer::Acquired(self.acquire(connection, request).await?),
            Errand::Release(request) => Answer::Released(self.release(connection, request).await?),
        })
    }

    async fn acquire(
        &self,
        mut connection: Checkout,
        request: &AcquireRequest,
    ) -> Result<Acquired, StoreError> {
        request.sent.mark();
        let mut remaining = 0;
        for _ in 0..LOOKS {
            let statement = self.statements.acquire(request);
            let (answer, _) = self.settle(&mut connection, &statement).await?;
            let row = answer.rows.first();
            if let Some(token) = row.map_or(Ok(None), |row| column::<Option<i64>>(row, 0))? {
                let token = sql::token(token)?;
                return Ok(Acquired::Granted { token });
            }
            remaining = row.map_or(Ok(0), |row| column(row, 1))?;
            if remaining > 0 {
                break;
            }
            // It was free as far as the statement could see, and somebody else was faster: the next one sees by how much.
        }
        Ok(Acquired::Held {
            remaining: sql::between(0, remaining),
        })
    }

    pub(super) async fn release(
        &self,
        mut connection: Checkout,
        request: &ReleaseRequest,
    ) -> Result<Reply, StoreError> {
        request.sent.mark();
        let statement = self.statements.release(request);
        let (answer, lost) = self.settle(&mut connection, &statement).await?;
        let done = answer.changed > 0;
        if done && request.keep.is_zero() {
            self.released(&request.key);
        }
        match lost {
            // It was perhaps the lost one that released it.
            Some(lost) if !done => Err(lost),
            _ => Ok(reply(done)),
        }
    }
}
