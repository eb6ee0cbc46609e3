# shellcheck shell=sh
# Sourced by run and test, which set `root` to the checkout: makes .venv there and installs
# gossamer into it.  Everything it says goes to stderr, so that stdout is the program's own.

# shellcheck disable=SC2154
venv=$root/.venv

say() { printf 'gossamer: %s\n' "$*" >&2; }

die() {
    say "$@"
    exit 1
}

check_host() {
    host=$(uname -sm)
    case $host in
        "Linux x86_64" | "Linux aarch64") ;;
        *) die "needs Linux on x86-64 or arm64, got $host; docs/hosts.md says what else may be tried" ;;
    esac
}

python_ok() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.maxsize < 2**32)' >/dev/null 2>&1
}

# The first usable interpreter; PYTHON=... chooses one.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.14 python3.13 python3.12 python3.11
    fi
    seen=
    for candidate; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        if python_ok "$candidate"; then
            command -v "$candidate"
            return
        fi
        seen="$seen $candidate ($("$candidate" -V 2>&1 || true))"
    done
    die "needs a 64-bit Python 3.11 or newer, found:${seen:- none of $*}." \
        "On Debian or Ubuntu: apt-get install python3 python3-venv"
}

# What an installed environment depends on: its place, its Python, the list of packages.
stamp() {
    printf '%s\n' "$root"
    readlink -e "$venv/bin/python"
    cat "$root/pyproject.toml"
}

is_fresh() {
    [ -f "$venv/.stamp-$1" ] && stamp 2>/dev/null | cmp -s - "$venv/.stamp-$1"
}

has_pip() {
    python_ok "$1" && "$1" -m pip --version >/dev/null 2>&1
}

# Everything but the lock that we hold.
clear_venv() {
    find "$venv" -mindepth 1 -maxdepth 1 ! -name .lock -exec rm -rf {} +
}

make_venv() {
    has_pip "$venv/bin/python" && return
    say "making a virtual environment in $venv ($("$python" -V), $python)"
    clear_venv
    if "$python" -m venv "$venv" >"$venv/.log" 2>&1 && has_pip "$venv/bin/python"; then
        return
    fi
    # Debian keeps the part of venv that brings pip in a package of its own.
    clear_venv
    if has_pip "$python"; then
        say "this Python has no ensurepip: putting pip into .venv with the system's pip"
        "$python" -m venv --without-pip "$venv" >&2 \
            && "$python" -m pip --disable-pip-version-check --python "$venv/bin/python" install --quiet pip >&2 \
            && has_pip "$venv/bin/python" \
            && return
        clear_venv
    fi
    install_venv_package
    "$python" -m venv "$venv" >&2 || die "python -m venv failed although its package is installed (see above)"
}

install_venv_package() {
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    command -v apt-get >/dev/null 2>&1 \
        || die "$python can make no virtual environment with pip in it: install its venv and ensurepip modules"
    if [ "$(id -u)" = 0 ]; then
        sudo=
    elif command -v sudo >/dev/null 2>&1; then
        sudo=sudo
    else
        die "needs the Debian package $package: as root, apt-get install $package, then start this again"
    fi
    say "installing the Debian package $package, system-wide: ${sudo:+$sudo }apt-get install $package"
    $sudo apt-get update -q >&2 || say "apt-get update failed; trying with the lists that are there"
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$package" >&2 \
        || die "apt-get could not install $package (see above)"
}

# Names of the Python packages that a kind of environment asks for.
wanted() {
    "$venv/bin/python" - "$root/pyproject.toml" "$1" <<'PY'
import re, sys, tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
extra = project["optional-dependencies"]["test"] if sys.argv[2] == "test" else []
print(*(re.split("[<>=~]", line)[0] for line in [*project["dependencies"], *extra]))
PY
}

# What pip writes when no index answers.
no_network='NewConnectionError|NameResolutionError|Network is unreachable|ConnectTimeoutError|ProxyError'

# On a terminal: what pip is busy with, while process $1 runs.
watch_pip() {
    [ -t 2 ] || return 0
    while kill -0 "$1" 2>/dev/null; do
        printf '\r\033[K%.*s' "$((${COLUMNS:-80} - 1))" "  $(tail -n 1 "$venv/.log" 2>/dev/null)" >&2
        sleep 0.3
    done
    printf '\r\033[K' >&2
}

install_package() {
    case $1 in
        test) what='.[test]' ;;
        *) what=. ;;
    esac
    say "installing into .venv, and nowhere else: gossamer (editable), $(wanted "$1")"
    [ "$1" = test ] && size=140 || size=80
    say "some $size MB are fetched the first time; on a slow line that takes minutes"
    (cd "$root" && exec "$venv/bin/python" -m pip --disable-pip-version-check install --retries 2 \
        --no-input --progress-bar off --editable "$what") >"$venv/.log" 2>&1 &
    watch_pip $!
    if ! wait $!; then
        if grep -qE "$no_network" "$venv/.log"; then
            die "no network: pip cannot reach the package index (the whole log: $venv/.log)"
        fi
        tail -n 30 "$venv/.log" >&2
        die "pip could not install gossamer (the whole log: $venv/.log)"
    fi
    grep '^Successfully installed' "$venv/.log" >&2 || true
    # Where Python may not write bytecode, or not there, each start would compile a third of a second.
    "$venv/bin/python" -m compileall -q "$root/src" >>"$venv/.log" 2>&1 || true
    stamp >"$venv/.stamp-run"
    # The test tools include all that a run needs; not the other way round.
    [ "$1" != test ] || stamp >"$venv/.stamp-test"
}

# set_up run|test: instant when nothing has changed.
set_up() {
    is_fresh "$1" && return
    check_host
    python=$(find_python) || exit 1
    mkdir -p "$venv" 2>/dev/null && [ -w "$venv" ] \
        || die "cannot write $venv: use a copy of this folder that you may write to"
    exec 9>"$venv/.lock"
    flock -n 9 || { say "waiting for another set-up of $venv"; flock 9; }
    if ! is_fresh "$1"; then
        make_venv
        install_package "$1"
    fi
    exec 9>&-
}
