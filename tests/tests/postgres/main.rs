//! The promises of the Postgres store, on a real server and through a real pgbouncer.

use tests::servers::postgres::shared_url;
use verrou::drivers::PostgresStore;
use verrou::testkit::{Backend, contract_suite};

fn server() -> impl Backend {
    let url = shared_url();
    move || {
        let url = url.clone();
        async move {
            match PostgresStore::connect(&url).await {
                Ok(store) => store,
                Err(error) => panic!("cannot connect: {error}: {:?}", std::error::Error::source(&error)),
            }
        }
    }
}

contract_suite!(postgres, server());
