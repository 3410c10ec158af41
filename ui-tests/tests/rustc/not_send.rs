// Must blame the `Rc` and the await of the user's body.
use std::rc::Rc;

use verrou::{Error, locked};

#[locked("t")]
pub async fn f() -> Result<u8, Error> {
    let local = Rc::new(1);
    std::future::ready(()).await;
    Ok(*local)
}

fn assert_send<T: Send>(_: T) {}

fn main() {
    assert_send(f());
}
