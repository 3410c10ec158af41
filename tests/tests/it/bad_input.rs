//! What cannot work is refused when an instance is built, with the name of the thing and the way out.

use std::time::Duration;

use verrou::drivers::MemoryStore;
use verrou::{Error, LockOptions, Retry, SerializedLock, Verrou, VerrouBuilder};

const SECOND: Duration = Duration::from_secs(1);

fn one_store() -> VerrouBuilder {
    Verrou::builder().store("jobs", MemoryStore::new())
}

/// The variant, with the option if there is one.
fn variant(error: &Error) -> String {
    match error {
        Error::Config { .. } => "Config".to_owned(),
        Error::InvalidOption { option, .. } => format!("InvalidOption {option}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_builder_refuses_what_cannot_work_and_says_why() {
    let options = |options| one_store().options(options);
    let new = LockOptions::new;
    for (builder, kind, phrases) in [
        (Verrou::builder(), "Config", ["has no store", ".store("]),
        (
            one_store().store("jobs", MemoryStore::new()),
            "Config",
            ["two stores", "`jobs`"],
        ),
        (
            Verrou::builder().store("", MemoryStore::new()),
            "Config",
            ["name of a store", "empty"],
        ),
        (
            one_store().default_store("cache"),
            "Config",
            ["default store `cache` is not registered", "`jobs`"],
        ),
        (
            one_store().namespace("a:b"),
            "InvalidOption namespace",
            ["only the characters", "A-Z a-z 0-9 . _ -"],
        ),
        (
            one_store().namespace("n".repeat(65)),
            "InvalidOption namespace",
            ["longer than", "64 bytes"],
        ),
        (
            one_store().holder("h".repeat(256)),
            "InvalidOption holder",
            ["longer than", "255 bytes"],
        ),
        (
            one_store().holder("a\0b"),
            "InvalidOption holder",
            ["NUL", "holder"],
        ),
        (
            one_store().request_timeout(Duration::ZERO),
            "InvalidOption request_timeout",
            ["1 ms", "request_timeout"],
        ),
        (
            options(new().ttl(Duration::ZERO)),
            "InvalidOption ttl",
            ["0ns", "10 ms to 10 years"],
        ),
        (
            options(new().ttl(Duration::MAX)),
            "InvalidOption ttl",
            ["10 ms to 10 years", "renewal"],
        ),
        (
            options(new().attempts(0)),
            "InvalidOption attempts",
            ["0 attempts", "at least 1"],
        ),
        (
            options(new().ttl(SECOND).min_hold(2 * SECOND)),
            "InvalidOption min_hold",
            ["longer than the ttl", "raise the ttl"],
        ),
        (
            options(new().max_hold(Duration::from_millis(1))),
            "InvalidOption max_hold",
            ["1ms", "shorter than 10 ms"],
        ),
        (
            options(new().min_hold(2 * SECOND).max_hold(SECOND)),
            "InvalidOption max_hold",
            ["shorter than the min_hold", "2s"],
        ),
        (
            options(new().delay(Duration::ZERO)),
            "InvalidOption retry",
            ["flood the store", "at least 1 ms"],
        ),
        (
            options(new().retry(Retry::new().delays(2 * SECOND, SECOND))),
            "InvalidOption retry",
            ["max_delay", "min_delay"],
        ),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(variant(&error), kind, "{error}");
        let text = error.to_string();
        for phrase in phrases {
            assert!(text.contains(phrase), "`{phrase}` is not in: {text}");
        }
        assert!(!error.is_busy() && !error.is_lost() && !error.is_store());
    }
    one_store().holder("h".repeat(255)).build().unwrap();
    one_store().namespace("n".repeat(64)).build().unwrap();
}

#[test]
fn an_unknown_store_is_told_the_known_ones() {
    let verrou = one_store()
        .store("cache", MemoryStore::new())
        .build()
        .unwrap();
    let error = verrou.store("job").unwrap_err();
    assert!(matches!(&error, Error::UnknownStore { name, .. } if name == "job"));
    assert!(
        error.to_string().ends_with("known: `jobs`, `cache`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_foreign_text_of_a_lock_cannot_write_to_the_terminal() {
    let other = Verrou::builder()
        .store("\x1b[2J\n", MemoryStore::new())
        .build()
        .unwrap();
    let guard = other.create_lock("k").acquire().await.unwrap();
    let text = guard.into_serialized().unwrap().expose();
    let serialized: SerializedLock = text.parse().unwrap();
    let verrou = one_store().build().unwrap();
    for error in [
        verrou.restore_lock(&serialized).await.unwrap_err(),
        verrou
            .store("jobs")
            .unwrap()
            .restore_lock(&serialized)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::InvalidSerialized { .. }));
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains(['\x1b', '\n']), "{text:?}");
        }
    }
}
