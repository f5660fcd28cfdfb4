#!/usr/bin/env bash
# Everything that must hold before a change is merged. Ends with what was checked, and what was skipped and why.
# Called by `make test`, which sets CARGO_TARGET_DIR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
readonly work
readonly skips=$work/skips checked=$work/checked
touch "$skips" "$checked"

# step NAME COMMAND...: runs a check, and stops everything when it fails.
step() {
    local name=$1 started=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@" || { printf '\nFAILED: %s\n' "$name"; exit 1; }
    printf '%-12s ok, %d s\n' "$name" $((SECONDS - started)) >>"$checked"
}

skip() { printf '%s\n' "$*" >>"$skips"; }

# Crates that must not be in the tree: TLS and cryptography are ring and rustls.
guards() {
    local crate found
    for crate in aws-lc-sys openssl-sys; do
        if found=$(cargo tree --locked --workspace -i "$crate" 2>&1); then
            grep -q 'nothing to print' <<<"$found" && continue
            printf '%s must not be a dependency:\n%s\n' "$crate" "$found"
            return 1
        fi
        # It fails when there is no such crate, which is what we want to hear; any other failure is one.
        grep -q 'did not match any packages' <<<"$found" || { printf '%s\n' "$found"; return 1; }
    done
}

# Every relative link of the documentation leads to a file.
links() {
    local page target broken=0
    while IFS=: read -r page target; do
        target=${target#](} target=${target%)} target=${target%%#*}
        case $target in '' | *://* | mailto:*) continue ;; esac
        if [ ! -e "$(dirname "$page")/$target" ]; then
            printf '%s: no file %s\n' "$page" "$target"
            broken=1
        fi
    done < <(grep -oHE '\]\([^) ]+\)' ./*.md docs/*.md docs/*/*.md)
    return $broken
}

# A test that cannot run here says `skipped: what and why` and passes; --show-output lets us hear it.
tests() {
    cargo test --release --locked --workspace --no-fail-fast -- --show-output 2>&1 | tee "$work/tests"
}

# The web app, built before the binary that has it in it.
has_ui=no
ui() {
    local code=0
    scripts/ui.sh check || code=$?
    case $code in
    0) has_ui=yes ;;
    3) skip "Node.js, or what npm installs for ui/, is missing: the web app, here and in a browser" ;;
    *) return $code ;;
    esac
}

# The binary of the tests in a browser. It is the one with the app as it was just built.
browser() {
    local browser
    browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
        skip "chromium is missing: the web app in a browser"
        return 0
    }
    CHROMIUM=$browser HEIMDALL_BIN=$CARGO_TARGET_DIR/release/heimdall scripts/ui.sh browser
}

# Sum of one figure (passed, failed, ignored) over all test programs.
count() { awk -v what="$1;" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i == what) n += $(i - 1) } END { print n + 0 }' "$work/tests"; }

step dependencies scripts/deps.sh test "$CARGO_TARGET_DIR/test-tools"
export PATH=$PATH:$CARGO_TARGET_DIR/test-tools/usr/bin

step links links
if cargo fmt --version >/dev/null 2>&1; then
    step format cargo fmt --all --check
else
    skip "rustfmt is missing (rustup component add rustfmt): the format of the source"
fi
step guards guards
if command -v cargo-deny >/dev/null 2>&1; then
    step licences cargo deny --offline --log-level error check bans licenses sources
else
    skip "cargo-deny is missing (cargo install cargo-deny): licences of dependencies"
fi
step ui ui
if cargo clippy --version >/dev/null 2>&1; then
    step lints cargo clippy --release --locked --workspace --all-targets -- -D warnings
else
    skip "clippy is missing (rustup component add clippy): lints"
fi
step tests tests
sed -n 's/^skipped: //p' "$work/tests" | sort -u >>"$skips"
if [ $has_ui = yes ]; then
    step browser browser
fi

printf '\n== checked\n'
cat "$checked"
printf '%s passed, %s failed, %s ignored\n' "$(count passed)" "$(count failed)" "$(count ignored)"
printf '\n== skipped\n'
if [ -s "$skips" ]; then cat "$skips"; else echo nothing; fi
