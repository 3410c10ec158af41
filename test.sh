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

say 'passed; skipped: nothing'
