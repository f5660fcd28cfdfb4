#!/usr/bin/env bash
# The web app of ui/.
#
#   ui.sh node     is Node.js there, and new enough? names what is wrong
#   ui.sh build    builds ui/dist when a source is newer than it
#   ui.sh with COMMAND...
#                  the command that embeds ui/dist, after a build; where there is no app yet, at the same time
#   ui.sh check    types, lints, unit tests, and the build
#   ui.sh browser  browser tests against the binary $HEIMDALL_BIN
#
# Node.js is the machine's, or the one that `deps.sh test` fetched. Packages are those of package-lock.json, installed when it
# changes. Ends with 3 when Node.js or the packages cannot be had: then nothing is wrong with the app.
set -euo pipefail
readonly SELF=$(realpath "${BASH_SOURCE[0]}")
cd "$(dirname "$SELF")/../ui"

readonly NODE_MIN=20.19 STAMP=dist/.built CANNOT=3
readonly FETCHED=${CARGO_TARGET_DIR:-$HOME/.cache/heimdall-target}/test-tools/node/bin

say() { printf 'ui: %s\n' "$*" >&2; }

# Prints the version of the Node.js found first.
node_version() { command -v npm >/dev/null 2>&1 && node --version 2>/dev/null | tr -d v; }

is_enough() { [ "$(printf '%s\n%s\n' "$NODE_MIN" "$1" | sort -V | head -n1)" = "$NODE_MIN" ]; }

need_node() {
    local version
    version=$(node_version) && is_enough "$version" && return
    if [ -x "$FETCHED/node" ]; then
        export PATH=$FETCHED:$PATH
        version=$(node_version) && is_enough "$version" && return
    fi
    say "Node.js ${version:+$version is too old, }$NODE_MIN or newer is needed"
    exit "$CANNOT"
}

# npm notes what it installed in node_modules/.package-lock.json.
need_packages() {
    local note=node_modules/.package-lock.json
    [ -e "$note" ] && [ ! package-lock.json -nt "$note" ] && return
    say "installing packages"
    if ! npm ci --no-audit --no-fund --loglevel=error; then
        say "the packages cannot be installed"
        exit "$CANNOT"
    fi
    touch "$note"
}

# Whether dist is newer than all it is made from.
is_built() {
    [ -e "$STAMP" ] && [ -e dist/index.html ] || return 1
    local newer
    newer=$(find . \( -path ./node_modules -o -path ./dist -o -path ./e2e \) -prune -o -type f -newer "$STAMP" -print -quit)
    [ -z "$newer" ]
}

# make_dist SCRIPT: runs what ends with a build. All of it gets the time of the start, or that of $STARTED: a source changed
# meanwhile is newer, and what was started then and waited has the app as it is.
make_dist() {
    local started=${STARTED:-}
    [ -n "$started" ] || started=$(mktemp)
    npm run --silent "$1"
    touch "$STAMP"
    find dist -exec touch -r "$started" {} +
    [ -n "${STARTED:-}" ] || rm -f "$started"
}

# Builds the app where that is possible: no machine must have Node.js to build Heimdall.
build_if_possible() {
    local code=0
    "$SELF" build 9>&- || code=$? # what npm leaves behind must not hold the lock of `with`
    [ "$code" = "$CANNOT" ] || return "$code"
    if [ -e dist/index.html ]; then
        say "the binary has the web app as it was built last"
    else
        say "the web app is left out of the binary; its page says how to add it"
    fi
}

# with COMMAND...: a first build of everything has both cores busy when it makes the app beside the dependencies. The build script of the
# crate that embeds the app waits while `.building` is locked.
with() {
    local app=0 code=0 builder
    if [ -e dist/index.html ] || ! command -v flock >/dev/null 2>&1; then
        build_if_possible || return
        cd ..
        "$@"
        return
    fi
    exec 9>.building
    flock 9
    touch .building
    STARTED=.building build_if_possible &
    builder=$!
    exec 9>&-
    (cd .. && "$@") || code=$?
    wait "$builder" || app=$?
    [ "$code" = 0 ] || return "$code"
    return "$app"
}

case ${1:-build} in
node) need_node ;;
build)
    is_built && exit
    need_node
    need_packages
    say "building the web app"
    make_dist build
    ;;
with)
    shift
    with "$@"
    ;;
check)
    need_node
    need_packages
    make_dist check
    ;;
browser)
    need_node
    need_packages
    npm run --silent e2e
    ;;
*)
    say "no step is named $1"
    exit 2
    ;;
esac
