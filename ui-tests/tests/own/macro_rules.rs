// Must point at the literal and the option where they are written: in the call, and in the macro.
use verrou::{Error, locked};

macro_rules! job {
    ($name:ident, $key:literal, $ttl:expr) => {
        #[locked($key, ttl = $ttl)]
        async fn $name(id: u64) -> Result<u64, Error> {
            Ok(id)
        }
    };
}

job!(first, "t:<idd>", "30");

macro_rules! own {
    ($name:ident) => {
        #[locked("t:<idd>", tll = "30s")]
        async fn $name(id: u64) -> Result<u64, Error> {
            Ok(id)
        }
    };
}

own!(second);

fn main() {}
