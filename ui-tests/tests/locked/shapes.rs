//! Every shape of function that `#[locked]` goes on, run: its key is held in the body and free when the call returns.
//!
//! Compiled in the editions 2018 and 2021 as well (`ui-tests/crates`), so it says nothing that is newer.

#![allow(
    clippy::multiple_bound_locations,
    clippy::needless_arbitrary_self_type,
    clippy::needless_lifetimes,
    clippy::toplevel_ref_arg
)]

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use tracing::instrument;
use verrou::drivers::MemoryStore;
use verrou::{Error, Verrou, locked};

type Result<T, E = Error> = std::result::Result<T, E>;

/// Whether `key` is held, on the instance of the scope.
async fn held(key: &str) -> Result<bool> {
    verrou::current()?.create_lock(key).is_locked().await
}

/// Runs `call`, whose body says whether `key` was held, on an instance of its own.
async fn locks<F>(key: &'static str, call: F)
where
    F: Future<Output = Result<bool>>,
{
    let built = Verrou::builder()
        .store("memory", MemoryStore::new())
        .build();
    let verrou = built.expect("an instance");
    let around = async {
        assert!(!held(key).await?);
        assert!(call.await?, "the body ran without `{}`", key);
        assert!(!held(key).await?, "`{}` outlived the call", key);
        Ok::<(), Error>(())
    };
    verrou.scope(around).await.expect("no error");
}

#[tokio::test]
async fn free_functions() {
    #[locked("nightly")]
    async fn without_arguments() -> Result<bool> {
        held("nightly").await
    }
    #[locked("t:<id>")]
    pub(crate) async fn with_arguments(id: u64, _other: &str) -> Result<bool> {
        held("t:7").await
    }
    locks("nightly", without_arguments()).await;
    locks("t:7", with_arguments(7, "x")).await;
}

#[tokio::test]
async fn generics_constants_and_where_clauses() {
    #[locked("t:<a>:<b>")]
    async fn generic<'a, A, B: ?Sized, const N: usize>(
        a: A,
        b: &'a B,
    ) -> Result<[bool; N], A::Error>
    where
        A: Display + Fallible,
        A::Error: From<Error>,
        B: Display + AsRef<str>,
    {
        drop(a);
        let key = format!("t:1:{}", b.as_ref());
        Ok([held(&key).await?; N])
    }
    trait Fallible {
        type Error;
    }
    impl Fallible for u8 {
        type Error = Error;
    }
    locks("t:1:b", async {
        Ok(generic::<u8, str, 2>(1, "b").await? == [true; 2])
    })
    .await;
}

#[tokio::test]
async fn impl_trait_as_argument_and_as_return() {
    #[locked("t:<a>")]
    async fn both(
        a: impl Display + Clone,
        f: impl Fn(bool) -> bool,
    ) -> Result<impl Iterator<Item = bool>> {
        drop(a.clone());
        let held = f(held("t:a").await?);
        Ok(std::iter::once(held))
    }
    locks("t:a", async {
        Ok(both("a", |held| held).await?.next() == Some(true))
    })
    .await;
}

struct Cart {
    id: u64,
    held: Vec<bool>,
}

impl Cart {
    #[locked("cart:<self.id>")]
    async fn shared(&self) -> Result<bool> {
        held("cart:1").await
    }

    #[locked("cart:<self.id>")]
    async fn borrowed(&mut self) -> Result<&mut bool> {
        self.held.push(held("cart:1").await?);
        let last = self.held.len() - 1;
        Ok(&mut self.held[last])
    }

    #[locked("cart:<self.id>")]
    async fn by_value(mut self, value: bool) -> Result<Self> {
        self.held.push(value && held("cart:1").await?);
        Ok(self)
    }

    #[locked("cart:<self.id>")]
    async fn typed(self: &Self) -> Result<bool> {
        held("cart:1").await
    }

    #[locked("cart:<self.id>")]
    async fn boxed(self: Box<Self>) -> Result<bool> {
        held("cart:1").await
    }

    #[locked("cart:<self.id>")]
    async fn counted(self: Rc<Self>) -> Result<bool> {
        held("cart:1").await
    }

    #[locked("cart:<self.id>")]
    async fn arc(self: Arc<Self>) -> Result<bool> {
        held("cart:1").await
    }

    #[locked("cart:<self.id>")]
    async fn pinned(self: Pin<&mut Self>) -> Result<bool> {
        held("cart:1").await
    }

    #[locked("cart:<id>")]
    async fn associated(id: u64) -> Result<Self> {
        Ok(Self {
            id,
            held: vec![held("cart:1").await?],
        })
    }
}

#[tokio::test]
async fn every_receiver() {
    let cart = || Cart {
        id: 1,
        held: Vec::new(),
    };
    let (mut own, mut pinned) = (cart(), cart());
    locks("cart:1", cart().shared()).await;
    locks("cart:1", async { Ok(*own.borrowed().await?) }).await;
    locks("cart:1", async {
        Ok(cart().by_value(true).await?.held == [true])
    })
    .await;
    locks("cart:1", cart().typed()).await;
    locks("cart:1", Box::new(cart()).boxed()).await;
    locks("cart:1", Rc::new(cart()).counted()).await;
    locks("cart:1", Arc::new(cart()).arc()).await;
    locks("cart:1", Pin::new(&mut pinned).pinned()).await;
    locks("cart:1", async {
        Ok(Cart::associated(1).await?.held == [true])
    })
    .await;
}

#[tokio::test]
async fn patterns_mut_arguments_and_wildcards() {
    struct Point {
        x: u8,
        y: u8,
    }
    struct Path<T>(T);
    #[locked("<a>:<b>:<x>:<renamed>:<first>:<whole.0>:<number>:<byref>:<counter>")]
    #[allow(clippy::too_many_arguments)]
    async fn f(
        (a, Path((b, _))): (u8, Path<(u8, u8)>),
        Point { x, y: renamed }: Point,
        [first, ..]: [u8; 3],
        whole @ (_, _): (u8, u8),
        &number: &u8,
        ref byref: String,
        mut counter: u8,
        _: u8,
    ) -> Result<bool> {
        counter += a + b + x + renamed + first + whole.1 + number;
        Ok(counter == 36 && byref == "r" && held("1:2:4:5:6:9:8:r:0").await?)
    }
    let call = f(
        (1, Path((2, 3))),
        Point { x: 4, y: 5 },
        [6, 7, 7],
        (9, 10),
        &8,
        "r".into(),
        0,
        11,
    );
    locks("1:2:4:5:6:9:8:r:0", call).await;
}

#[tokio::test]
#[allow(unsafe_code)]
async fn unsafe_functions() {
    #[locked("t")]
    async unsafe fn read(pointer: &*const bool) -> Result<bool> {
        Ok(unsafe { **pointer } && held("t").await?)
    }
    let value = true;
    locks("t", async {
        unsafe { read(&(&value as *const bool)).await }
    })
    .await;
}

#[tokio::test]
async fn raw_identifiers() {
    struct Kind {
        r#fn: u8,
    }
    #[locked("<type.fn>:<r#match>", guard = r#loop)]
    async fn r#try(r#type: Kind, r#match: u8) -> Result<bool> {
        r#loop.check()?;
        Ok(r#type.r#fn == r#match && held("1:1").await?)
    }
    locks("1:1", r#try(Kind { r#fn: 1 }, 1)).await;
}

mod made_by_macros {
    use super::{Result, held, locked, locks};

    macro_rules! job {
        ($name:ident, $key:literal, $argument:ident: $ty:ty, $out:ty, $ttl:expr, $body:block) => {
            #[locked($key, ttl = $ttl)]
            async fn $name($argument: $ty, own: u8) -> Result<$out> {
                let _ = own;
                $body
            }
        };
    }
    job!(from_caller, "t:<id>", id: u64, bool, "5s", {
        let key = format!("t:{}", id);
        held(&key).await
    });

    struct Service {
        id: u64,
    }
    macro_rules! method {
        ($field:ident, $self:ident, $body:expr) => {
            impl Service {
                #[locked("s:<self.id>", when = $self.$field > 0)]
                async fn run(&$self) -> Result<bool> {
                    Ok($body)
                }
            }
        };
    }
    method!(id, self, held(&format!("s:{}", self.id)).await?);

    #[tokio::test]
    async fn macro_rules() {
        locks("t:3", from_caller(3, 0)).await;
        locks("s:4", Service { id: 4 }.run()).await;
    }
}

#[no_implicit_prelude]
mod without_a_prelude {
    use super::{Result, held, locked};

    #[allow(dead_code)]
    struct Ok;
    #[allow(dead_code)]
    struct Option;

    #[locked("t:<key>", wait = never, on_busy = ::std::result::Result::Ok(key > 1))]
    pub(super) async fn f(key: u8) -> Result<bool> {
        held("t:1").await
    }
}

#[tokio::test]
async fn no_implicit_prelude() {
    locks("t:1", without_a_prelude::f(1)).await;
}

#[tokio::test]
async fn methods_of_traits() {
    #[allow(async_fn_in_trait)]
    trait Jobs {
        type Id: Display;
        type Out: From<bool>;

        async fn run(&self, id: Self::Id) -> Result<Self::Out>;

        #[locked("default:<id>")]
        async fn by_default(&self, id: Self::Id) -> Result<Self::Out> {
            Ok(held("default:1").await?.into())
        }

        fn sendable(&self, id: u64) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>>;
    }
    struct Mail(String);
    impl Jobs for Mail {
        type Id = u64;
        type Out = bool;

        #[locked("mail:<self.0>:<id>")]
        async fn run(&self, id: Self::Id) -> Result<Self::Out> {
            held("mail:a:1").await
        }

        #[locked("mail:<self.0>:<id>")]
        fn sendable(&self, id: u64) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + '_>> {
            Box::pin(async move { Ok(self.0 == "a" && held("mail:a:1").await?) })
        }
    }
    let mail = Mail("a".into());
    locks("mail:a:1", mail.run(1)).await;
    locks("default:1", mail.by_default(1)).await;
    locks("mail:a:1", mail.sendable(1)).await;
}

#[tokio::test]
async fn async_trait_below_and_above() {
    #[async_trait]
    trait Jobs {
        async fn run(&self, id: u64, pair: (u8, u8)) -> Result<bool>;

        #[locked("d:<id>")]
        async fn by_default(&mut self, mut id: u64) -> Result<bool> {
            id += 1;
            Ok(id == 2 && held("d:1").await?)
        }

        #[locked("assoc:<text>")]
        async fn without_self(text: &str) -> Result<bool>
        where
            Self: Sized,
        {
            Ok(text == "x" && held("assoc:x").await?)
        }
    }
    struct Mail<T>(T);
    #[async_trait]
    impl<T: Display + Send + Sync> Jobs for Mail<T> {
        #[locked("m:<self.0>:<id>:<b>", guard = guard)]
        async fn run(&self, id: u64, (a, b): (u8, u8)) -> Result<bool> {
            guard.check()?;
            let closure = || self.0.to_string();
            Ok(a == 1 && closure() == "t" && held("m:t:7:2").await?)
        }
    }
    #[async_trait(?Send)]
    trait Local {
        #[locked("local")]
        async fn run(self: Rc<Self>) -> Result<bool> {
            held("local").await
        }
    }
    impl Local for u8 {}
    let mut mail = Mail("t");
    locks("m:t:7:2", mail.run(7, (1, 2))).await;
    locks("d:1", mail.by_default(1)).await;
    locks("assoc:x", Mail::<u8>::without_self("x")).await;
    locks("local", Rc::new(1_u8).run()).await;
}

#[tokio::test]
async fn instrument_below_and_above() {
    #[instrument]
    #[locked("a:<id>")]
    async fn above(id: u8, mut other: String) -> Result<bool> {
        other.clear();
        held("a:1").await
    }
    #[locked("b:<id>")]
    #[instrument(skip(other), err)]
    async fn below(id: u8, mut other: String) -> Result<bool> {
        other.clear();
        held("b:1").await
    }
    #[derive(Debug)]
    struct Service {
        id: u8,
    }
    #[async_trait]
    trait Jobs {
        async fn above(&self, pair: (u8, u8)) -> Result<bool>;
        async fn below(&self, pair: (u8, u8)) -> Result<bool>;
    }
    #[async_trait]
    impl Jobs for Service {
        #[instrument]
        #[locked("c:<self.id>:<b>")]
        async fn above(&self, (_a, b): (u8, u8)) -> Result<bool> {
            Ok(b == 2 && held("c:1:2").await?)
        }

        #[locked("d:<self.id>:<b>", when = self.id > 0)]
        #[instrument]
        async fn below(&self, (_a, b): (u8, u8)) -> Result<bool> {
            Ok(b == 2 && held("d:1:2").await?)
        }
    }
    locks("a:1", above(1, String::new())).await;
    locks("b:1", below(1, String::new())).await;
    locks("c:1:2", Service { id: 1 }.above((1, 2))).await;
    locks("d:1:2", Service { id: 1 }.below((1, 2))).await;
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

trait Boxed: Future + Sized + Send + 'static {
    fn boxed(self) -> BoxFuture<'static, Self::Output> {
        Box::pin(self)
    }
}
impl<F: Future + Send + 'static> Boxed for F {}

#[tokio::test]
async fn functions_that_return_a_future() {
    #[locked("a:<id>")]
    #[allow(clippy::manual_async_fn)]
    fn plain(id: String) -> impl Future<Output = Result<bool>> + Send {
        async move { Ok(id == "1" && held("a:1").await?) }
    }
    #[locked("b:<id>")]
    fn boxed<'a>(id: &'a str) -> Pin<Box<dyn Future<Output = Result<&'a str>> + Send + 'a>> {
        Box::pin(async move { Ok(if held("b:1").await? { id } else { "" }) })
    }
    #[locked("c:<id>", guard = guard)]
    fn aliased(id: u64) -> BoxFuture<'static, Result<bool>> {
        Box::pin(async move {
            guard.check()?;
            held("c:1").await
        })
    }
    #[locked("d:<id>")]
    fn by_method(id: u64) -> BoxFuture<'static, Result<bool>> {
        async move { held("d:1").await }.boxed()
    }
    #[locked("e:<id>")]
    #[allow(clippy::manual_async_fn, clippy::needless_return)]
    fn by_return(id: u64) -> impl Future<Output = Result<bool>> {
        return async move { held("e:1").await };
    }
    #[locked("f:<id>")]
    #[allow(clippy::manual_async_fn, unused_braces)]
    fn in_braces(id: u64) -> impl Future<Output = Result<bool>> {
        { async move { held("f:1").await } }
    }
    locks("e:1", by_return(1)).await;
    locks("f:1", in_braces(1)).await;
    locks("a:1", plain("1".into())).await;
    locks("b:1", async { Ok(boxed("1").await? == "1") }).await;
    locks("c:1", aliased(1)).await;
    locks("d:1", by_method(1)).await;
}

#[tokio::test]
async fn recursion() {
    #[locked("t:<n>")]
    async fn down(n: u32) -> Result<bool> {
        let key = format!("t:{}", n);
        Ok(held(&key).await? && (n == 0 || Box::pin(down(n - 1)).await?))
    }
    locks("t:4", down(4)).await;
}

#[tokio::test]
async fn bodies_that_leave_early() {
    #[locked("t")]
    async fn leave(how: u8) -> Result<bool> {
        let value = 'block: {
            for number in 0.. {
                match how {
                    0 => return held("t").await,
                    1 => {
                        break 'block held("t").await?;
                    }
                    2 if number > 1 => break,
                    2 => continue,
                    _ => Err(Error::NotInitialized)?,
                }
            }
            held("t").await?
        };
        #[allow(clippy::needless_return)]
        return Ok(value);
    }
    for how in 0..3 {
        locks("t", leave(how)).await;
    }
    locks("t", async {
        Ok(matches!(leave(3).await, Err(Error::NotInitialized)))
    })
    .await;
}

#[tokio::test]
async fn a_body_that_never_comes_to_its_end() {
    #[locked("t")]
    async fn diverges(value: bool) -> Result<bool> {
        if value {
            return held("t").await;
        }
        panic!("on purpose")
    }
    locks("t", diverges(true)).await;
    let panicking = locks("t", async {
        let caught = tokio::spawn(verrou::current()?.scope(diverges(false))).await;
        Ok(caught.is_err())
    });
    panicking.await;
}

#[tokio::test]
async fn functions_that_are_not_send() {
    #[locked("t:<text>")]
    async fn local(text: Rc<str>) -> Result<bool> {
        tokio::task::yield_now().await;
        Ok(&*text == "x" && held("t:x").await?)
    }
    let set = tokio::task::LocalSet::new();
    let around = locks("t:x", async {
        let task = verrou::current()?.scope(local("x".into()));
        tokio::task::spawn_local(task).await.expect("no panic")
    });
    set.run_until(around).await;
}
