//! What is refused at connect, by which kind of error, in time, and without a word of the secrets.

use std::time::{Duration, Instant};

use tests::servers::free_port;
use tests::servers::redis::{Server, Watched, shared_url};
use verrou::drivers::{RedisStore, RedisWarning};
use verrou::{ConnectKind, Error, LockFactory};

/// In every URL of this file, as password or user.
const CANARY: &str = "hunter2";

/// Fails if any form of `error` holds a secret; the forms, for the tests that look for more.
fn forms(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(" {error} {error:?} {error:#?}"));
        source = error.source();
    }
    for secret in [CANARY, "://:", "127.0.0.1"] {
        assert!(!text.contains(secret), "`{secret}` in {text}");
    }
    text
}

async fn refused(url: &str) -> (ConnectKind, String) {
    let begun = Instant::now();
    let error = RedisStore::connect(url).await.unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_millis(2500),
        "{:?}",
        begun.elapsed()
    );
    let text = forms(&error);
    match error {
        Error::Connect {
            kind,
            driver: "redis",
            ..
        } => (kind, text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_refused() {
    for url in [
        "",
        "hunter2",
        "postgres://user:hunter2@127.0.0.1/",
        "redis:127.0.0.1",
        "redis://:hunter2@",
        "redis://:hunter2@127.0.0.1:99999/",
        "redis://:hunter2/@127.0.0.1/",
        "redis://:hunter2@127.0.0.1/hunter2",
        "redis://127.0.0.1/?password=hunter2",
        "redis://127.0.0.1/?protocol=hunter2",
        "redis://127.0.0.1/?protocol=resp3&tls=hunter2",
    ] {
        assert_eq!(refused(url).await.0, ConnectKind::Url, "{url}");
    }
    #[cfg(not(feature = "tls"))]
    assert_eq!(
        refused("rediss://:hunter2@127.0.0.1/").await.0,
        ConnectKind::Url
    );
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_unreachable() {
    let (kind, text) = refused(&format!("redis://:{CANARY}@127.0.0.1:{}/", free_port())).await;
    assert_eq!(kind, ConnectKind::Unreachable);
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unreachable() {
    let server = Server::start();
    server.freeze();
    assert_eq!(refused(&server.url()).await.0, ConnectKind::Unreachable);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    assert_eq!(
        refused(&format!("redis://127.0.0.1:{port}/")).await.0,
        ConnectKind::Unreachable
    );
}

#[tokio::test]
async fn what_is_no_redis_is_not_a_store() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        while let Ok((mut stream, _)) = other.accept() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nhunter2");
        }
    });
    let (kind, _) = refused(&format!("redis://127.0.0.1:{port}/")).await;
    assert_eq!(kind, ConnectKind::NotAStore);
}

#[tokio::test]
async fn wrong_credentials_are_told_from_missing_ones_and_right_ones_work() {
    // Every character that has a meaning in a URL, and more.
    let password = format!("{CANARY}@:/%?#[]& +\u{e9}");
    let server = Server::with(&["--save", "", "--requirepass", &password]);
    let plain = format!("127.0.0.1:{}/", server.port());
    for url in [
        format!("redis://{plain}"),
        format!("redis://:{CANARY}-wrong@{plain}"),
        format!("redis://{CANARY}:{CANARY}@{plain}"),
        format!("redis://:{CANARY}-wrong@{plain}?protocol=resp3"),
    ] {
        assert_eq!(refused(&url).await.0, ConnectKind::Credentials, "{url}");
    }
    for url in [server.url(), format!("{}?protocol=resp3", server.url())] {
        let store = RedisStore::connect(&url).await.unwrap();
        assert!(!format!("{store:?} {:?}", RedisStore::builder(&url)).contains(CANARY));
        let guard = LockFactory::new(store)
            .create_lock("k")
            .acquire()
            .await
            .unwrap();
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_a_mistake_of_the_url() {
    let (kind, _) = refused(&format!("{}12345", shared_url())).await;
    assert_eq!(kind, ConnectKind::Url);
}

#[tokio::test]
async fn a_unix_socket_is_as_good() {
    let folder = tests::Folder::new();
    let socket = folder.file("socket");
    let server = Server::with(&[
        "--save",
        "",
        "--unixsocket",
        &socket,
        "--requirepass",
        CANARY,
    ]);
    let url = format!("redis+unix://{socket}?pass={CANARY}&db=2");
    let store = RedisStore::connect(&url).await.unwrap();
    let guard = LockFactory::new(store)
        .create_lock("k")
        .acquire()
        .await
        .unwrap();
    let info: String = server.ask(&["INFO", "keyspace"]);
    assert!(info.contains("db2:"), "{info}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn databases_of_one_server_are_apart() {
    let server = Server::start();
    let one = RedisStore::connect(&server.url()).await.unwrap();
    let other = RedisStore::connect(&format!("{}1", server.url()))
        .await
        .unwrap();
    let guard = LockFactory::new(one)
        .create_lock("k")
        .try_acquire()
        .await
        .unwrap();
    let also = LockFactory::new(other)
        .create_lock("k")
        .try_acquire()
        .await
        .unwrap();
    assert!(guard.is_some() && also.is_some());
}

#[tokio::test]
async fn a_replica_is_refused_unless_allowed() {
    let watched = Watched::start();
    let url = watched.replica.url();
    assert_eq!(refused(&url).await.0, ConnectKind::ReadOnly);
    let store = RedisStore::builder(&url)
        .allow_replica(true)
        .connect()
        .await
        .unwrap();
    assert!(store.warnings().contains(&RedisWarning::Replica));
    let locks = LockFactory::new(store);
    assert!(!locks.create_lock("k").is_locked().await.unwrap());
    let error = locks.create_lock("k").acquire().await.unwrap_err();
    assert!(forms(&error).contains("READONLY"), "{error:?}");
    let sentinel = refused(&watched.sentinel_url()).await;
    assert_eq!(sentinel.0, ConnectKind::NotAStore);
}

#[tokio::test]
async fn an_evicting_server_is_refused_unless_allowed() {
    let server = Server::with(&["--save", "", "--maxmemory-policy", "volatile-lru"]);
    let (kind, text) = refused(&server.url()).await;
    assert_eq!(kind, ConnectKind::Unsupported);
    assert!(text.contains("noeviction"), "{text}");
    let store = RedisStore::builder(&server.url())
        .allow_eviction(true)
        .connect()
        .await
        .unwrap();
    assert!(store.warnings().contains(&RedisWarning::Eviction));
}

#[tokio::test]
async fn weak_persistence_is_a_warning() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    assert_eq!(store.warnings(), [RedisWarning::WeakPersistence]);
    let server = Server::with(&["--save", "", "--appendonly", "yes"]);
    let store = RedisStore::connect(&server.url()).await.unwrap();
    assert_eq!(store.warnings(), []);
}

#[tokio::test]
async fn a_user_without_rights_is_told_so_and_the_documented_rights_do() {
    let server = Server::start();
    let user = |name: &str, rights: &[&str]| {
        let mut command = vec!["ACL", "SETUSER", name, "on", ">hunter2"];
        command.extend(rights);
        let _: String = server.ask(&command);
        format!("redis://{name}:{CANARY}@127.0.0.1:{}/", server.port())
    };
    let commands = [
        "+@scripting",
        "+@read",
        "+@write",
        "+@pubsub",
        "+time",
        "+info",
        "+ping",
    ];
    let rights = [&["~verrou:*", "&verrou:wake:*"], commands.as_slice()].concat();
    let store = RedisStore::connect(&user("all", &rights)).await.unwrap();
    LockFactory::new(store)
        .create_lock("k")
        .acquire()
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    for lacking in [
        vec!["+info", "+ping"],
        [&["~other:*"], commands.as_slice()].concat(),
        vec!["~*", "+@scripting"],
        vec!["~*", "+@all", "-evalsha", "-eval"],
    ] {
        let url = user(
            "lacking",
            &[&["reset", "on", ">hunter2"], lacking.as_slice()].concat(),
        );
        assert_eq!(refused(&url).await.0, ConnectKind::Rights, "{lacking:?}");
    }
    // Without the channels there are no wake-ups, and no errors.
    let quiet = user(
        "quiet",
        &[&["~verrou:*", "resetchannels"], commands.as_slice()].concat(),
    );
    let locks = LockFactory::new(RedisStore::connect(&quiet).await.unwrap());
    let guard = locks.create_lock("k").acquire().await.unwrap();
    assert!(
        locks
            .create_lock("k")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    let other = LockFactory::new(RedisStore::connect(&quiet).await.unwrap());
    assert!(
        other
            .create_lock("k")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    guard.release().await.unwrap();
    other
        .create_lock("k")
        .acquire()
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
}

#[tokio::test]
async fn options_that_cannot_work_are_refused_before_any_connection() {
    let builder = || RedisStore::builder("redis://127.0.0.1:1/");
    for builder in [
        builder().prefix("a{b}"),
        builder().prefix(""),
        builder().token_grace(Duration::ZERO),
        builder().connect_timeout(Duration::ZERO),
    ] {
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_full_memory_is_an_error_and_a_release_still_works() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (locks, other) = (LockFactory::new(store.clone()), LockFactory::new(store));
    let guard = locks.create_lock("k").acquire().await.unwrap();
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(
        other
            .create_lock("k")
            .try_acquire()
            .await
            .unwrap()
            .is_none(),
        "busy is no error"
    );
    let error = locks.create_lock("other").acquire().await.unwrap_err();
    assert!(forms(&error).contains("OOM"), "{error:?}");
    assert!(matches!(
        error,
        Error::Store {
            outcome: verrou::Outcome::NotApplied,
            ..
        }
    ));
    guard.extend(Duration::from_secs(60)).await.unwrap();
    guard.release().await.unwrap();
    assert!(!locks.create_lock("k").is_locked().await.unwrap());
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_works_without_the_applications_help() {
    let folder = tests::Folder::new();
    let openssl = |arguments: &str| {
        let arguments = arguments.replace('@', &format!("{}/", folder.path().display()));
        let made = std::process::Command::new("openssl")
            .args(arguments.split(' '))
            .output();
        let made = made.unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=verrou-test -keyout @ca.key -out @ca.pem",
    );
    openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout @key.pem -out @request.pem");
    std::fs::write(folder.file("names"), "subjectAltName=DNS:localhost").unwrap();
    openssl(
        "x509 -req -in @request.pem -CA @ca.pem -CAkey @ca.key -CAcreateserial -days 2 -extfile @names -out @certificate.pem",
    );
    let (key, certificate, ca) = (
        folder.file("key.pem"),
        folder.file("certificate.pem"),
        folder.file("ca.pem"),
    );
    let port = free_port().to_string();
    let server = Server::with(&[
        "--save",
        "",
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
        "--tls-replication",
        "no",
    ]);
    let certificates = redis::TlsCertificates {
        client_tls: None,
        root_cert: Some(std::fs::read(&ca).unwrap()),
    };
    let url = format!("rediss://localhost:{port}/");
    // One whom nobody has vouched for is refused.
    let (kind, _) = refused(&url).await;
    assert_eq!(kind, ConnectKind::Unreachable);
    let client = redis::Client::build_with_tls(url, certificates).unwrap();
    let store = RedisStore::from_client(client).connect().await.unwrap();
    let guard = LockFactory::new(store)
        .create_lock("k")
        .acquire()
        .await
        .unwrap();
    guard.release().await.unwrap();
    drop(server);
}
