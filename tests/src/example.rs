//! The programs in `examples/`, as a newcomer starts them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Long enough to build an example on a slow machine.
const BUILT: Duration = Duration::from_secs(600);

/// Builds the example of this name; where it is.
///
/// # Panics
/// If it does not compile.
pub async fn built(name: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        // As `./test.sh` builds everything, so that nothing is built twice.
        .args(["build", "-q", "--workspace", "--example", name])
        .args(["--features", "tests/tls,examples/servers"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(BUILT, output).await;
    let Ok(Ok(output)) = output else {
        panic!("cargo does not build {name}: {output:?}")
    };
    assert!(output.status.success(), "{name}: {output:?}");
    // This is target/PROFILE/deps/NAME.
    let this = std::env::current_exe().unwrap_or_else(|error| panic!("{error}"));
    let profile = this.ancestors().nth(2).map(PathBuf::from);
    let example = profile.unwrap_or_default().join("examples").join(name);
    example.display().to_string()
}
