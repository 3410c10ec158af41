#!/usr/bin/env bash
# The whole suite. Needs a Rust toolchain; installs what else is missing where it can: a C compiler, Redis, Postgres with
# pgbouncer, MariaDB. The tests start servers of their own on the loopback; nothing that runs already is touched.
#
#   ./test.sh                   all of it, with each fault of the fault matrix once on each driver
#   ./test.sh soak [MINUTES]    the fault matrix again and again, for 20 minutes unless told otherwise
#   ./test.sh sabotage [BUG..]  the fault matrix against known bugs, each of which it has to find
#
#   VERROU_TEST_SKIP=mysql,postgres,redis     leaves these out, and says so in the last line
#   VERROU_TEST_REDIS_URL=.. (POSTGRES, MYSQL)  uses a server of yours for the contract suite
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n== %s\n' "$*"; }

missing() {
    printf 'missing: %s\n  install it with: %s\n' "$1" "$2" >&2
    exit 1
}

skips() { case ",${VERROU_TEST_SKIP:-}," in *",$1,"*) return 0 ;; *) return 1 ;; esac; }

# Debian keeps the programs of Postgres off the path.
have() { command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null || [ -x "/usr/sbin/$1" ]; }

command -v cargo >/dev/null || missing 'a Rust toolchain, 1.94 or later' 'see https://rustup.rs'

debian=() brew=()
want() { # PROGRAM DEBIAN-PACKAGE BREW-PACKAGE
    have "$1" || { debian+=("$2"); brew+=("$3"); }
}
if ! have cc && ! have gcc && ! have clang; then
    debian+=(gcc libc6-dev) brew+=(gcc)
fi
if ! skips redis; then
    want redis-server redis-server redis
    want redis-sentinel redis-sentinel redis
    want openssl openssl openssl
fi
if ! skips postgres; then
    want initdb postgresql postgresql
    want pgbouncer pgbouncer pgbouncer
fi
if ! skips mysql; then
    want mariadbd mariadb-server mariadb
    want mariadb-install-db mariadb-server mariadb
fi

if [ ${#debian[@]} -gt 0 ]; then
    if [ "$(uname -s)" = Darwin ] && command -v brew >/dev/null; then
        say "installing ${brew[*]}"
        brew install "${brew[@]}"
    elif command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
        say "installing ${debian[*]}"
        root=()
        [ "$(id -u)" = 0 ] || root=(sudo)
        "${root[@]}" apt-get update -q
        # In runlevel 1 the packages start no services: the tests bring their own servers up.
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get install -qy --no-install-recommends "${debian[@]}"
    elif [ "$(uname -s)" = Darwin ]; then
        missing "${brew[*]}" "brew install ${brew[*]}"
    else
        missing "${debian[*]}" "apt-get install ${debian[*]} (Debian, Ubuntu), or leave them out with VERROU_TEST_SKIP=mysql,postgres,redis"
    fi
fi

# One set of features for everything, so that nothing is built twice: the packages of the workspace ask for all of them,
# but for `tls-native-tls`, which needs the system's OpenSSL.
features=tests/tls,examples/servers
case "${1:-}" in
soak | sabotage)
    target=${CARGO_TARGET_DIR:-target}
    if [ "$1" = sabotage ]; then
        # Every crate is built anew with these flags: in a folder of its own, so that nobody else has to build again.
        target=$target/sabotage
        export CARGO_TARGET_DIR=$target RUSTFLAGS="${RUSTFLAGS:-} --cfg verrou_sabotage"
    fi
    say "the fault matrix: $*"
    cargo build --locked --workspace --features "$features" --bins
    exec "$target/debug/proof" "$@"
    ;;
'') ;;
*)
    echo 'usage: ./test.sh [soak [MINUTES] | sabotage [BUG..]]' >&2
    exit 64
    ;;
esac

say 'unit tests, contract suite, process tests, compile tests, examples'
cargo test --locked --workspace --features "$features"

say 'the main job: a bank of four processes, without locks and with them'
cargo run --locked -q -p examples --example transfer

# What the tests above leave out here; each of them knows by itself.
skipped=()
for server in mysql postgres redis; do
    if skips "$server"; then skipped+=("$server (VERROU_TEST_SKIP)"); fi
done
pinned=$(sed -n 's/^const PINNED: &str = "\(.*\)";$/\1/p' ui-tests/tests/ui.rs)
compiler=$("${RUSTC:-rustc}" -V)
case $compiler in
    "$pinned"*) ;;
    *) skipped+=("ui-tests/tests/rustc and transparent (worded by ${pinned}x, this is $compiler)") ;;
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
