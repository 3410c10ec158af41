//! No password, URL or owner in anything that is shown.

use std::error::Error as _;
use std::fmt::Debug;
use std::sync::Mutex;

use tests::servers::postgres::{PASSWORD, PASSWORD_IN_URL, PostgresServer};
use verrou::LockFactory;
use verrou::drivers::PostgresStore;

use crate::{execute, shown};

/// Fails if the `Debug` of `value` shows a secret.
pub(crate) fn has_no_secret(value: &(impl Debug + ?Sized)) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        is_clean(&text);
    }
}

fn is_clean(text: &str) {
    for secret in [
        PASSWORD,
        PASSWORD_IN_URL,
        "s3cret",
        "@127.0.0.1",
        "@localhost",
    ] {
        assert!(!text.contains(secret), "`{text}` shows `{secret}`");
    }
}

/// Fails if any text of `error` and its causes shows a secret or one of `owners`.
fn error_is_clean(error: &verrou::Error, owners: &[String]) {
    has_no_secret(error);
    let mut texts = vec![error.to_string(), format!("{error:?}")];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.extend([
            error.to_string(),
            format!("{error:?}"),
            format!("{error:#?}"),
        ]);
        cause = error.source();
    }
    for text in texts {
        is_clean(&text);
        for owner in owners {
            assert!(
                !text.to_lowercase().contains(owner),
                "`{text}` shows an owner"
            );
        }
    }
}

/// Every event and span of this process, at every level.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Recorder;

struct Fields<'a>(&'a mut String);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

fn record(name: &str, fields: impl FnOnce(&mut Fields<'_>)) {
    let mut text = name.to_owned();
    fields(&mut Fields(&mut text));
    LOG.lock().unwrap().push(text);
}

impl tracing::Subscriber for Recorder {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        record(span.metadata().name(), |fields| span.record(fields));
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        record("record", |fields| values.record(fields));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        record(event.metadata().target(), |fields| event.record(fields));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn nothing_that_is_shown_has_a_secret() {
    // Other tests of this process record as well: the more the better.
    let _ = tracing::subscriber::set_global_default(Recorder);
    let mut all_owners = Vec::new();
    let url = PostgresServer::shared().url();
    let mut admin = crate::connection(&url).await;
    for simple in [false, true] {
        let table = if simple { "secret_simple" } else { "secret" };
        let builder = PostgresStore::builder(&url).table(table).listen_url(&url);
        let builder = if simple {
            builder.transaction_pooler()
        } else {
            builder
        };
        has_no_secret(&builder);
        let store = shown(builder.connect().await);
        has_no_secret(&store);
        let locks = LockFactory::new(store);
        has_no_secret(&locks);
        let guard = shown(locks.create_lock("k").acquire().await);
        has_no_secret(&guard);
        let owner = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(format!(
            "SELECT encode(owner, 'hex') FROM {table}"
        )));
        let owners = vec![owner.fetch_one(&mut admin).await.unwrap()];
        assert_eq!(owners[0].len(), 32);

        // An error whose detail quotes the row, owner and all.
        execute(
            &mut admin,
            format!("ALTER TABLE {table} ADD CONSTRAINT c CHECK (expiry = 0) NOT VALID"),
        )
        .await;
        let error = guard
            .extend(std::time::Duration::from_secs(3600))
            .await
            .unwrap_err();
        assert!(error.is_store(), "{error:?}");
        error_is_clean(&error, &owners);
        execute(&mut admin, format!("ALTER TABLE {table} DROP CONSTRAINT c")).await;
        shown(guard.release().await);
        execute(&mut admin, format!("DROP TABLE {table}")).await;
        error_is_clean(
            &locks.create_lock("k").acquire().await.unwrap_err(),
            &owners,
        );
        all_owners.extend(owners);
    }
    let wrong = PostgresServer::shared().url_of("nobody_s", "postgres");
    error_is_clean(
        &PostgresStore::connect(&wrong).await.unwrap_err(),
        &all_owners,
    );
    let log = std::mem::take(&mut *LOG.lock().unwrap());
    assert!(!log.is_empty());
    for line in log {
        is_clean(&line);
        for owner in &all_owners {
            assert!(!line.contains(owner), "`{line}` shows an owner");
        }
    }
}
