//! How keys are taken and freed: one by itself, or all that wait at the same moment in one statement.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::sqlite::SqliteRow;

use super::connections::Checkout;
use super::statements::{Now, PARTY};
use super::{Inner, SqliteStore, column, reply};
use crate::drivers::group::{Answer, Answers, Carrier, Errand};
use crate::drivers::sql;
use crate::store::{AcquireRequest, Acquired, ReleaseRequest, Reply, StoreError, StoredKey};

impl Carrier for SqliteStore {
    type Link = Checkout;

    async fn alone(&self, errand: Errand) -> Result<Answer, StoreError> {
        match errand {
            Errand::Acquire(request) => self.inner.acquire(&request).await.map(Answer::Acquired),
            Errand::Release(request) => self.inner.release(&request).await.map(Answer::Released),
        }
    }

    async fn link(&self) -> Result<Checkout, StoreError> {
        self.inner.writer().await
    }

    fn most(&self) -> usize {
        self.inner.connections.room().min(PARTY)
    }

    async fn carry(
        &self,
        mut connection: Checkout,
        errands: &[Errand],
    ) -> Result<Answers, StoreError> {
        let answers = self.inner.carry(&mut connection, errands).await?;
        Ok(answers.into_iter().map(Ok).collect())
    }
}

impl Inner {
    async fn acquire(&self, request: &AcquireRequest) -> Result<Acquired, StoreError> {
        let mut connection = self.writer().await?;
        request.sent.mark();
        let (answer, _) = connection
            .settle(|| self.made(|s, boot, now| s.acquire(request, boot, now)))
            .await?;
        if let Some(row) = answer.rows.first() {
            let token = sql::token(column(row, 0)?)?;
            return Ok(Acquired::Granted { token });
        }
        // Another's; or it has had its last token.
        let (answer, now) = connection
            .settle(|| self.made(|s, _, _| s.row(&request.key)))
            .await?;
        match answer.rows.first() {
            Some(row) => self.refused(row, now),
            None => Ok(Acquired::Held {
                remaining: Duration::ZERO,
            }),
        }
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<Reply, StoreError> {
        let answer = self
            .call(&request.sent, |s, boot, now| s.release(request, boot, now))
            .await?;
        Ok(self.released(request, answer.changed > 0))
    }

    /// All of them in one statement, and a look at the keys that others hold.
    async fn carry(
        &self,
        connection: &mut Checkout,
        errands: &[Errand],
    ) -> Result<Vec<Answer>, StoreError> {
        let (answer, _) = connection
            .settle(|| self.made(|s, boot, now| s.together(errands, boot, now)))
            .await?;
        let mut tokens = HashMap::with_capacity(answer.rows.len());
        for row in &answer.rows {
            tokens.insert(column::<Vec<u8>>(row, 0)?, column::<i64>(row, 1)?);
        }
        let token = |key: &StoredKey| tokens.get(key.as_bytes()).copied();
        let refused: Vec<_> = errands
            .iter()
            .filter(|errand| matches!(errand, Errand::Acquire(_)))
            .map(Errand::key)
            .filter(|key| token(key).is_none())
            .cloned()
            .collect();
        // What was done until here stays done, so an error from here on says nothing about it.
        let refused = self
            .refusals(connection, &refused)
            .await
            .map_err(StoreError::unknown)?;
        errands
            .iter()
            .map(|errand| match (errand, token(errand.key())) {
                (Errand::Acquire(_), Some(token)) => {
                    let token = sql::token(token)?;
                    Ok(Answer::Acquired(Acquired::Granted { token }))
                }
                (Errand::Acquire(request), None) => {
                    let held = refused.get(request.key.as_bytes()).copied();
                    Ok(Answer::Acquired(held.unwrap_or(Acquired::Held {
                        remaining: Duration::ZERO,
                    })))
                }
                (Errand::Release(request), token) => {
                    Ok(Answer::Released(self.released(request, token.is_some())))
                }
            })
            .collect()
    }

    /// Why `keys` were not granted.
    async fn refusals(
        &self,
        connection: &mut Checkout,
        keys: &[StoredKey],
    ) -> Result<HashMap<Vec<u8>, Acquired>, StoreError> {
        let mut refusals = HashMap::new();
        if keys.is_empty() {
            return Ok(refusals);
        }
        let (answer, now) = connection
            .settle(|| self.made(|s, _, _| s.rows(keys)))
            .await?;
        for row in &answer.rows {
            refusals.insert(column(row, 5)?, self.refused(row, now)?);
        }
        Ok(refusals)
    }

    /// What the row of a key says that was not granted.
    fn refused(&self, row: &SqliteRow, now: Now) -> Result<Acquired, StoreError> {
        if column::<i64>(row, 1)? == i64::MAX && !self.is_live(row, now)? {
            return Err(sql::tokens_used_up());
        }
        let remaining = self.remaining(row, now)?;
        Ok(Acquired::Held { remaining })
    }

    /// Tells those who wait.
    fn released(&self, request: &ReleaseRequest, done: bool) -> Reply {
        if done && request.keep.is_zero() {
            self.watcher.released(&request.key);
        }
        reply(done)
    }
}
