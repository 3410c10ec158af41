//! The checks of a lock file before any lock is taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::connections::{BUSY_TIMEOUT, Checkout, Connections, Query, code, is_busy};
use super::statements::Statements;
use crate::clock::{Moment, sleep_until};
use crate::drivers::sql::Table;
use crate::error::{Cause, ConnectKind, Error};

/// How long a set-up tries while other processes have the file locked, for one step.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause after a lock that SQLite does not wait for.
const PAUSE: Duration = Duration::from_millis(2);

/// A file as given by a URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) path: PathBuf,
    pub(super) create: bool,
}

impl Location {
    /// Reads `sqlite:path`, `sqlite://path` or a plain path.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let text = url
            .strip_prefix("sqlite://")
            .or_else(|| url.strip_prefix("sqlite:"));
        let (path, create) = match text {
            // A plain path may hold any character.
            None => (url.to_owned(), true),
            Some(text) => {
                let (path, options) = text.split_once('?').unwrap_or((text, ""));
                let path = percent_decoded(path).ok_or_else(|| refused(ConnectKind::Url))?;
                (path, parse_options(options)?)
            }
        };
        if path.is_empty() || path == ":memory:" {
            return Err(refused(ConnectKind::Isolated));
        }
        if path.contains('\0') || path.starts_with("file:") {
            return Err(refused(ConnectKind::Url));
        }
        // Absolute, so that a later change of the working directory does not lead siblings to another file.
        let path = std::path::absolute(path).map_err(|error| failed(ConnectKind::Url, error))?;
        Ok(Self { path, create })
    }
}

/// `mode` is the only one; whether the file may be created.
fn parse_options(options: &str) -> Result<bool, Error> {
    let mut create = true;
    for option in options.split('&').filter(|option| !option.is_empty()) {
        create = match option {
            "mode=rwc" => true,
            "mode=rw" => false,
            "mode=ro" => return Err(refused(ConnectKind::ReadOnly)),
            "mode=memory" => return Err(refused(ConnectKind::Isolated)),
            _ => return Err(refused(ConnectKind::Url)),
        };
    }
    Ok(create)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Which file a path led to at set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    #[cfg(unix)]
    fn of(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Elsewhere an open file can be neither removed nor replaced.
    #[cfg(not(unix))]
    fn of(path: &Path) -> std::io::Result<Self> {
        std::fs::metadata(path).map(|_| Self {
            device: 0,
            inode: 0,
        })
    }

    /// Refuses a path that leads to another file by now: its locks would be others.
    pub(super) fn check(&self, path: &Path) -> Result<(), sqlx::Error> {
        if Self::of(path)? == *self {
            Ok(())
        } else {
            Err(sqlx::Error::Configuration(
                "the lock file was replaced by another one; restart the processes that use it"
                    .into(),
            ))
        }
    }
}

/// What a store has once it is set up.
pub(super) struct Ready {
    pub(super) connections: Connections,
    pub(super) boot: Arc<str>,
}

/// Opens, and if need be creates, a file of the store's own.
pub(super) async fn open(
    location: Location,
    limit: usize,
    statements: &Statements,
    create_table: bool,
) -> Result<Ready, Error> {
    let path = location.path.clone();
    blocking(move || prepare_file(&location)).await?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        // Linux has made it; elsewhere SQLite does.
        .create_if_missing(cfg!(not(target_os = "linux")))
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Normal)
        .thread_name(|number| format!("verrou-sqlite-{number}"))
        .disable_statement_logging();
    let first = Connections::own(
        options.clone(),
        FileId::of_new(&path, &options).await?,
        limit,
    );
    let mut checkout = patient(&first).await?;
    write_ahead(&mut checkout).await?;
    drop(checkout);
    set_up(first, statements, create_table).await
}

impl FileId {
    /// Of a file that SQLite creates where this process cannot.
    async fn of_new(path: &Path, options: &SqliteConnectOptions) -> Result<Self, Error> {
        if cfg!(not(target_os = "linux")) {
            drop(options.connect().await.map_err(judged)?);
        }
        let path = path.to_owned();
        blocking(move || {
            restrict(&path);
            Self::of(&path).map_err(|error| failed(kind_of(&error), error))
        })
        .await
    }
}

/// Everything that is the same for the store's own connections and for a user's pool.
pub(super) async fn set_up(
    connections: Connections,
    statements: &Statements,
    create_table: bool,
) -> Result<Ready, Error> {
    let boot = blocking(boot_id).await?;
    let table = statements.table();
    let mut one = patient(&connections).await?;
    let file = backing_file(&mut one, table).await?;
    blocking(move || check_file(&file)).await?;
    if create_table {
        ask(&mut one, || sqlx::query(AssertSqlSafe(statements.ddl()))).await?;
    }
    check_table(&mut one, table).await?;
    ask(&mut one, || statements.probe()).await?;
    let file = backing_file(&mut one, table).await?;
    drop(one);

    // What the keeper will do: another connection, which must see the same table of the same file.
    let sibling = connections.sibling();
    let checked = check_sibling(&sibling, &file, statements).await;
    sibling.close().await;
    checked?;
    Ok(Ready { connections, boot })
}

async fn check_sibling(
    sibling: &Connections,
    file: &Path,
    statements: &Statements,
) -> Result<(), Error> {
    let mut other = patient(sibling).await?;
    if backing_file(&mut other, statements.table()).await? != file {
        return Err(refused(ConnectKind::Isolated));
    }
    check_table(&mut other, statements.table())
        .await
        .map_err(|error| match error {
            Error::Connect {
                kind: ConnectKind::Schema,
                source,
                ..
            } => Error::connect(super::DRIVER, ConnectKind::Isolated, source),
            other => other,
        })?;
    ask(&mut other, || statements.probe()).await.map(|_| ())
}

/// Switches to write-ahead logging; for a file that has it already this takes no lock.
async fn write_ahead(checkout: &mut Checkout) -> Result<(), Error> {
    let mode = ask(checkout, || sqlx::query("PRAGMA journal_mode")).await?;
    if text(&mode, 0)?.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    let mode = ask(checkout, || sqlx::query("PRAGMA journal_mode = WAL")).await?;
    if text(&mode, 0)?.eq_ignore_ascii_case("wal") {
        Ok(())
    } else {
        // A file system without shared memory.
        Err(refused(ConnectKind::Unsupported))
    }
}

/// The file behind the table's schema, as SQLite knows it.
async fn backing_file(checkout: &mut Checkout, table: &Table) -> Result<PathBuf, Error> {
    let schema = table.schema().unwrap_or("main").to_owned();
    let rows = ask(checkout, || {
        sqlx::query("SELECT file FROM pragma_database_list WHERE name = ?1 COLLATE NOCASE")
            .bind(schema.clone())
    })
    .await?;
    if rows.is_empty() {
        return Err(refused(ConnectKind::Schema));
    }
    let file = text(&rows, 0)?;
    if file.is_empty() {
        // In memory, or a temporary one.
        return Err(refused(ConnectKind::Isolated));
    }
    Ok(PathBuf::from(file))
}

const COLUMNS: [(&str, &str, bool); 7] = [
    ("key", "BLOB", true),
    ("owner", "BLOB", false),
    ("holder", "TEXT", true),
    ("token", "INTEGER", true),
    ("boot", "TEXT", true),
    ("granted", "INTEGER", true),
    ("expiry", "INTEGER", true),
];

async fn check_table(checkout: &mut Checkout, table: &Table) -> Result<(), Error> {
    let rows = ask(checkout, || {
        sqlx::query(
            "SELECT c.name, c.type, c.\"notnull\", c.pk, c.dflt_value IS NULL, t.type = 'table' \
             FROM pragma_table_list(?1) AS t, pragma_table_info(?1, ?2) AS c \
             WHERE t.schema = ?2 COLLATE NOCASE",
        )
        .bind(table.name().to_owned())
        .bind(table.schema().unwrap_or("main").to_owned())
    })
    .await?;
    let mut found = 0;
    for row in &rows {
        let read = || -> Result<_, sqlx::Error> {
            Ok((
                row.try_get::<String, _>(0)?,
                row.try_get::<String, _>(1)?,
                row.try_get::<bool, _>(2)?,
                row.try_get::<i64, _>(3)?,
                row.try_get::<bool, _>(4)?,
                row.try_get::<bool, _>(5)?,
            ))
        };
        let (name, kind, not_null, key, no_default, table) =
            read().map_err(|error| failed(ConnectKind::Schema, error))?;
        let right = match COLUMNS.iter().find(|column| column.0 == name) {
            Some(column) => {
                found += 1;
                column.1.eq_ignore_ascii_case(&kind)
                    && column.2 == not_null
                    && (key == 1) == (name == "key")
                    && key <= 1
            }
            // Somebody's own column is no harm as long as a new row need not name it.
            None => key == 0 && !(not_null && no_default),
        };
        if !right || !table {
            return Err(refused(ConnectKind::Schema));
        }
    }
    if found == COLUMNS.len() {
        Ok(())
    } else {
        Err(refused(ConnectKind::Schema))
    }
}

/// Executes a statement of the set-up.
async fn ask(
    checkout: &mut Checkout,
    mut query: impl FnMut() -> Query,
) -> Result<Vec<sqlx::sqlite::SqliteRow>, Error> {
    let deadline = Moment::now().after(PATIENCE);
    loop {
        match checkout.run(query()).await {
            Ok(answer) => return Ok(answer.rows),
            Err(error) if is_busy(&error) && !deadline.has_passed() => pause().await,
            Err(error) => return Err(judged(error)),
        }
    }
}

/// Connects, also while another process sets up the same file.
async fn patient(connections: &Connections) -> Result<Checkout, Error> {
    let deadline = Moment::now().after(PATIENCE);
    loop {
        match connections.checkout().await {
            Ok(checkout) => return Ok(checkout),
            Err(error) if is_busy(&error) && !deadline.has_passed() => pause().await,
            Err(error) => return Err(judged(error)),
        }
    }
}

/// The switch to write-ahead logging does not wait for locks itself. No lock call runs in here: a timer is allowed.
async fn pause() {
    sleep_until(Moment::now().after(PAUSE)).await;
}

fn text(rows: &[sqlx::sqlite::SqliteRow], column: usize) -> Result<String, Error> {
    rows.first()
        .ok_or(sqlx::Error::RowNotFound)
        .and_then(|row| row.try_get(column))
        .map_err(|error| failed(ConnectKind::NotAStore, error))
}

/// Looks at files off the runtime's thread: a network file system may not answer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(failed(ConnectKind::Unreachable, error)),
    }
}

/// Checks the file, or makes an empty one that only its owner can read.
fn prepare_file(location: &Location) -> Result<(), Error> {
    match std::fs::metadata(&location.path) {
        Ok(_) => check_file(&location.path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && location.create => {
            let parent = location.path.parent().unwrap_or(&location.path);
            check_filesystem(parent)?;
            make_file(&location.path).map_err(|error| failed(kind_of(&error), error))
        }
        Err(error) => Err(failed(kind_of(&error), error)),
    }
}

/// Makes the file without opening it. If it were opened and closed here while another thread has it open through SQLite,
/// that connection's locks would be gone: POSIX drops all locks of a process on a file when it closes any of them.
#[cfg(target_os = "linux")]
fn make_file(path: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode};
    match rustix::fs::mknodat(CWD, path, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// SQLite makes it.
#[cfg(not(target_os = "linux"))]
fn make_file(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Where SQLite has made the file, takes it from everybody else while it is empty.
fn restrict(path: &Path) {
    #[cfg(all(unix, not(target_os = "linux")))]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) {
            // A file of another user keeps its rights.
            let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
        }
    }
    #[cfg(not(all(unix, not(target_os = "linux"))))]
    let _ = path;
}

fn check_file(path: &Path) -> Result<(), Error> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        // A virtual file system's: nobody else has it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(failed(ConnectKind::Isolated, error));
        }
        Err(error) => return Err(failed(kind_of(&error), error)),
    };
    if !metadata.is_file() {
        return Err(refused(ConnectKind::NotAStore));
    }
    check_access(path)?;
    check_filesystem(path)
}

/// Tells a missing right from a file that is no database; never opens the file, see `make_file`.
#[cfg(unix)]
fn check_access(path: &Path) -> Result<(), Error> {
    use rustix::fs::{Access, access};
    use rustix::io::Errno;
    match access(path, Access::READ_OK | Access::WRITE_OK) {
        Ok(()) => Ok(()),
        Err(Errno::ROFS) => Err(failed(
            ConnectKind::ReadOnly,
            std::io::Error::from(Errno::ROFS),
        )),
        Err(Errno::ACCESS) if access(path, Access::READ_OK).is_ok() => Err(failed(
            ConnectKind::ReadOnly,
            std::io::Error::from(Errno::ACCESS),
        )),
        Err(error) => {
            let error = std::io::Error::from(error);
            Err(failed(kind_of(&error), error))
        }
    }
}

#[cfg(not(unix))]
fn check_access(_: &Path) -> Result<(), Error> {
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn check_filesystem(path: &Path) -> Result<(), Error> {
    let stat = rustix::fs::statfs(path).map_err(|error| {
        let error = std::io::Error::from(error);
        failed(kind_of(&error), error)
    })?;
    // The field's type differs between platforms; a magic number has 32 bits.
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "the low 32 bits are meant"
    )]
    let magic = stat.f_type as u32;
    match network_filesystem(magic) {
        None => Ok(()),
        Some(name) => Err(Error::connect(
            super::DRIVER,
            ConnectKind::Unsupported,
            Some(cause(format!(
                "the file is on {name}, which hosts share: their clocks and file locks are not one"
            ))),
        )),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn check_filesystem(_: &Path) -> Result<(), Error> {
    Ok(())
}

/// The file systems that several kernels can have mounted, by the magic number of `statfs(2)`.
///
/// 9p and the folders of virtual machines are among them: guest and host are two kernels with two clocks. What comes
/// through FUSE cannot be told apart, so sshfs and virtiofs pass.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    expect(dead_code, reason = "no statfs magic")
)]
fn network_filesystem(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B => "SMB",
        0xFF53_4D42 => "CIFS",
        0xFE53_4D42 => "SMB2",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x564C => "NCP",
        0x00C3_6400 => "Ceph",
        0x0102_1997 => "9p",
        0x0116_1970 => "GFS2",
        0x7461_636F => "OCFS2",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x2003_0528 => "OrangeFS",
        0xAAD7_AAEA => "PanFS",
        0x786F_4256 => "a VirtualBox folder",
        0xBACB_ACBC => "a VMware folder",
        0x7C7C_6673 => "a Parallels folder",
        _ => return None,
    })
}

/// What tells one boot of this machine from another; without it a row from before a reboot would seem held.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot_id() -> Result<Arc<str>, Error> {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => Ok(Arc::from(id.trim())),
        Err(error) => Err(failed(ConnectKind::Unsupported, error)),
    }
}

/// The wall clock outlives a boot.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn boot_id() -> Result<Arc<str>, Error> {
    Ok(Arc::from("wall"))
}

fn kind_of(error: &std::io::Error) -> ConnectKind {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => ConnectKind::Rights,
        std::io::ErrorKind::ReadOnlyFilesystem => ConnectKind::ReadOnly,
        _ => ConnectKind::Unreachable,
    }
}

/// What an error of SQLite says about the file.
fn judged(error: sqlx::Error) -> Error {
    let kind = match code(&error) {
        // SQLITE_ERROR: the statements are right, so the table is not.
        Some(1) => ConnectKind::Schema,
        // PERM, AUTH
        Some(3 | 23) => ConnectKind::Rights,
        Some(8) => ConnectKind::ReadOnly,
        // CORRUPT, NOTADB
        Some(11 | 26) => ConnectKind::NotAStore,
        _ => ConnectKind::Unreachable,
    };
    failed(kind, error)
}

fn refused(kind: ConnectKind) -> Error {
    Error::connect(super::DRIVER, kind, None)
}

fn failed(kind: ConnectKind, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::connect(super::DRIVER, kind, Some(cause(error)))
}

fn cause(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Cause {
    Arc::from(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(url: &str) -> Option<ConnectKind> {
        match Location::parse(url) {
            Err(Error::Connect { kind, .. }) => Some(kind),
            _ => None,
        }
    }

    #[test]
    fn a_url_is_a_path_with_at_most_a_mode() -> Result<(), Error> {
        for (url, path, create) in [
            ("/a/locks.db", "/a/locks.db", true),
            ("/a/?b%20", "/a/?b%20", true),
            ("sqlite:/a/b", "/a/b", true),
            ("sqlite:///a/b", "/a/b", true),
            ("sqlite:///a/b%3Fc?mode=rw", "/a/b?c", false),
        ] {
            let location = Location::parse(url)?;
            assert_eq!(location.path, Path::new(path), "{url}");
            assert_eq!(location.create, create, "{url}");
        }
        assert!(Location::parse("sqlite://here.db")?.path.is_absolute());
        Ok(())
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_by_kind() {
        for url in [
            "",
            ":memory:",
            "sqlite::memory:",
            "sqlite:",
            "sqlite://",
            "sqlite:x?mode=memory",
        ] {
            assert_eq!(kind(url), Some(ConnectKind::Isolated), "{url}");
        }
        for url in [
            "sqlite:x?cache=shared",
            "sqlite:x?vfs=unix-none",
            "sqlite:x?mode=rwx",
            "sqlite:%zz",
            "sqlite:%f",
            "sqlite:%ff",
            "sqlite:a%00b",
            "file:x",
        ] {
            assert_eq!(kind(url), Some(ConnectKind::Url), "{url}");
        }
        assert_eq!(kind("sqlite:x?mode=ro"), Some(ConnectKind::ReadOnly));
    }

    #[test]
    fn file_systems_that_hosts_share_are_refused() {
        for magic in [0x6969, 0xFF53_4D42, 0xFE53_4D42, 0x0102_1997, 0x00C3_6400] {
            assert!(network_filesystem(magic).is_some(), "{magic:x}");
        }
        // ext4, tmpfs, overlayfs, btrfs, xfs, zfs, FUSE
        for magic in [
            0xEF53,
            0x0102_1994,
            0x794C_7630,
            0x9123_683E,
            0x5846_5342,
            0x2FC1_2FC1,
            0x6573_5546,
        ] {
            assert_eq!(network_filesystem(magic), None, "{magic:x}");
        }
    }
}
