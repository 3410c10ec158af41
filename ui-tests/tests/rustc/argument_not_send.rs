// Must blame the argument by its name.
use std::rc::Rc;

use verrou::{Error, locked};

#[locked("t:<text>")]
pub async fn f(text: Rc<str>) -> Result<usize, Error> {
    std::future::ready(()).await;
    Ok(text.len())
}

fn assert_send<T: Send>(_: T) {}

fn main() {
    assert_send(f(Rc::from("x")));
}
