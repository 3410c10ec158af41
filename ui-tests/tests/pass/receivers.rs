//! Every kind of receiver, with placeholders into it.
#![deny(warnings)]
#![allow(clippy::needless_arbitrary_self_type, reason = "the case")]

use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use verrou::{Error, locked};

pub struct Service {
    inner: Arc<Inner>,
}

pub struct Inner {
    id: u64,
}

impl Deref for Service {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Service {
    #[locked("t:<self.inner.id>:<self.id>")]
    pub async fn by_reference(&self) -> Result<u64, Error> {
        Ok(self.id)
    }

    #[locked("t:<self.id>")]
    pub async fn by_mut(&mut self) -> Result<&mut Arc<Inner>, Error> {
        Ok(&mut self.inner)
    }

    #[locked("t:<self.id>")]
    pub async fn by_value(mut self) -> Result<Self, Error> {
        self.inner = Arc::new(Inner { id: self.id + 1 });
        Ok(self)
    }

    #[locked("t:<self.id>")]
    pub async fn typed(self: &Self) -> Result<u64, Error> {
        Ok(self.id)
    }

    #[locked("t:<self.id>")]
    pub async fn boxed(self: Box<Self>) -> Result<Box<Self>, Error> {
        Ok(self)
    }

    #[locked("t:<self.id>")]
    pub async fn counted(self: Rc<Self>) -> Result<Rc<Self>, Error> {
        Ok(self)
    }

    #[locked("t:<self.id>")]
    pub async fn shared(self: &Arc<Self>) -> Result<Arc<Self>, Error> {
        Ok(Arc::clone(self))
    }

    #[locked("t:<self.id>")]
    pub async fn pinned(self: Pin<&mut Self>) -> Result<u64, Error> {
        Ok(self.id)
    }

    #[locked("t:<self.id>")]
    pub async fn unused(&self) -> Result<(), Error> {
        Ok(())
    }
}

pub fn main() {}
