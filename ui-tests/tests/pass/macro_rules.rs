//! Functions made by a `macro_rules!`: names, types, keys and bodies come from different places.
#![deny(warnings)]

use verrou::{Error, locked};

macro_rules! job {
    ($name:ident, $key:literal, $argument:ident: $ty:ty, $out:ty, $ttl:expr, $body:block) => {
        #[locked($key, ttl = $ttl)]
        pub async fn $name($argument: $ty, own: u8) -> Result<$out, Error> {
            let _: u8 = own;
            $body
        }
    };
}

job!(from_caller, "t:<id>", id: u64, u64, "5s", {
    let doubled = id * 2;
    Ok(doubled)
});

macro_rules! own_argument {
    ($name:ident) => {
        #[locked("t:<id>:<second>", when = id > 0, verrou = verrou)]
        pub async fn $name(verrou: &verrou::Verrou, id: u64, second: u8) -> Result<u64, Error> {
            Ok(id + u64::from(second))
        }
    };
}

own_argument!(inside);

pub struct Service {
    id: u64,
}

macro_rules! method {
    ($field:ident, $self:ident, $body:expr) => {
        impl Service {
            #[locked("t:<self.id>", when = $self.$field > 0)]
            pub async fn outer(&$self) -> Result<u64, Error> {
                Ok($body)
            }

            #[locked("t:<self.id>", guard = guard)]
            pub async fn inner(&self) -> Result<u64, Error> {
                guard.check()?;
                Ok(self.$field)
            }
        }
    };
}

method!(id, self, self.id + 1);

macro_rules! whole_body {
    ($body:block) => {
        #[locked("t")]
        pub async fn whole() -> Result<u8, Error> $body
    };
}

whole_body!({ Ok(1) });

pub fn main() {}
