#!/usr/bin/env bash
# The whole suite. Needs a Rust toolchain and a C compiler (for the SQLite that is built in), and nothing else.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n== %s\n' "$*"; }

missing() {
    printf 'missing: %s\n  install it with: %s\n' "$1" "$2" >&2
    exit 1
}

command -v cargo >/dev/null || missing 'a Rust toolchain, 1.94 or later' 'see https://rustup.rs'

# The C compiler is the one thing that the system's package manager may have to bring.
if ! command -v cc >/dev/null && ! command -v gcc >/dev/null && ! command -v clang >/dev/null; then
    if [ "$(uname -s)" = Darwin ]; then
        missing 'a C compiler' 'xcode-select --install'
    elif command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        say 'installing a C compiler'
        apt-get update -q && apt-get install -qy --no-install-recommends gcc libc6-dev
    elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then
        say 'installing a C compiler'
        sudo apt-get update -q && sudo apt-get install -qy --no-install-recommends gcc libc6-dev
    else
        missing 'a C compiler' 'apt-get install gcc libc6-dev (Debian, Ubuntu)'
    fi
fi

# One set of features for everything, so that nothing is built twice: the packages of the workspace ask for all of them.
say 'unit tests, contract suite, process tests, compile tests, examples'
cargo test --locked --workspace --all-features

say 'the main job: a bank of four processes, without locks and with them'
cargo run --locked -q -p examples --example transfer

# What the tests above leave out here; each of them knows by itself.
skipped=()
pinned=$(sed -n 's/^const PINNED: &str = "\(.*\)";$/\1/p' ui-tests/tests/ui.rs)
compiler=$("${RUSTC:-rustc}" -V)
case $compiler in
    "$pinned"*) ;;
    *) skipped+=("ui-tests/rustc (worded by ${pinned}x, this is $compiler)") ;;
esac
if [ "$(id -u)" = 0 ]; then
    skipped+=("the file rights of the SQLite driver (they do not bind root)")
fi
if [ "$(uname -s)" != Linux ]; then
    skipped+=("tests/leaks.rs (counts in /proc)")
fi
if [ ${#skipped[@]} = 0 ]; then
    say 'passed; skipped: nothing'
else
    list=$(printf '%s; ' "${skipped[@]}")
    say "passed; skipped: ${list%; }"
fi
