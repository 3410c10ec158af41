//! Every option of `#[locked]`, run. `crate` is in `ui-tests/crates`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use verrou::drivers::MemoryStore;
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, LockGuard, LockOptions, Verrou, key, locked};

use crate::{Journal, Result, instance, is_held};

/// Waits for `condition` with a deadline far above what is promised.
async fn until<F: Future<Output = Result<bool>>>(condition: impl Fn() -> F) -> Result<()> {
    let start = Instant::now();
    while !condition().await? {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test]
async fn store_names_where_the_lock_is_kept() -> Result<()> {
    #[locked("t", verrou = verrou, store = "second")]
    async fn f(verrou: &Verrou) -> Result<(bool, bool)> {
        let first = verrou.store("first")?.create_lock("t").is_locked().await?;
        let second = verrou.store("second")?.create_lock("t").is_locked().await?;
        Ok((first, second))
    }
    let verrou = Verrou::builder()
        .store("first", MemoryStore::new())
        .store("second", MemoryStore::new())
        .build()?;
    assert_eq!(f(&verrou).await?, (false, true));
    Ok(())
}

#[tokio::test]
async fn ttl_is_the_length_of_the_lease() -> Result<()> {
    #[locked("t", verrou = verrou, ttl = "1m", guard = guard)]
    async fn literal(verrou: &Verrou) -> Result<Duration> {
        Ok(guard.remaining())
    }
    #[locked("t", verrou = verrou, ttl = Duration::from_secs(hours * 3600), guard = guard)]
    async fn expression(verrou: &Verrou, hours: u64) -> Result<Duration> {
        Ok(guard.remaining())
    }
    let verrou = instance()?;
    let minute = literal(&verrou).await?;
    assert!(
        minute > Duration::from_secs(30) && minute <= Duration::from_secs(60),
        "{minute:?}"
    );
    let hours = expression(&verrou, 2).await?;
    assert!(
        hours > Duration::from_secs(6000) && hours <= Duration::from_secs(7200),
        "{hours:?}"
    );
    Ok(())
}

#[tokio::test]
async fn wait_is_how_long_a_call_waits_for_somebody_else() -> Result<()> {
    #[locked("t", verrou = verrou, wait = never)]
    async fn never(verrou: &Verrou) -> Result<()> {
        Ok(())
    }
    #[locked("t", verrou = verrou, wait = "20ms")]
    async fn literal(verrou: &Verrou) -> Result<()> {
        Ok(())
    }
    #[locked("t", verrou = verrou, wait = patience)]
    async fn expression(verrou: &Verrou, patience: Duration) -> Result<()> {
        Ok(())
    }
    #[locked("t", verrou = verrou, wait = forever)]
    async fn forever(verrou: &Verrou) -> Result<&'static str> {
        Ok("ran")
    }
    // Less than it takes to get the lock below, if `forever` did not override it.
    let impatient = LockOptions::new().wait(verrou::Wait::Never);
    let verrou = Verrou::builder()
        .store("memory", MemoryStore::new())
        .options(impatient)
        .build()?;
    let guard = verrou.create_lock("t").acquire().await?;
    assert!(matches!(never(&verrou).await, Err(Error::Busy { .. })));
    assert!(matches!(literal(&verrou).await, Err(Error::Timeout { .. })));
    let patience = Duration::from_millis(1);
    assert!(matches!(
        expression(&verrou, patience).await,
        Err(Error::Timeout { .. })
    ));
    let mut waiting = Box::pin(forever(&verrou));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut waiting)
            .await
            .is_err()
    );
    guard.release().await?;
    assert_eq!(waiting.await?, "ran");
    Ok(())
}

#[tokio::test]
async fn min_hold_keeps_the_key_taken_after_the_call() -> Result<()> {
    #[locked("t", verrou = verrou, min_hold = "300ms")]
    async fn f(verrou: &Verrou) -> Result<Instant> {
        Ok(Instant::now())
    }
    let verrou = instance()?;
    let began = f(&verrou).await?;
    assert!(verrou.create_lock("t").is_locked().await?);
    let lock = verrou.create_lock("t");
    until(async || Ok(!lock.is_locked().await?)).await?;
    // The grant came before the body began.
    assert!(
        began.elapsed() >= Duration::from_millis(200),
        "{:?}",
        began.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn renew_false_ends_with_the_first_lease() -> Result<()> {
    #[locked("t", verrou = verrou, ttl = "100ms", renew = false)]
    async fn fixed(verrou: &Verrou) -> Result<()> {
        std::future::pending().await
    }
    #[locked("t", verrou = verrou, ttl = "1s", renew = renew, guard = guard)]
    async fn renewed(verrou: &Verrou, renew: bool) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        guard.check()
    }
    let verrou = instance()?;
    assert!(matches!(fixed(&verrou).await, Err(Error::Lost { .. })));
    renewed(&verrou, true).await
}

#[tokio::test]
async fn attempts_bounds_how_often_the_store_is_asked() -> Result<()> {
    #[locked("t", verrou = verrou, attempts = 3, delay = "1ms", wait = forever)]
    async fn literal(verrou: &Verrou) -> Result<()> {
        Ok(())
    }
    #[locked("t", verrou = verrou, attempts = tries, wait = forever)]
    async fn expression(verrou: &Verrou, tries: u32) -> Result<()> {
        Ok(())
    }
    let faults = FaultStore::new(MemoryStore::new());
    let build = || Verrou::builder().store("memory", faults.clone()).build();
    // Another instance is as another process: within one, the queue alone would answer.
    let (holder, verrou) = (build()?, build()?);
    let guard = holder.create_lock("t").acquire().await?;
    for (call, expected) in [(3, 3), (1, 1)] {
        let before = faults.calls(Op::Acquire);
        let answer = match call {
            3 => literal(&verrou).await,
            tries => expression(&verrou, tries).await,
        };
        assert!(
            matches!(&answer, Err(error) if error.is_busy()),
            "{answer:?}"
        );
        assert_eq!(faults.calls(Op::Acquire) - before, expected);
    }
    guard.release().await
}

#[tokio::test]
async fn delay_is_the_time_between_attempts() -> Result<()> {
    #[locked("t", verrou = verrou, attempts = 3, delay = "400ms")]
    async fn literal(verrou: &Verrou) -> Result<()> {
        Ok(())
    }
    #[locked("t", verrou = verrou, attempts = 3, delay = delay)]
    async fn expression(verrou: &Verrou, delay: Duration) -> Result<()> {
        Ok(())
    }
    let store = MemoryStore::new();
    let build = || Verrou::builder().store("memory", store.clone()).build();
    let (holder, verrou) = (build()?, build()?);
    let guard = holder.create_lock("t").acquire().await?;
    let start = Instant::now();
    assert!(literal(&verrou).await.is_err_and(|error| error.is_busy()));
    // The first pause is short in any case; the second would be 10 ms without the option.
    assert!(
        start.elapsed() >= Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
    let start = Instant::now();
    let delay = Duration::from_millis(400);
    assert!(
        expression(&verrou, delay)
            .await
            .is_err_and(|error| error.is_busy())
    );
    assert!(
        start.elapsed() >= Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
    guard.release().await
}

#[tokio::test]
async fn expressions_are_evaluated_once_and_not_before_the_first_poll() -> Result<()> {
    #[locked(
        "t",
        ttl = noted(journal, "ttl", Duration::from_secs(9)),
        wait = noted(journal, "wait", Duration::from_secs(9)),
        max_hold = noted(journal, "max_hold", Duration::from_secs(9)),
        min_hold = noted(journal, "min_hold", Duration::ZERO),
        renew = noted(journal, "renew", true),
        attempts = noted(journal, "attempts", 9),
        delay = noted(journal, "delay", Duration::from_millis(9)),
        when = noted(journal, "when", true),
        on_busy = noted(journal, "on_busy", Ok(())),
        verrou = noted(journal, "verrou", verrou),
    )]
    async fn f(verrou: &Verrou, journal: &Journal) -> Result<()> {
        journal.note("body");
        Ok(())
    }
    fn noted<T>(journal: &Journal, name: &str, value: T) -> T {
        journal.note(name);
        value
    }
    let (verrou, journal) = (instance()?, Journal::default());
    let future = f(&verrou, &journal);
    assert_eq!(journal.entries(), [""; 0]);
    future.await?;
    let mut entries = journal.entries();
    assert_eq!(entries.pop().as_deref(), Some("body"));
    entries.sort();
    let expected = [
        "attempts", "delay", "max_hold", "min_hold", "renew", "ttl", "verrou", "wait", "when",
    ];
    assert_eq!(entries, expected);
    Ok(())
}

#[tokio::test]
async fn on_busy_is_evaluated_once_and_only_when_it_is_needed() -> Result<()> {
    #[locked("t", verrou = verrou, wait = never, on_busy = Ok(count.fetch_add(1, Ordering::Relaxed)))]
    async fn f(verrou: &Verrou, count: &AtomicU32) -> Result<u32> {
        Ok(100)
    }
    let (verrou, count) = (instance()?, AtomicU32::new(0));
    assert_eq!(f(&verrou, &count).await?, 100);
    assert_eq!(count.load(Ordering::Relaxed), 0);
    let guard = verrou.create_lock("t").acquire().await?;
    assert_eq!(f(&verrou, &count).await?, 0);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    guard.release().await
}

#[tokio::test]
async fn verrou_takes_an_instance_in_any_form() -> Result<()> {
    #[locked("t", verrou = verrou)]
    async fn by_reference(verrou: &Verrou) -> Result<bool> {
        verrou.create_lock("t").is_locked().await
    }
    #[locked("t", verrou = verrou)]
    async fn by_value(verrou: Verrou) -> Result<bool> {
        verrou.create_lock("t").is_locked().await
    }
    #[locked("t", verrou = verrou)]
    async fn counted(verrou: Arc<Verrou>) -> Result<bool> {
        verrou.create_lock("t").is_locked().await
    }
    #[locked("t", verrou = verrou::current()?)]
    async fn failing() -> Result<bool> {
        Ok(true)
    }
    let verrou = instance()?;
    assert!(by_reference(&verrou).await?);
    assert!(by_value(verrou.clone()).await?);
    assert!(counted(Arc::new(verrou)).await?);
    assert!(matches!(failing().await, Err(Error::NotInitialized)));
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
async fn under_async_trait_options_name_self() -> Result<()> {
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
