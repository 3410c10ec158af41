//! Any driver behind a pointer, so that the cases are compiled once and not once for each driver.
//!
//! Not the twin that the core uses: that one may answer in whatever form suits the core.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, ForceReleaseRequest, Holding,
    InspectRequest, Listed, LockStore, ReleaseRequest, RenewRequest, Reply, StoreError, StoredKey,
    Watch,
};

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

macro_rules! erase {
    ($($call:ident($request:ty) -> $answer:ty;)*) => {
        /// A driver, exactly as its author wrote it.
        pub(crate) trait Driver: Send + Sync + 'static {
            $(fn $call(self: Arc<Self>, request: $request) -> Boxed<$answer>;)*
            fn close(self: Arc<Self>) -> Boxed<()>;
            fn watch(&self, key: &StoredKey) -> Watch;
            fn capabilities(&self) -> Capabilities;
            fn for_keeper(&self) -> Option<Arc<dyn Driver>>;
        }

        impl<S: LockStore> Driver for S {
            $(fn $call(self: Arc<Self>, request: $request) -> Boxed<$answer> {
                Box::pin(async move { LockStore::$call(&*self, request).await })
            })*

            fn close(self: Arc<Self>) -> Boxed<()> {
                Box::pin(async move { LockStore::close(&*self).await })
            }

            fn watch(&self, key: &StoredKey) -> Watch {
                LockStore::watch(self, key)
            }

            fn capabilities(&self) -> Capabilities {
                LockStore::capabilities(self)
            }

            fn for_keeper(&self) -> Option<Arc<dyn Driver>> {
                LockStore::for_keeper(self).map(|sibling| Arc::new(sibling) as Arc<dyn Driver>)
            }
        }
    };
}

erase! {
    acquire(AcquireRequest) -> Result<Acquired, StoreError>;
    renew(RenewRequest) -> Result<Reply, StoreError>;
    renew_many(Vec<RenewRequest>) -> Vec<Result<Reply, StoreError>>;
    adopt(AdoptRequest) -> Result<Adopted, StoreError>;
    release(ReleaseRequest) -> Result<Reply, StoreError>;
    inspect(InspectRequest) -> Result<Option<Holding>, StoreError>;
    force_release(ForceReleaseRequest) -> Result<bool, StoreError>;
    list(String) -> Result<Vec<Listed>, StoreError>;
}
