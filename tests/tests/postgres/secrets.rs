//! No password, URL or owner in anything that is shown. What is logged is seen by the binary `secrets`.

use std::error::Error as _;
use std::fmt::Debug;

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

#[tokio::test]
async fn nothing_that_is_shown_has_a_secret() {
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
}
