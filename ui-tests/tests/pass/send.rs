//! The future is `Send` when the body is, and otherwise compiles all the same.
#![deny(warnings)]

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;

use verrou::{Error, locked};

/// `Send`, but a reference to it is not.
pub struct NotSync(Cell<u8>);

impl fmt::Display for NotSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.get().fmt(f)
    }
}

#[locked("t:<a>", when = a.0.get() > 0, on_busy = skip)]
pub async fn not_sync_argument(a: NotSync) -> Result<Option<u8>, Error> {
    Ok(Some(a.0.get()))
}

#[locked("t:<a>:<b.0>", guard = guard)]
pub async fn sendable(a: String, b: (u8, u8)) -> Result<u8, Error> {
    std::future::ready(()).await;
    guard.check()?;
    drop(a);
    Ok(b.1)
}

#[locked("t:<text>")]
pub async fn not_sendable(text: Rc<str>) -> Result<usize, Error> {
    std::future::ready(()).await;
    Ok(text.len())
}

#[locked("t:<n>")]
pub async fn recursive(n: u32) -> Result<u32, Error> {
    if n == 0 {
        return Ok(0);
    }
    Ok(Box::pin(recursive(n - 1)).await? + 1)
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bounds for every lifetime, borrowed across an await.
#[locked("t:<name>")]
pub async fn higher_ranked<'a, F>(name: &'a str, f: F, g: &(dyn for<'b> Fn(&'b &'a str) -> Boxed<'b, usize> + Sync)) -> Result<usize, Error>
where
    F: for<'b> Fn(&'b str) -> Boxed<'b, &'b str> + Send,
{
    let owned = name.to_owned();
    let mut sum = 0;
    for part in owned.split(' ') {
        let part = f(part).await;
        sum += g(&name).await + part.len();
    }
    Ok(sum)
}

fn assert_send<T: Send>(_: T) {}

pub fn main() {
    assert_send(not_sync_argument(NotSync(Cell::new(1))));
    assert_send(sendable(String::new(), (1, 2)));
    assert_send(recursive(3));
    let call = async {
        let name = String::from("a b");
        higher_ranked(&name, |part| Box::pin(async move { part }), &|name| Box::pin(async move { name.len() })).await
    };
    let boxed: Boxed<'_, _> = Box::pin(call);
    assert_send(boxed);
    drop(not_sendable(Rc::from("x")));
}
