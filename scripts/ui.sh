#!/usr/bin/env bash
# The web app of ui/.
#
#   ui.sh node     is Node.js there, and new enough? names what is wrong
#   ui.sh build    builds ui/dist when a source is newer than it
#   ui.sh check    types, lints, unit tests, and the build
#   ui.sh browser  browser tests against the binary $HEIMDALL_BIN
#
# Node.js is the machine's, or the one that `deps.sh test` fetched. Packages are those of package-lock.json, installed when it
# changes. Ends with 3 when Node.js or the packages cannot be had: then nothing is wrong with the app.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../ui"

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

# make_dist SCRIPT: runs what ends with a build. The stamp has the time of its start: a source changed meanwhile is newer.
make_dist() {
    local started
    started=$(mktemp)
    npm run --silent "$1"
    touch -r "$started" "$STAMP"
    rm -f "$started"
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
