//! Functions in functions, in `impl`s in functions, in modules; items in a body.
#![deny(warnings)]

use verrou::{Error, locked};

#[locked("outer:<id>")]
pub async fn outer(id: u64) -> Result<u64, Error> {
    const MORE: u64 = 1;

    #[locked("inner:<id>")]
    async fn inner(id: u64) -> Result<u64, Error> {
        Ok(id + MORE)
    }

    struct Local(u64);
    impl Local {
        #[locked("local:<self.0>")]
        async fn run(&self) -> Result<u64, Error> {
            Ok(self.0)
        }
    }
    inner(id).await?;
    Local(id).run().await
}

pub mod a {
    pub mod b {
        #[verrou::locked("t")]
        pub(super) async fn restricted() -> Result<(), verrou::Error> {
            Ok(())
        }
    }

    pub async fn caller() -> Result<(), verrou::Error> {
        b::restricted().await
    }
}

pub fn main() {}
