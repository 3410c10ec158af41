//! Where a lock file is, which file it is, and whether it is one that can keep locks.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DRIVER;
use crate::error::{Cause, ConnectKind, Error};

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
        if text.is_none()
            && let Some(scheme) = foreign_scheme(url)
        {
            return Err(failed(
                ConnectKind::Url,
                format!(
                    "this driver does not read `{scheme}` urls; give `sqlite:path` or a plain path"
                ),
            ));
        }
        let (path, create) = match text {
            // A plain path may hold any character.
            None => (url.to_owned(), true),
            Some(text) => {
                let (path, options) = text.split_once('?').unwrap_or((text, ""));
                let path = percent_decoded(path).ok_or_else(|| {
                    failed(
                        ConnectKind::Url,
                        "in the path of a `sqlite:` url a `%` begins two hex digits of UTF-8, and is itself written `%25`",
                    )
                })?;
                (path, parse_options(options)?)
            }
        };
        if path.is_empty() {
            return Err(failed(
                ConnectKind::Isolated,
                "the path is empty, which is a temporary database of one connection; give the path of a file",
            ));
        }
        if path == ":memory:" {
            return Err(in_memory());
        }
        if path.contains('\0') {
            return Err(failed(ConnectKind::Url, "a path holds no NUL"));
        }
        if path.starts_with("file:") {
            return Err(failed(
                ConnectKind::Url,
                "this driver does not read `file` urls; give `sqlite:path` or a plain path",
            ));
        }
        // Absolute, so that a later change of the working directory does not lead siblings to another file.
        let path = std::path::absolute(path).map_err(|error| {
            explained(
                ConnectKind::Url,
                "the path cannot be made absolute; give an absolute one",
                error,
            )
        })?;
        Ok(Self { path, create })
    }
}

/// The scheme of a URL of something else. Never more of it: the rest may hold a password.
fn foreign_scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once("://")?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let is_scheme = scheme.len() <= 32
        && scheme
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic())
        && scheme.bytes().all(known);
    is_scheme.then_some(scheme)
}

/// `mode` is the only one; whether the file may be created.
fn parse_options(options: &str) -> Result<bool, Error> {
    let mut create = true;
    for option in options.split('&').filter(|option| !option.is_empty()) {
        create = match option {
            "mode=rwc" => true,
            "mode=rw" => false,
            "mode=ro" => {
                return Err(failed(
                    ConnectKind::ReadOnly,
                    "`mode=ro` opens the file for reading; leave it out, or give `mode=rw`",
                ));
            }
            "mode=memory" => return Err(in_memory()),
            other => return Err(unknown_option(other)),
        };
    }
    Ok(create)
}

/// Names the option and never its value, which may be a secret; without a `=` it may be all value.
fn unknown_option(option: &str) -> Error {
    let is_word = |name: &str| {
        (1..=32).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    let reason = match option.split_once('=') {
        Some(("mode", _)) => "the option `mode` is `rwc` or `rw`".to_owned(),
        Some((name, _)) if is_word(name) => {
            format!(
                "the option `{name}` is unknown; the only one is `mode`, which is `rwc` or `rw`"
            )
        }
        _ => {
            "behind the `?` is no option; the only one is `mode`, which is `rwc` or `rw`".to_owned()
        }
    };
    failed(ConnectKind::Url, reason)
}

pub(super) fn in_memory() -> Error {
    failed(
        ConnectKind::Isolated,
        "a database in memory is not seen by a second connection; give a file, or take `MemoryStore` for locks of one process",
    )
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
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Elsewhere an open file can be neither removed nor replaced.
    #[cfg(not(unix))]
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
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

/// Checks the file, or makes an empty one that only its owner can read.
pub(super) fn prepare(location: &Location) -> Result<(), Error> {
    match std::fs::metadata(&location.path) {
        Ok(_) => check(&location.path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && location.create => {
            let parent = location.path.parent().unwrap_or(&location.path);
            if !parent.exists() {
                return Err(failed(
                    ConnectKind::Unreachable,
                    "the directory of the file does not exist; create it first",
                ));
            }
            check_filesystem(parent)?;
            make_file(&location.path).map_err(|error| {
                explained(
                    kind_of(&error),
                    "the file cannot be created in its directory",
                    error,
                )
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(explained(
            ConnectKind::Unreachable,
            "the file does not exist, and `mode=rw` does not create it; create it, or leave `mode` out",
            error,
        )),
        Err(error) => Err(not_looked_at(error)),
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

/// Which file it is, once it is there. Where SQLite has made it, it is taken from everybody else while it is empty.
pub(super) fn identify(path: &Path) -> Result<FileId, Error> {
    restrict(path);
    FileId::of(path).map_err(not_looked_at)
}

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

pub(super) fn check(path: &Path) -> Result<(), Error> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        // A virtual file system's: nobody else has it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(explained(
                ConnectKind::Isolated,
                "the database is in no file that another process could open; give a file of the system",
                error,
            ));
        }
        Err(error) => return Err(not_looked_at(error)),
    };
    if metadata.is_dir() {
        return Err(failed(
            ConnectKind::NotAStore,
            "the path is a directory; give the path of a file in it",
        ));
    }
    if !metadata.is_file() {
        return Err(failed(
            ConnectKind::NotAStore,
            "the path is a device, pipe or socket; give the path of a file",
        ));
    }
    check_access(path)?;
    check_names(path, &metadata)?;
    check_filesystem(path)
}

/// The log lies beside the file, by the file's name: who comes by another name has another log, and other locks.
///
/// So a hard link is refused, and on Linux a file that is mounted by itself, as in a container; its directory is to be
/// mounted. SQLite follows symbolic links to the one name itself.
#[cfg(unix)]
fn check_names(path: &Path, metadata: &std::fs::Metadata) -> Result<(), Error> {
    let reason = if std::os::unix::fs::MetadataExt::nlink(metadata) > 1 {
        "the file has several names (hard links), and a log beside each; leave it one name"
    } else if is_mounted_alone(path) {
        "the file is mounted without its directory, so its log is another one elsewhere; mount the directory"
    } else {
        return Ok(());
    };
    Err(failed(ConnectKind::Unsupported, reason))
}

#[cfg(not(unix))]
fn check_names(_: &Path, _: &std::fs::Metadata) -> Result<(), Error> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn is_mounted_alone(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    // Older kernels do not tell; then nothing is refused.
    let mount = |path: &Path| {
        let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        StatxFlags::from_bits_retain(stat.stx_mask)
            .contains(StatxFlags::MNT_ID)
            .then_some(stat.stx_mnt_id)
    };
    let Ok(path) = std::fs::canonicalize(path) else {
        return false;
    };
    match (mount(&path), path.parent().and_then(mount)) {
        (Some(file), Some(directory)) => file != directory,
        _ => false,
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn is_mounted_alone(_: &Path) -> bool {
    false
}

/// Tells a missing right from a file that is no database; never opens the file, see `make_file`.
#[cfg(unix)]
fn check_access(path: &Path) -> Result<(), Error> {
    use rustix::fs::{Access, access};
    use rustix::io::Errno;
    match access(path, Access::READ_OK | Access::WRITE_OK) {
        Ok(()) => Ok(()),
        Err(Errno::ROFS) => Err(explained(
            ConnectKind::ReadOnly,
            "the file is on a file system that is mounted read-only; put it elsewhere",
            std::io::Error::from(Errno::ROFS),
        )),
        Err(Errno::ACCESS) if access(path, Access::READ_OK).is_ok() => Err(explained(
            ConnectKind::ReadOnly,
            "the file can be read but not written; give this process the right to write it",
            std::io::Error::from(Errno::ACCESS),
        )),
        Err(error) => Err(not_looked_at(error.into())),
    }
}

#[cfg(not(unix))]
fn check_access(_: &Path) -> Result<(), Error> {
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn check_filesystem(path: &Path) -> Result<(), Error> {
    let stat = rustix::fs::statfs(path).map_err(|error| not_looked_at(error.into()))?;
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
            DRIVER,
            ConnectKind::Unsupported,
            Some(cause(format!(
                "the file is on {name}, which hosts share: their clocks and file locks are not one; \
                 put it on a disk of this host, or take a store with a server"
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
    allow(dead_code, reason = "no statfs magic")
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
pub(super) fn boot_id() -> Result<Arc<str>, Error> {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => Ok(Arc::from(id.trim())),
        Err(error) => Err(explained(
            ConnectKind::Unsupported,
            "the id of this boot cannot be read from /proc, and without it a lease from before a reboot would seem held",
            error,
        )),
    }
}

/// The wall clock outlives a boot.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn boot_id() -> Result<Arc<str>, Error> {
    Ok(Arc::from("wall"))
}

fn kind_of(error: &std::io::Error) -> ConnectKind {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => ConnectKind::Rights,
        std::io::ErrorKind::ReadOnlyFilesystem => ConnectKind::ReadOnly,
        _ => ConnectKind::Unreachable,
    }
}

fn not_looked_at(error: std::io::Error) -> Error {
    explained(
        kind_of(&error),
        "the file or its directory cannot be read; check the path and the rights of this process",
        error,
    )
}

/// What is wrong and the way out, with what the system or SQLite said behind it.
pub(super) fn explained(
    kind: ConnectKind,
    what: impl Into<Cow<'static, str>>,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    failed(
        kind,
        Explained {
            what: what.into(),
            error: error.into(),
        },
    )
}

#[derive(Debug)]
struct Explained {
    what: Cow<'static, str>,
    error: Box<dyn std::error::Error + Send + Sync>,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Explained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.error)
    }
}

pub(super) fn failed(
    kind: ConnectKind,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::connect(DRIVER, kind, Some(cause(error)))
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
            "file:///x",
            "postgres://me:secret@h/db",
            "redis://h",
        ] {
            assert_eq!(kind(url), Some(ConnectKind::Url), "{url}");
        }
        assert_eq!(kind("sqlite:x?mode=ro"), Some(ConnectKind::ReadOnly));
    }

    /// Everything that an error of `url` shows, down to its last cause.
    fn told(url: &str) -> String {
        match Location::parse(url) {
            Err(error) => super::super::tests::told(&error),
            Ok(location) => panic!("{location:?}"),
        }
    }

    #[test]
    fn a_url_that_cannot_work_is_told_why() {
        for (url, phrase) in [
            ("", "the path is empty"),
            ("sqlite:", "the path is empty"),
            (":memory:", "database in memory"),
            ("sqlite:x?mode=memory", "`MemoryStore`"),
            ("sqlite:x?mode=ro", "`mode=ro` opens the file for reading"),
            ("sqlite:x?mode=rwx", "`mode` is `rwc` or `rw`"),
            ("sqlite:x?cache=shared", "the option `cache` is unknown"),
            ("sqlite:x?mode=rw&key=canary", "the option `key` is unknown"),
            ("sqlite:x?canary", "no option"),
            ("sqlite:%zz", "two hex digits"),
            ("sqlite:a%00b", "no NUL"),
            ("file:x", "`file` urls"),
            ("file:///x", "`file` urls"),
            (
                "postgres://me:canary@h/db",
                "`postgres` urls; give `sqlite:path`",
            ),
            ("redis://:canary@h:6379", "`redis` urls"),
            ("mongodb+srv://canary@h", "`mongodb+srv` urls"),
            ("SQLITE://canary", "`SQLITE` urls"),
        ] {
            let told = told(url);
            assert!(told.contains(phrase), "{url}: {told}");
            assert!(!told.contains("canary"), "{url}: {told}");
        }
        // What is no scheme is a path, and may hold any character.
        assert!(Location::parse("/a b://c").is_ok());
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
