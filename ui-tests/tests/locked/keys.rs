//! Which keys the templates make, and when.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use verrou::drivers::MemoryStore;
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, Verrou, key, locked};

use crate::{Journal, Result, instance, is_held};

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

/// The examples of the page `docs::keys`: the template, the values as they are written there, and the key.
fn examples() -> Result<Vec<[String; 3]>> {
    let mut examples = Vec::new();
    macro_rules! example {
        ($template:literal $(, $name:ident = $value:expr)*) => {{
            let values: Vec<String> = vec![$(format!("{} = {}", stringify!($name), stringify!($value))),*];
            examples.push([$template.to_owned(), values.join(", "), key!($template $(, $name = $value)*)?]);
        }};
    }
    example!("nightly");
    example!("transfer:<from>", from = 7);
    example!("seat:<row>:<number>", row = "a:b", number = 7);
    example!("t:<a>:<b>", a = "x:y", b = "z");
    example!("t:<a>:<b>", a = "x", b = "y:z");
    example!("t:<a>:<a>", a = "x");
    example!("order-<id>", id = "67e55044-10b1-426f-9247-bb680e5fe0c8");
    example!("<point.0>/<point.1>", point = (3, "a/b"));
    example!("<<t>>:<a>", a = 1);
    example!("{a} 100%:<a>", a = "100%");
    example!("t:<a>", a = "two words");
    example!("t:<a>", a = "-._~");
    example!("t:<a>", a = "a+b@c.de");
    example!("t:<a>", a = "line\n");
    example!("t:<a>", a = "\0");
    example!("t:<a>", a = "café 🔒");
    example!("t:<a>", a = -1.5);
    example!("t:<a>", a = true);
    example!("t:<a>", a = '%');
    example!("t:<a>", a = u128::MAX);
    example!("ip:<a>", a = std::net::Ipv6Addr::LOCALHOST);
    example!("<type>", type = "x");
    Ok(examples)
}

/// Keys are on the wire: a change here is a breaking one.
#[test]
fn the_examples_of_the_page_are_what_is_rendered() -> Result<()> {
    let page = include_str!("../../../verrou/src/docs/keys.md");
    let written: Vec<[String; 3]> = page
        .lines()
        .skip_while(|line| *line != "| template | values | key |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|row| {
            let mut cells = row
                .split('|')
                .skip(1)
                .map(|cell| cell.trim().trim_matches('`').to_owned());
            std::array::from_fn(|_| cells.next().unwrap_or_default())
        })
        .collect();
    assert_eq!(written, examples()?);
    assert!(written.len() > 20);
    Ok(())
}

#[test]
fn a_value_is_evaluated_and_written_once() -> Result<()> {
    struct Counted(AtomicUsize);
    impl Display for Counted {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{}", self.0.fetch_add(1, Ordering::Relaxed))
        }
    }
    let (evaluated, counted) = (AtomicUsize::new(0), Counted(AtomicUsize::new(0)));
    let value = || {
        evaluated.fetch_add(1, Ordering::Relaxed);
        &counted
    };
    assert_eq!(key!("t:<a>:<b>", a = value(), b = 1)?, "t:0:1");
    assert_eq!(evaluated.load(Ordering::Relaxed), 1);
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_too_long_is_an_invalid_key() -> Result<()> {
    #[locked("t:<name>", verrou = verrou)]
    async fn f(verrou: &Verrou, name: &str) -> Result<()> {
        Ok(())
    }
    let verrou = instance()?;
    f(&verrou, &"x".repeat(510)).await?;
    for too_long in ["x".repeat(511), ":".repeat(171)] {
        let answer = f(&verrou, &too_long).await;
        assert!(
            matches!(answer, Err(Error::InvalidKey { .. })),
            "{answer:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn locks_are_taken_in_one_order_whatever_the_templates() -> Result<()> {
    #[locked("t:<a>", "t:<b>", "s:<b>", verrou = verrou, guard = guard)]
    async fn f(verrou: &Verrou, a: u64, b: u64) -> Result<Vec<String>> {
        Ok(guard.keys().map(str::to_owned).collect())
    }
    let asked = Journal::default();
    let faults = FaultStore::new(MemoryStore::new());
    let journal = asked.clone();
    // A rule that fits no call, and so is asked about every one: the keys that are taken, then those that are released.
    let asking = faults.on(Op::Acquire).when(move |key| {
        journal.note(key.key());
        false
    });
    asking.fail_before();
    let verrou = Verrou::builder().store("memory", faults).build()?;
    let mut before = 0;
    for (a, b, expected) in [
        (1, 2, &["s:2", "t:1", "t:2"][..]),
        (2, 1, &["s:1", "t:1", "t:2"]),
        (2, 2, &["s:2", "t:2"]),
    ] {
        let held = f(&verrou, a, b).await?;
        let all = asked.entries();
        assert_eq!(all[before..][..expected.len()], *expected);
        assert_eq!(held, expected);
        before = all.len();
    }
    Ok(())
}
