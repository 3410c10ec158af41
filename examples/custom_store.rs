//! A lock store of one's own: the whole contract over a `Mutex` and a `HashMap`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use verrou::FencingToken;
use verrou::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, ForceReleaseRequest, Holding, InspectRequest,
    LockStore, Owner, ReleaseRequest, RenewRequest, Reply, StoreError, StoredKey,
};

/// Clones share their locks.
#[derive(Clone, Default)]
pub(crate) struct CustomStore {
    rows: Arc<Mutex<HashMap<StoredKey, Row>>>,
}

/// A row stays when its key is free: it keeps the token, and the next one has to be greater.
struct Row {
    /// `None`: free, or kept taken after a release. No request can have it.
    owner: Option<Owner>,
    holder: Arc<str>,
    token: FencingToken,
    granted: Instant,
    expiry: Instant,
}

impl CustomStore {
    fn rows(&self) -> MutexGuard<'_, HashMap<StoredKey, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the row of a live lease of `owner`. Every operation is one such step under the mutex.
    fn if_held<T>(
        &self,
        key: &StoredKey,
        owner: Owner,
        change: impl FnOnce(&mut Row) -> T,
    ) -> Option<T> {
        let mut rows = self.rows();
        let row = rows.get_mut(key)?;
        (row.expiry > Instant::now() && row.owner == Some(owner)).then(|| change(row))
    }
}

impl Row {
    fn extend(&mut self, ttl: Duration) {
        self.expiry = self.expiry.max(Instant::now() + ttl);
    }
}

impl LockStore for CustomStore {
    async fn acquire(&self, request: AcquireRequest) -> Result<Acquired, StoreError> {
        let AcquireRequest {
            key,
            owner,
            ttl,
            holder,
            ..
        } = request;
        let (mut rows, now) = (self.rows(), Instant::now());
        let previous = rows.get_mut(&key);
        if let Some(row) = previous.filter(|row| row.expiry > now) {
            if row.owner != Some(owner) {
                return Ok(Acquired::Held {
                    remaining: row.expiry - now,
                });
            }
            row.extend(ttl);
            return Ok(Acquired::Granted { token: row.token });
        }
        // The floor keeps the order of the tokens over a restart, when the rows are gone.
        let floor = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(StoreError::not_applied)?;
        let floor = u64::try_from(floor.as_micros()).map_err(StoreError::not_applied)?;
        let next = rows
            .get(&key)
            .map_or(0, |row| row.token.get() + 1)
            .max(floor);
        let token =
            FencingToken::new(next).ok_or_else(|| StoreError::not_applied("out of tokens"))?;
        rows.insert(
            key,
            Row {
                owner: Some(owner),
                holder,
                token,
                granted: now,
                expiry: now + ttl,
            },
        );
        Ok(Acquired::Granted { token })
    }

    async fn renew(&self, request: RenewRequest) -> Result<Reply, StoreError> {
        let renewed = self.if_held(&request.key, request.owner, |row| row.extend(request.ttl));
        Ok(renewed.map_or(Reply::NotHeld, |()| Reply::Done))
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Adopted, StoreError> {
        let AdoptRequest {
            key,
            from,
            owner,
            ttl,
            holder,
            ..
        } = request;
        let adopt = |row: &mut Row| {
            (row.owner, row.holder) = (Some(owner), Arc::clone(&holder));
            row.extend(ttl);
            Adopted::Adopted { token: row.token }
        };
        let adopted = self.if_held(&key, from, adopt);
        // The same adopt once more, after its first answer was lost, has won.
        let adopted = adopted.or_else(|| self.if_held(&key, owner, adopt));
        Ok(adopted.unwrap_or(Adopted::NotHeld))
    }

    async fn release(&self, request: ReleaseRequest) -> Result<Reply, StoreError> {
        let released = self.if_held(&request.key, request.owner, |row| {
            (row.owner, row.holder) = (None, Arc::from(""));
            row.expiry = Instant::now() + request.keep;
        });
        Ok(released.map_or(Reply::NotHeld, |()| Reply::Done))
    }

    async fn inspect(&self, request: InspectRequest) -> Result<Option<Holding>, StoreError> {
        let (rows, now) = (self.rows(), Instant::now());
        let live = rows.get(&request.key).filter(|row| row.expiry > now);
        Ok(live
            .map(|row| Holding::new(&*row.holder, row.token, row.expiry - now, now - row.granted)))
    }

    async fn force_release(&self, request: ForceReleaseRequest) -> Result<bool, StoreError> {
        let (mut rows, now) = (self.rows(), Instant::now());
        let live = rows.get_mut(&request.key).filter(|row| row.expiry > now);
        Ok(live.map(|row| row.expiry = now).is_some())
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example talks")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = CustomStore::default();
    // LOCKFACTORY: becomes `LockFactory::new(store).create_lock("report")` and its guard.
    let (key, owner) = (StoredKey::new("", "report")?, Owner::random()?);
    let acquire = AcquireRequest::new(key.clone(), owner, Duration::from_secs(20));
    println!("acquire: {:?}", store.acquire(acquire).await?);
    println!(
        "inspect: {:?}",
        store.inspect(InspectRequest::new(key.clone())).await?
    );
    println!(
        "release: {:?}",
        store.release(ReleaseRequest::new(key, owner)).await?
    );
    Ok(())
}
