//! The command line, as a shell uses it, and what an operator needs below it: the same on every store.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![allow(clippy::print_stdout, reason = "figures")]

mod bad_input;
mod looking;
mod lost;
mod many_keys;
mod running;
mod shell;

/// One test of `case` for each driver that it makes sense for.
macro_rules! each {
    ($case:ident: $($name:ident = $driver:ident),+) => {
        each!(#[cfg(true)] $case: $($name = $driver),+);
    };
    (#[$attribute:meta] $case:ident: $($name:ident = $driver:ident),+) => {
        mod $case {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[$attribute]
                async fn $name() {
                    super::$case(tests::Driver::$driver).await;
                }
            )+
        }
    };
}

/// On each store that several processes can share.
macro_rules! shared {
    ($($case:ident),+ $(,)?) => {$(
        each!($case: sqlite = Sqlite, redis = Redis, postgres = Postgres, mysql = MySql);
    )+};
}

use each;
use shared;
