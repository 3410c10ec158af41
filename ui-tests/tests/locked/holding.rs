//! From when to when the lock is held, and what drops in between.

use std::time::Duration;

use verrou::drivers::MemoryStore;
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, Verrou, locked};

use crate::{Journal, Result, Watched, instance, is_held};

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
async fn what_the_body_names_drops_before_the_release_in_the_order_of_a_plain_function()
-> Result<()> {
    struct Two {
        a: Watched,
        _b: Watched,
    }
    struct Service(Watched);
    macro_rules! function {
        ($name:ident $(, $key:literal)?) => {
            impl Service {
                $(#[locked($key, verrou = verrou)])?
                #[expect(unused_variables, reason = "the case")]
                async fn $name(
                    self,
                    verrou: &Verrou,
                    two: Two,
                    (left, right, rest): (Watched, Watched, Watched),
                    last: Watched,
                    unused: Watched,
                    _: Watched,
                ) -> Result<()> {
                    let _first = left;
                    // Named in another order than they are given in.
                    assert_eq!((self.0.name, two.a.name), ("self", "two.a"));
                    assert_eq!((right.name, last.name), ("right", "last"));
                    Ok(())
                }
            }
        };
    }
    function!(plain);
    function!(locked, "t:1");
    let verrou = instance()?;
    let drops = async |is_locked: bool| {
        let journal = Journal::default();
        let watched = |name| Watched {
            name,
            verrou: verrou.clone(),
            journal: journal.clone(),
        };
        let two = Two {
            a: watched("two.a"),
            _b: watched("two.b"),
        };
        let three = (watched("left"), watched("right"), watched("rest"));
        let service = Service(watched("self"));
        let (last, unused, wild) = (watched("last"), watched("unused"), watched("wild"));
        if is_locked {
            service
                .locked(&verrou, two, three, last, unused, wild)
                .await?;
        } else {
            service
                .plain(&verrou, two, three, last, unused, wild)
                .await?;
        }
        Ok::<_, Error>(journal.entries())
    };
    let expected = [
        "left: held",
        "last: held",
        "right: held",
        "two.a: held",
        "two.b: held",
        "self: held",
        "wild: free",
        "unused: free",
        "rest: free",
    ];
    assert_eq!(drops(true).await?, expected);
    // Without a lock those that the body does not name stand between the others.
    let named = |entry: &String| {
        let names = ["left", "last", "right", "two.a", "two.b", "self"];
        entry
            .split_once(':')
            .is_some_and(|(name, _)| names.contains(&name))
    };
    let mut plain = drops(false).await?;
    plain.retain(named);
    assert_eq!(
        plain,
        expected[..6]
            .iter()
            .map(|entry| entry.replace("held", "free"))
            .collect::<Vec<_>>()
    );
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
    assert!(!is_held(&verrou, 1));
    Ok(())
}

/// A store that needs a while for a release, as one behind a network does.
fn slow_to_release() -> Result<(FaultStore<MemoryStore>, Verrou)> {
    let faults = FaultStore::new(MemoryStore::new()).with_io();
    faults
        .on(Op::Release)
        .delay_before(Duration::from_millis(100));
    let verrou = Verrou::builder().store("slow", faults.clone()).build()?;
    Ok((faults, verrou))
}

#[tokio::test]
async fn the_lock_is_released_before_the_caller_goes_on_however_the_body_ends() -> Result<()> {
    #[locked("t", verrou = verrou, wait = never)]
    async fn f(verrou: &Verrou, how: u8) -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
        let value = 'block: {
            match how {
                0 => return Ok(0),
                1 => Err("the body's own")?,
                2 => break 'block 2,
                3 => Err(Error::NotInitialized)?,
                _ => {}
            }
            how
        };
        Ok(value)
    }
    let (faults, verrou) = slow_to_release()?;
    for how in 0..5 {
        let answer = f(&verrou, how).await.map_err(|error| error.to_string());
        // The store has answered the release, and the next call is not told that the key is busy.
        assert_eq!(faults.in_flight(Op::Release), 0);
        assert_eq!(faults.calls(Op::Release), usize::from(how) + 1);
        match how {
            1 => assert_eq!(answer, Err("the body's own".to_owned())),
            3 => assert_eq!(answer, Err(Error::NotInitialized.to_string())),
            how => assert_eq!(answer, Ok(how)),
        }
    }
    Ok(())
}

/// A panic is not held up by the store: the release is begun, and who comes next in this process waits for it.
#[tokio::test]
async fn a_panic_releases_the_lock_at_once() -> Result<()> {
    #[locked("t:1", verrou = verrou, wait = "20s")]
    async fn f(verrou: Verrou, panics: bool) -> Result<&'static str> {
        assert!(!panics, "on purpose");
        Ok("ran")
    }
    let verrou = instance()?;
    assert!(tokio::spawn(f(verrou.clone(), true)).await.is_err());
    assert!(!is_held(&verrou, 1));
    let (faults, verrou) = slow_to_release()?;
    assert!(tokio::spawn(f(verrou.clone(), true)).await.is_err());
    assert_eq!(f(verrou, false).await?, "ran");
    assert_eq!(
        (faults.calls(Op::Acquire), faults.calls(Op::Release)),
        (2, 2)
    );
    Ok(())
}

#[tokio::test]
async fn the_result_of_the_body_wins_over_a_failed_release() -> Result<()> {
    #[locked("t", verrou = verrou)]
    async fn f(verrou: &Verrou) -> Result<&'static str> {
        Ok("done")
    }
    let faults = FaultStore::new(MemoryStore::new()).with_io();
    faults.on(Op::Release).times(1).fail_before();
    let verrou = Verrou::builder().store("memory", faults.clone()).build()?;
    assert_eq!(f(&verrou).await?, "done");
    assert!(faults.calls(Op::Release) >= 1);
    Ok(())
}

#[tokio::test]
async fn the_body_does_not_run_without_its_lock() -> Result<()> {
    #[locked("t", verrou = verrou, wait = never, on_busy = skip)]
    async fn f(verrou: &Verrou) -> Result<()> {
        unreachable!("the body ran")
    }
    let faults = FaultStore::new(MemoryStore::new());
    let verrou = Verrou::builder().store("memory", faults.clone()).build()?;
    faults.on(Op::Acquire).times(1).fail_before();
    assert!(matches!(f(&verrou).await, Err(Error::Store { .. })));
    faults.on(Op::Acquire).times(1).fail_after();
    assert!(matches!(f(&verrou).await, Err(Error::Store { .. })));
    faults.clear();
    let closed = instance()?;
    closed.shutdown().await?;
    assert!(matches!(f(&closed).await, Err(Error::ShutDown)));
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_dropped_before_its_first_poll_has_done_nothing() -> Result<()> {
    #[locked("t", verrou = verrou)]
    async fn f(verrou: &Verrou, journal: &Journal) -> Result<()> {
        journal.note("body");
        Ok(())
    }
    let faults = FaultStore::new(MemoryStore::new());
    let verrou = Verrou::builder().store("memory", faults.clone()).build()?;
    let journal = Journal::default();
    drop(f(&verrou, &journal));
    assert_eq!(journal.entries(), [""; 0]);
    assert_eq!(faults.calls(Op::Acquire), 0);
    Ok(())
}

#[tokio::test]
async fn a_call_from_the_body_for_the_same_key_is_answered_at_once() -> Result<()> {
    #[locked("t:<id>", verrou = verrou, wait = forever)]
    async fn outer(verrou: &Verrou, id: u64, then: u64) -> Result<u64> {
        inner(verrou, then).await
    }
    #[locked("t:<id>", verrou = verrou, wait = forever, on_busy = Ok(0))]
    async fn inner(verrou: &Verrou, id: u64) -> Result<u64> {
        Ok(id)
    }
    let verrou = instance()?;
    assert_eq!(outer(&verrou, 1, 2).await?, 2);
    let answer = outer(&verrou, 1, 1).await;
    assert!(matches!(answer, Err(Error::Reentrant { .. })), "{answer:?}");
    assert!(!is_held(&verrou, 1));
    Ok(())
}

/// A chain that is as deep as it can be with the recursion limit that rustc has by default.
#[tokio::test]
async fn ten_locked_functions_may_call_each_other() -> Result<()> {
    macro_rules! chain {
        ($($name:ident -> $next:ident),*) => {$(
            #[locked("<n>", verrou = verrou)]
            async fn $name(verrou: &Verrou, n: u8) -> Result<u8> {
                $next(verrou, n + 1).await
            }
        )*};
    }
    chain!(a -> b, b -> c, c -> d, d -> e, e -> f, f -> g, g -> h, h -> i, i -> j, j -> last);
    #[locked("<n>", verrou = verrou)]
    async fn last(verrou: &Verrou, n: u8) -> Result<u8> {
        Ok(n)
    }
    fn sendable<T: Send>(future: T) -> T {
        future
    }
    assert_eq!(sendable(a(&instance()?, 0)).await?, 10);
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
