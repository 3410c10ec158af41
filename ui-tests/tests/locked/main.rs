//! What a function under `#[locked]` does when it runs.
//!
//! Every test makes its own instance and gives it with `verrou = ..`, so that none needs the global one.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use verrou::drivers::MemoryStore;
use verrou::{Error, LockGuard, Verrou, key, locked};

type Result<T, E = Error> = std::result::Result<T, E>;

fn instance() -> Result<Verrou> {
    Verrou::builder()
        .store("memory", MemoryStore::new())
        .build()
}

/// Whether somebody holds the key `t:<id>`. Asks from a thread of its own, so that it can be used anywhere.
fn is_held(verrou: &Verrou, id: u64) -> bool {
    #[locked("t:<id>", wait = never, verrou = verrou)]
    async fn probe(verrou: &Verrou, id: u64) -> Result<()> {
        Ok(())
    }
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(probe(verrou, id))
        });
        asking.join().expect("no panic")
    });
    match answer {
        Ok(()) => false,
        Err(error) if error.is_busy() => true,
        Err(error) => panic!("{error}"),
    }
}

/// Remembers in which order things happen.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, entry: impl Into<String>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(entry.into());
    }

    fn entries(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[tokio::test]
async fn the_lock_is_held_in_the_body_and_free_after_it() -> Result<()> {
    #[locked("t:<id>", verrou = verrou)]
    async fn job(verrou: &Verrou, id: u64) -> Result<(bool, bool)> {
        Ok((is_held(verrou, id), is_held(verrou, id + 1)))
    }
    let verrou = instance()?;
    for _ in 0..2 {
        assert_eq!(job(&verrou, 7).await?, (true, false));
        assert!(!is_held(&verrou, 7));
    }
    Ok(())
}

#[tokio::test]
async fn different_arguments_make_different_keys() -> Result<()> {
    #[locked("t:<a>:<b>", verrou = verrou, guard = guard)]
    async fn pair(verrou: &Verrou, a: &str, b: &str) -> Result<String> {
        Ok(guard.key().to_owned())
    }
    let verrou = instance()?;
    assert_eq!(pair(&verrou, "x:y", "z").await?, "t:x%3Ay:z");
    assert_eq!(pair(&verrou, "x", "y:z").await?, "t:x:y%3Az");
    Ok(())
}

#[tokio::test]
async fn a_plain_value_makes_the_key_that_format_makes() -> Result<()> {
    #[locked("order-<id>", verrou = verrou, guard = guard)]
    async fn order(verrou: &Verrou, id: &(impl Display + ?Sized)) -> Result<String> {
        Ok(guard.key().to_owned())
    }
    let verrou = instance()?;
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    assert_eq!(order(&verrou, uuid).await?, format!("order-{uuid}"));
    assert_eq!(
        order(&verrou, &i64::MIN).await?,
        format!("order-{}", i64::MIN)
    );
    assert_eq!(order(&verrou, "1.5_a~é").await?, "order-1.5_a~é");
    Ok(())
}

#[tokio::test]
async fn key_renders_what_the_attribute_locks() -> Result<()> {
    struct Account {
        id: (u8, &'static str),
    }
    #[locked("t:<account.id.1>/<<<who>>>", verrou = verrou, guard = guard)]
    async fn f(verrou: &Verrou, account: Account, who: &str) -> Result<String> {
        Ok(guard.key().to_owned())
    }
    let verrou = instance()?;
    let account = Account { id: (0, "a/b") };
    let who = "me";
    let rendered = key!("t:<account.id.1>/<<<who>>>", account = account, who)?;
    assert_eq!(rendered, "t:a%2Fb/<me>");
    assert_eq!(f(&verrou, account, who).await?, rendered);
    assert_eq!(key!("t:<a>", a = 7)?, "t:7");
    assert_eq!(key!("t:<type>", type = String::from("x"),)?, "t:x");
    assert_eq!(key!("nightly")?, "nightly");
    Ok(())
}

#[tokio::test]
async fn an_empty_value_is_an_invalid_key_and_the_body_does_not_run() -> Result<()> {
    #[locked("t:<name>", verrou = verrou)]
    async fn f(verrou: &Verrou, name: &str) -> Result<()> {
        unreachable!("the body of {name:?} ran");
    }
    match f(&instance()?, "").await {
        Err(Error::InvalidKey { reason, .. }) => assert!(reason.contains("`<name>`"), "{reason}"),
        other => panic!("expected InvalidKey, got {other:?}"),
    }
    assert!(matches!(key!("<a>", a = ""), Err(Error::InvalidKey { .. })));
    Ok(())
}

#[tokio::test]
async fn keys_are_rendered_once_at_the_first_poll_and_before_the_body_moves_its_arguments()
-> Result<()> {
    struct Counted(Arc<AtomicUsize>);
    impl Display for Counted {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fetch_add(1, Ordering::Relaxed);
            f.write_str("k")
        }
    }
    #[locked("t:<counted>", verrou = verrou, guard = guard)]
    async fn f(verrou: &Verrou, mut counted: Counted) -> Result<String> {
        counted.0 = Arc::default();
        drop(counted);
        Ok(guard.key().to_owned())
    }
    let verrou = instance()?;
    let count = Arc::<AtomicUsize>::default();
    let future = f(&verrou, Counted(Arc::clone(&count)));
    assert_eq!(count.load(Ordering::Relaxed), 0);
    assert_eq!(future.await?, "t:k");
    assert_eq!(count.load(Ordering::Relaxed), 1);
    Ok(())
}

#[tokio::test]
async fn several_keys_are_held_together_and_equal_ones_once() -> Result<()> {
    #[locked("t:<from>", "t:<to>", verrou = verrou, wait = "2s")]
    async fn transfer(verrou: &Verrou, from: u64, to: u64) -> Result<(bool, bool)> {
        Ok((is_held(verrou, from), is_held(verrou, to)))
    }
    let verrou = instance()?;
    assert_eq!(transfer(&verrou, 1, 2).await?, (true, true));
    assert_eq!(transfer(&verrou, 3, 3).await?, (true, true));
    assert!([1, 2, 3].iter().all(|id| !is_held(&verrou, *id)));
    Ok(())
}

#[tokio::test]
async fn on_busy_answers_instead_of_the_error() -> Result<()> {
    #[locked("t", verrou = verrou, wait = never, on_busy = Ok(format!("{what} is busy")))]
    async fn value(verrou: &Verrou, what: String) -> Result<String> {
        Ok(what)
    }
    #[locked("t", verrou = verrou, wait = never, on_busy = skip)]
    async fn option(verrou: &Verrou) -> Result<Option<u8>> {
        Ok(Some(1))
    }
    #[locked("t", verrou = verrou, wait = never, on_busy = skip)]
    async fn unit(verrou: &Verrou, journal: &Journal) -> Result<()> {
        journal.note("ran");
        Ok(())
    }
    #[locked("t", verrou = verrou)]
    async fn holder(verrou: &Verrou, journal: &Journal) -> Result<()> {
        let (verrou, journal) = (verrou.clone(), journal.clone());
        let other = tokio::spawn(async move {
            assert_eq!(value(&verrou, "it".into()).await?, "it is busy");
            assert_eq!(option(&verrou).await?, None);
            unit(&verrou, &journal).await
        });
        other.await.expect("no panic")
    }
    let (verrou, journal) = (instance()?, Journal::default());
    holder(&verrou, &journal).await?;
    assert_eq!(journal.entries(), [""; 0]);
    assert_eq!(value(&verrou, "it".into()).await?, "it");
    assert_eq!(option(&verrou).await?, Some(1));
    unit(&verrou, &journal).await?;
    assert_eq!(journal.entries(), ["ran"]);
    Ok(())
}

#[tokio::test]
async fn on_busy_does_not_hide_other_errors() -> Result<()> {
    #[locked("t", verrou = verrou, store = "elsewhere", on_busy = skip)]
    async fn f(verrou: &Verrou) -> Result<()> {
        Ok(())
    }
    let answer = f(&instance()?).await;
    assert!(
        matches!(answer, Err(Error::UnknownStore { .. })),
        "{answer:?}"
    );
    Ok(())
}

#[tokio::test]
async fn when_false_the_body_runs_without_the_lock() -> Result<()> {
    #[locked("t:<id>", verrou = verrou, when = *id > 0)]
    async fn f(verrou: &Verrou, id: &u64) -> Result<bool> {
        Ok(is_held(verrou, *id))
    }
    let verrou = instance()?;
    assert!(f(&verrou, &1).await?);
    assert!(!f(&verrou, &0).await?);
    Ok(())
}

#[tokio::test]
async fn the_body_sees_its_guard() -> Result<()> {
    #[locked("t", verrou = verrou, guard = lock)]
    async fn f(verrou: &Verrou) -> Result<u64> {
        let lock: &LockGuard = lock;
        assert!(lock.is_held());
        lock.check()?;
        Ok(lock.token().get())
    }
    assert!(f(&instance()?).await? > 0);
    Ok(())
}

/// Notes at its drop whether `t:1` was held then.
struct Watched {
    name: &'static str,
    verrou: Verrou,
    journal: Journal,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let state = if is_held(&self.verrou, 1) {
            "held"
        } else {
            "free"
        };
        self.journal.note(format!("{}: {state}", self.name));
    }
}

#[tokio::test]
async fn what_the_body_names_drops_before_the_release() -> Result<()> {
    struct Two {
        a: Watched,
        _b: Watched,
    }
    struct Service(Watched);
    impl Service {
        #[locked("t:1", verrou = verrou)]
        #[expect(unused_variables, reason = "the case")]
        async fn f(
            self,
            verrou: &Verrou,
            two: Two,
            (left, right): (Watched, Watched),
            unused: Watched,
            _: Watched,
        ) -> Result<()> {
            let _local = left;
            assert_eq!((two.a.name, self.0.name), ("two.a", "self"));
            Ok(())
        }
    }
    let (verrou, journal) = (instance()?, Journal::default());
    let watched = |name| Watched {
        name,
        verrou: verrou.clone(),
        journal: journal.clone(),
    };
    let two = Two {
        a: watched("two.a"),
        _b: watched("two.b"),
    };
    let pair = (watched("left"), watched("right"));
    let service = Service(watched("self"));
    service
        .f(&verrou, two, pair, watched("unused"), watched("wild"))
        .await?;
    let mut entries = journal.entries();
    entries.sort();
    let expected = [
        "left: held",
        "right: free",
        "self: held",
        "two.a: held",
        "two.b: held",
        "unused: free",
        "wild: free",
    ];
    assert_eq!(entries, expected);
    Ok(())
}

#[tokio::test]
async fn a_cancelled_call_drops_its_body_before_the_guard() -> Result<()> {
    #[locked("t:1", verrou = verrou)]
    async fn f(verrou: &Verrou, argument: Watched) -> Result<()> {
        let _local = argument;
        std::future::pending().await
    }
    let (verrou, journal) = (instance()?, Journal::default());
    let argument = Watched {
        name: "local",
        verrou: verrou.clone(),
        journal: journal.clone(),
    };
    let cancelled = tokio::time::timeout(Duration::from_millis(50), f(&verrou, argument)).await;
    assert!(cancelled.is_err());
    assert_eq!(journal.entries(), ["local: held"]);
    Ok(())
}

#[tokio::test]
async fn return_question_mark_and_panic_release_the_lock() -> Result<()> {
    #[locked("t", verrou = verrou, wait = "10s")]
    async fn f(verrou: &Verrou, how: u8) -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
        match how {
            0 => return Ok(0),
            1 => Err("the body's own")?,
            2 => panic!("on purpose"),
            _ => {}
        }
        Ok(3)
    }
    let verrou = instance()?;
    assert!(matches!(f(&verrou, 0).await, Ok(0)));
    assert_eq!(
        f(&verrou, 1).await.map_err(|error| error.to_string()),
        Err("the body's own".into())
    );
    let panicking = tokio::spawn({
        let verrou = verrou.clone();
        async move { f(&verrou, 2).await }
    });
    assert!(panicking.await.is_err());
    assert!(matches!(f(&verrou, 3).await, Ok(3)));
    Ok(())
}

#[tokio::test]
async fn a_lost_lock_stops_the_body_and_is_an_error() -> Result<()> {
    #[locked("t", verrou = verrou, max_hold = "50ms")]
    async fn f(verrou: &Verrou, stopped: Arc<()>) -> Result<()> {
        let _stopped = stopped;
        std::future::pending().await
    }
    let alive = Arc::new(());
    let answer = f(&instance()?, Arc::clone(&alive)).await;
    assert!(
        matches!(&answer, Err(error) if error.is_lost()),
        "{answer:?}"
    );
    assert_eq!(Arc::strong_count(&alive), 1);
    Ok(())
}

#[tokio::test]
async fn a_body_that_ended_has_its_value_returned_though_the_lock_was_lost() -> Result<()> {
    #[locked("t", verrou = verrou, max_hold = "20ms", guard = guard)]
    async fn blocking(verrou: &Verrou) -> Result<&'static str> {
        while guard.is_held() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok("done")
    }
    #[locked("t", verrou = verrou, max_hold = "20ms", on_lost = continue, guard = guard)]
    async fn going_on(verrou: &Verrou) -> Result<&'static str> {
        while guard.is_held() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok("went on")
    }
    let verrou = instance()?;
    assert_eq!(blocking(&verrou).await?, "done");
    assert_eq!(going_on(&verrou).await?, "went on");
    Ok(())
}

#[tokio::test]
async fn options_may_be_expressions_of_the_arguments() -> Result<()> {
    struct Service {
        verrou: Arc<Verrou>,
        ttl: Duration,
    }
    impl Service {
        #[locked("s", verrou = self.verrou, ttl = self.ttl, wait = limit, delay = limit / 2, attempts = self.tries(), guard = g)]
        async fn f(&self, limit: Duration) -> Result<bool> {
            Ok(g.is_held())
        }

        fn tries(&self) -> u32 {
            3
        }
    }
    let service = Service {
        verrou: Arc::new(instance()?),
        ttl: Duration::from_secs(1),
    };
    assert!(service.f(Duration::from_secs(1)).await?);
    let service = Service {
        ttl: Duration::ZERO,
        ..service
    };
    let answer = service.f(Duration::from_secs(1)).await;
    assert!(
        matches!(answer, Err(Error::InvalidOption { option: "ttl", .. })),
        "{answer:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_error_of_the_users_carries_the_lock_error() -> Result<()> {
    #[derive(Debug)]
    enum Mine {
        Lock(Error),
    }
    impl From<Error> for Mine {
        fn from(error: Error) -> Self {
            Self::Lock(error)
        }
    }
    #[locked("t", verrou = verrou, store = "none")]
    async fn f(verrou: &Verrou) -> Result<(), Mine> {
        Ok(())
    }
    assert!(matches!(
        f(&instance()?).await,
        Err(Mine::Lock(Error::UnknownStore { .. }))
    ));
    Ok(())
}

#[tokio::test]
async fn under_async_trait_keys_name_arguments_patterns_and_self() -> Result<()> {
    #[async_trait::async_trait]
    trait Jobs {
        async fn run(&self, pair: (u8, u8), name: String) -> Result<String>;

        #[locked("default:<name>", verrou = self.verrou(), guard = guard)]
        async fn by_default(&mut self, mut name: String) -> Result<String> {
            name.clear();
            self.touch();
            Ok(guard.key().to_owned())
        }

        fn verrou(&self) -> &Verrou;
        fn touch(&mut self) {}
    }
    struct Service {
        tenant: Tenant,
        verrou: Verrou,
    }
    struct Tenant {
        id: u8,
    }
    #[async_trait::async_trait]
    impl Jobs for Service {
        #[locked("<self.tenant.id>:<b>:<name>", "second:<a>", verrou = self.verrou, when = self.tenant.id > 0)]
        async fn run(&self, (a, b): (u8, u8), name: String) -> Result<String> {
            drop(name);
            let held = key!("<id>:<b>:x", id = self.tenant.id, b)?;
            Ok(format!("{} {a}", held))
        }

        fn verrou(&self) -> &Verrou {
            &self.verrou
        }
    }
    let mut service = Service {
        tenant: Tenant { id: 9 },
        verrou: instance()?,
    };
    assert_eq!(service.run((1, 2), "x".into()).await?, "9:2:x 1");
    assert_eq!(service.by_default("n".into()).await?, "default:n");
    Ok(())
}

#[tokio::test]
async fn functions_that_return_a_future_are_locked_at_its_first_poll() -> Result<()> {
    #[locked("a:<id>", verrou = verrou, guard = guard)]
    #[expect(clippy::manual_async_fn, reason = "the case")]
    fn plain(verrou: Verrou, id: String) -> impl Future<Output = Result<String>> + Send {
        async move {
            drop(id);
            Ok(guard.key().to_owned())
        }
    }
    type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
    #[locked("b:<id>", verrou = verrou, guard = guard)]
    fn boxed<'a>(
        verrou: &'a Verrou,
        id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<String>> + Send + 'a>> {
        Box::pin(async move { Ok(guard.key().to_owned()) })
    }
    let verrou = instance()?;
    assert_eq!(plain(verrou.clone(), "1".into()).await?, "a:1");
    let future: Boxed<'_, Result<String>> = boxed(&verrou, "2");
    assert_eq!(future.await?, "b:2");
    Ok(())
}

#[tokio::test]
async fn a_function_can_call_itself_with_another_key() -> Result<()> {
    #[locked("t:<n>", verrou = verrou)]
    async fn down(verrou: &Verrou, n: u32) -> Result<u32> {
        if n == 0 {
            return Ok(0);
        }
        Ok(1 + Box::pin(down(verrou, n - 1)).await?)
    }
    assert_eq!(down(&instance()?, 4).await?, 4);
    Ok(())
}

mod shapes;

mod injective {
    //! Different values never make one key, whatever separates them.

    use proptest::prelude::*;
    use verrou::key;

    proptest! {
        #[test]
        fn one_separator(a in ".+", b in ".+", c in ".+", d in ".+") {
            prop_assert_eq!(key!("t:<a>:<b>", a, b).ok() == key!("t:<a>:<b>", a = c, b = d).ok(), (a, b) == (c, d));
        }

        /// Values of the characters that matter: the separators, the escape, what an escape is made of.
        #[test]
        fn awkward_separators(
            a in "[-._~%:/25aF]{1,4}", b in "[-._~%:/25aF]{1,4}",
            c in "[-._~%:/25aF]{1,4}", d in "[-._~%:/25aF]{1,4}",
        ) {
            let same = (&a, &b) == (&c, &d);
            prop_assert_eq!(key!("<a>:<b>", a, b).ok() == key!("<a>:<b>", a = c, b = d).ok(), same);
            prop_assert_eq!(key!("a<a>-/2<b>", a, b).ok() == key!("a<a>-/2<b>", a = c, b = d).ok(), same);
            prop_assert_eq!(key!("<a>>><b>25", a, b).ok() == key!("<a>>><b>25", a = c, b = d).ok(), same);
        }

        #[test]
        fn plain_values_stay_as_they_are(value in "[-A-Za-z0-9._~é\u{1f512}]+") {
            prop_assert_eq!(key!("order-<value>", value).ok(), Some(format!("order-{value}")));
        }
    }
}
