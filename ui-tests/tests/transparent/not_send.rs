// Must blame the user's value and the user's await.
use std::rc::Rc;

use verrou::Error;

#[verrou::locked("t")]
pub async fn f() -> Result<u8, Error> {
    let local = Rc::new(1);
    std::future::ready(()).await;
    Ok(*local)
}

fn assert_send<T: Send>(_: T) {}

fn main() {
    assert_send(f());
}
