// Must say that the result is not `Send`: it waits for the release. The documentation says so.
use std::rc::Rc;

use verrou::{Error, locked};

#[locked("t")]
pub async fn f() -> Result<Rc<u8>, Error> {
    Ok(Rc::new(1))
}

fn assert_send<T: Send>(_: T) {}

fn main() {
    assert_send(f());
}
