//! What every driver does when the link breaks, the server freezes, or the process is told to end: the same case for each.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![allow(clippy::print_stdout, reason = "figures")]

mod frozen;
mod leaving;
mod links;
mod passing;

/// One test of `case` for each driver that it makes sense for.
macro_rules! each {
    ($case:ident: $($name:ident = $driver:ident),+) => {
        mod $case {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$case(tests::Driver::$driver).await;
                }
            )+
        }
    };
}

use each;
