//! The store that a URL names.

use verrou::drivers::{MySqlStore, PostgresStore, RedisStore, SqliteStore};
use verrou::{ConnectKind, Error, LockFactory, Verrou};

use crate::args::Target;
use crate::exit::{Code, Failure};

/// A store of one of the drivers, for what only some of them can.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Redis(RedisStore),
    Postgres(PostgresStore),
    MySql(MySqlStore),
    Sqlite(SqliteStore),
}

/// What to do about a table, or a file, that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    /// Whoever takes locks may begin.
    Create,
    /// Whoever looks at locks has mistyped something.
    Fail,
}

impl Place {
    pub(crate) async fn connect(target: &Target, if_missing: IfMissing) -> Result<Self, Failure> {
        let url = target.store.as_deref().filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| {
            Failure::usage("which store? set VERROU_URL, or say `--store URL`; `verrou --help` has the forms of a URL")
        })?;
        let table = target.table.as_deref();
        let create = if_missing == IfMissing::Create;
        let connected = match url.split(':').next().unwrap_or_default() {
            "redis" | "rediss" | "redis+unix" => redis(url, table).await.map(Self::Redis),
            "postgres" | "postgresql" => postgres(url, table, create).await.map(Self::Postgres),
            "mysql" | "mariadb" => mysql(url, table, create).await.map(Self::MySql),
            "sqlite" => match sqlite(url, table, create).await {
                Err(Error::Connect {
                    kind: ConnectKind::Unreachable,
                    ..
                }) if !create && !url.contains('?') => {
                    return Err(Failure::new(
                        Code::STORE,
                        "there is no lock file at that path, or it cannot be opened; check the path: the first `verrou run`, or the \
                         application, makes the file",
                    ));
                }
                connected => connected.map(Self::Sqlite),
            },
            // Not a word of it: it may be all password.
            _ => {
                return Err(Failure::usage(
                    "the store's URL begins with none of redis://, rediss://, postgres://, mysql://, sqlite://",
                ));
            }
        };
        Ok(connected?)
    }

    /// As its driver is called.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Postgres(_) => "postgres",
            Self::MySql(_) => "mysql",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// Makes the locks of this store in the namespace of `target`.
    pub(crate) fn locks(&self, target: &Target) -> Result<LockFactory, Failure> {
        let builder = Verrou::builder();
        let builder = match self.clone() {
            Self::Redis(store) => builder.store(self.name(), store),
            Self::Postgres(store) => builder.store(self.name(), store),
            Self::MySql(store) => builder.store(self.name(), store),
            Self::Sqlite(store) => builder.store(self.name(), store),
        };
        let namespace = target.namespace.clone().unwrap_or_default();
        Ok(builder.namespace(namespace).build()?.store(self.name())?)
    }
}

async fn redis(url: &str, prefix: Option<&str>) -> Result<RedisStore, Error> {
    let builder = RedisStore::builder(url);
    match prefix {
        Some(prefix) => builder.prefix(prefix).connect().await,
        None => builder.connect().await,
    }
}

async fn postgres(url: &str, table: Option<&str>, create: bool) -> Result<PostgresStore, Error> {
    let builder = PostgresStore::builder(url).create_table(create);
    match table {
        Some(table) => builder.table(table).connect().await,
        None => builder.connect().await,
    }
}

async fn mysql(url: &str, table: Option<&str>, create: bool) -> Result<MySqlStore, Error> {
    let builder = MySqlStore::builder(url).create_table(create);
    match table {
        Some(table) => builder.table(table).connect().await,
        None => builder.connect().await,
    }
}

async fn sqlite(url: &str, table: Option<&str>, create: bool) -> Result<SqliteStore, Error> {
    let url = match url.contains('?') {
        false if !create => format!("{url}?mode=rw"),
        _ => url.to_owned(),
    };
    let builder = SqliteStore::builder(&url).create_table(create);
    match table {
        Some(table) => builder.table(table).connect().await,
        None => builder.connect().await,
    }
}
