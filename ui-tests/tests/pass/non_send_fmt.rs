//! Nothing of the rendering lives across an await: `fmt::Arguments` are never `Send`.
#![deny(warnings)]

use std::fmt;

use verrou::{Error, Verrou, key, locked};

#[locked("t:<text>")]
pub async fn arguments(text: fmt::Arguments<'_>) -> Result<usize, Error> {
    Ok(text.to_string().len())
}

/// Its `Display` makes values that are not `Send`.
pub struct Value;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = std::rc::Rc::new("x");
        f.write_fmt(format_args!("{local}"))
    }
}

#[locked("t:<value>", verrou = *std::rc::Rc::new(verrou), ttl = *std::rc::Rc::new(std::time::Duration::from_secs(1)))]
pub async fn value(verrou: &'static Verrou, value: Value) -> Result<(), Error> {
    let _: &Value = &value;
    Ok(())
}

pub async fn key_in_async() -> Result<(), Error> {
    use_key(&key!("t:<a>", a = format_args!("{}", Value))?).await;
    Ok(())
}

async fn use_key(_: &str) {}

fn assert_send<T: Send>(_: T) {}

pub fn main() {
    assert_send(key_in_async());
    let _ = |verrou| assert_send(value(verrou, Value));
}
