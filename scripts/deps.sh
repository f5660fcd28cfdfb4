#!/usr/bin/env bash
# Checks, and on Debian and Ubuntu installs, what building and testing need.
#
#   deps.sh build        what `make run` needs: fails with the command to run when something is missing
#   deps.sh test TOOLS   what tests need besides: folder TOOLS receives programs; what cannot be had is named with the
#                        command that installs it, and the tests that need it skip themselves
#
# No service is installed or started: the Prometheus server is unpacked into TOOLS, not installed, DuckDB likewise.
set -euo pipefail

readonly RUST_MIN=1.95 DUCKDB=2.0.1

say() { printf 'deps: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root; fails quietly where that is not possible without asking.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif has sudo && sudo -n true 2>/dev/null; then sudo -n "$@"
    else return 1
    fi
}

# Installs Debian packages, refreshing the package lists only when the first try fails.
apt_install() {
    has apt-get || return 1
    say "installing $* with apt-get"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@")
    as_root "${install[@]}" >/dev/null 2>&1 && return
    as_root apt-get update >/dev/null 2>&1 && as_root "${install[@]}" >/dev/null 2>&1
}

# at_least A B: whether version A is B or newer.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n1)" = "$2" ]; }

check_rust() {
    local advice="install it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
    { has cargo && has rustc; } || die "Rust is missing; $advice"
    local version
    version=$(rustc --version | cut -d' ' -f2)
    at_least "$version" "$RUST_MIN" || die "Rust $version is too old, $RUST_MIN is needed; run: rustup update stable"
}

check_compiler() {
    local missing=()
    has gcc || has cc || missing+=(gcc libc6-dev)
    has make || missing+=(make)
    [ ${#missing[@]} = 0 ] && return
    apt_install "${missing[@]}" || die "missing: ${missing[*]}; run: sudo apt-get install ${missing[*]}"
}

# need PROGRAM PACKAGE: makes a program available, or says how to.
need() {
    has "$1" || apt_install "$2" || true
    has "$1" || say "$1 is missing, tests that need it are skipped; run: sudo apt-get install $2"
}

# A Prometheus server without its service: the package is downloaded and unpacked, which needs no root.
need_prometheus() {
    has prometheus && return
    if [ ! -x "$TOOLS/usr/bin/prometheus" ] && has apt-get && has dpkg-deb; then
        say "unpacking the Prometheus server into $TOOLS"
        unpack prometheus || { as_root apt-get update >/dev/null 2>&1 && unpack prometheus; } || true
    fi
    [ -x "$TOOLS/usr/bin/prometheus" ] ||
        say "prometheus is missing, tests that need it are skipped; put the binary of https://prometheus.io/download in your PATH"
}

unpack() (
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    cd "$work"
    apt-get download "$1" >/dev/null 2>&1 && dpkg-deb -x ./*.deb "$TOOLS"
)

# A Python with DuckDB in a folder of its own, which reads exports as a user would.
need_duckdb() {
    local bin=$TOOLS/usr/bin/python-duckdb
    [ -x "$bin" ] && return
    if has python3; then
        say "installing DuckDB $DUCKDB for Python into $TOOLS"
        if python3 -m venv "$TOOLS/duckdb" >/dev/null 2>&1 &&
            "$TOOLS/duckdb/bin/pip" install -q "duckdb==$DUCKDB" >/dev/null 2>&1; then
            mkdir -p "$TOOLS/usr/bin"
            printf '#!/bin/sh\nexec "%s" "$@"\n' "$TOOLS/duckdb/bin/python" >"$bin"
            chmod 755 "$bin"
        fi
    fi
    [ -x "$bin" ] || say "DuckDB is missing, tests that need it are skipped; run: pip install duckdb"
}

check_rust
check_compiler
if [ "${1:-build}" = test ]; then
    TOOLS=$2
    mkdir -p "$TOOLS"
    need curl curl
    need unshare util-linux
    need_prometheus
    need_duckdb
fi
