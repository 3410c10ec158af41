//! The erased twin of [`LockStore`]: the only place that boxes futures.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::clock::Moment;
use crate::sabotage::Bug;
use crate::token::FencingToken;

use super::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, Doubt, ForceReleaseRequest,
    Holding, InspectRequest, ListRequest, LockStore, Page, PassRequest, Passed, ReleaseRequest,
    RenewRequest, Reply, StoreError, StoredKey, Watch,
};

/// A store call that owns all it needs, so that it can be polled to its end on another thread.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Any store, behind a pointer.
pub(crate) type AnyStore = Arc<dyn DynStore>;

/// Implemented for every [`LockStore`], and by nothing else.
pub(crate) trait DynStore: Send + Sync + 'static {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Boxed<Result<Acquired, StoreError>>;
    fn grant_now(&self, request: &AcquireRequest, now: Moment) -> Option<FencingToken>;
    fn release_now(&self, request: &ReleaseRequest, now: Moment) -> Option<Reply>;
    fn renew_many(
        self: Arc<Self>,
        requests: Vec<RenewRequest>,
    ) -> Boxed<Vec<Result<Reply, StoreError>>>;
    fn adopt(self: Arc<Self>, request: AdoptRequest) -> Boxed<Result<Adopted, StoreError>>;
    fn release(self: Arc<Self>, request: ReleaseRequest) -> Boxed<Result<Reply, StoreError>>;
    fn pass(self: Arc<Self>, request: PassRequest) -> Boxed<Result<Passed, StoreError>>;
    fn renew(self: Arc<Self>, request: RenewRequest) -> Boxed<Result<Reply, StoreError>>;
    fn inspect(
        self: Arc<Self>,
        request: InspectRequest,
    ) -> Boxed<Result<Option<Holding>, StoreError>>;
    fn force_release(
        self: Arc<Self>,
        request: ForceReleaseRequest,
    ) -> Boxed<Result<bool, StoreError>>;
    fn list(self: Arc<Self>, request: ListRequest) -> Boxed<Result<Page, StoreError>>;
    fn close(self: Arc<Self>) -> Boxed<()>;
    fn watch(&self, key: &StoredKey) -> Watch;
    fn capabilities(&self) -> Capabilities;
    fn doubts(&self) -> Vec<Doubt>;
    fn for_keeper(&self) -> Option<AnyStore>;
}

impl<S: LockStore> DynStore for S {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Boxed<Result<Acquired, StoreError>> {
        Box::pin(async move {
            let mut request = request;
            if Bug::LeaseTooLong.is_loose() {
                request.ttl *= 5;
            }
            LockStore::acquire(&*self, request).await
        })
    }

    fn grant_now(&self, request: &AcquireRequest, now: Moment) -> Option<FencingToken> {
        // The bugs are in the usual way.
        if cfg!(verrou_sabotage) {
            return None;
        }
        LockStore::grant_now(self, request, now.as_nanos())
    }

    fn release_now(&self, request: &ReleaseRequest, now: Moment) -> Option<Reply> {
        if cfg!(verrou_sabotage) {
            return None;
        }
        LockStore::release_now(self, request, now.as_nanos())
    }

    fn renew_many(
        self: Arc<Self>,
        requests: Vec<RenewRequest>,
    ) -> Boxed<Vec<Result<Reply, StoreError>>> {
        Box::pin(async move { LockStore::renew_many(&*self, requests).await })
    }

    fn adopt(self: Arc<Self>, request: AdoptRequest) -> Boxed<Result<Adopted, StoreError>> {
        Box::pin(async move { LockStore::adopt(&*self, request).await })
    }

    fn release(self: Arc<Self>, request: ReleaseRequest) -> Boxed<Result<Reply, StoreError>> {
        Box::pin(async move {
            // Not only a constant: the futures of a branch that is never taken have their room all the same.
            #[cfg(verrou_sabotage)]
            if Bug::ReleaseWithoutOwner.is_loose() {
                let anybody = ForceReleaseRequest::new(request.key);
                let forced = LockStore::force_release(&*self, anybody).await;
                return forced.map(|_| Reply::Done);
            }
            #[cfg(verrou_sabotage)]
            if Bug::RenewalAfterRelease.is_loose() {
                let late = std::time::Duration::from_secs(10);
                let renewal = AcquireRequest::new(request.key.clone(), request.owner, late);
                let released = LockStore::release(&*self, request).await;
                let _ = LockStore::acquire(&*self, renewal).await;
                return released;
            }
            LockStore::release(&*self, request).await
        })
    }

    fn pass(self: Arc<Self>, request: PassRequest) -> Boxed<Result<Passed, StoreError>> {
        Box::pin(async move { LockStore::pass(&*self, request).await })
    }

    fn renew(self: Arc<Self>, request: RenewRequest) -> Boxed<Result<Reply, StoreError>> {
        Box::pin(async move { LockStore::renew(&*self, request).await })
    }

    fn inspect(
        self: Arc<Self>,
        request: InspectRequest,
    ) -> Boxed<Result<Option<Holding>, StoreError>> {
        Box::pin(async move { LockStore::inspect(&*self, request).await })
    }

    fn force_release(
        self: Arc<Self>,
        request: ForceReleaseRequest,
    ) -> Boxed<Result<bool, StoreError>> {
        Box::pin(async move { LockStore::force_release(&*self, request).await })
    }

    fn list(self: Arc<Self>, request: ListRequest) -> Boxed<Result<Page, StoreError>> {
        Box::pin(async move { LockStore::list(&*self, request).await })
    }

    fn close(self: Arc<Self>) -> Boxed<()> {
        Box::pin(async move { LockStore::close(&*self).await })
    }

    fn watch(&self, key: &StoredKey) -> Watch {
        LockStore::watch(self, key)
    }

    fn capabilities(&self) -> Capabilities {
        LockStore::capabilities(self)
    }

    fn doubts(&self) -> Vec<Doubt> {
        LockStore::doubts(self)
    }

    fn for_keeper(&self) -> Option<AnyStore> {
        LockStore::for_keeper(self).map(|sibling| Arc::new(sibling) as AnyStore)
    }
}
