#!/bin/sh
# Sets up what is missing, then runs the toolkit.
#
#   ./run.sh solve [options]     decide; the same as `stochbess solve`
#   ./run.sh test [options]      the test suite; options go to pytest
#   ./run.sh <word> [options]    any other command of `stochbess`, for example doctor
#
# The first call makes a virtual environment (.venv beside this file, or the directory named by
# STOCHBESS_VENV) and installs the toolkit there; later calls start at once. On Debian and Ubuntu
# missing system packages are installed if this is root or sudo asks for no password, otherwise the
# line to type is printed. Messages of the set-up go to standard error; standard output and the exit
# code belong to the program. Exit code 1: the set-up failed.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
venv=${STOCHBESS_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
lock=$venv.lock # a link whose target names its holder
me=$(uname -n):$$
# What a finished set-up was made for. It is written last, so that an interrupted one is redone.
key="$(cksum <"$root/pyproject.toml") $root $venv"
pango='libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core'

say() { printf 'run.sh: %s\n' "$*" >&2; }

die() {
    say "$@"
    exit 1
}

# --- system packages ---------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_install_packages() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }
}

install_packages() {
    may_install_packages || return 1
    say "installing system packages: $*"
    log=$(mktemp)
    if ( # dpkg looks for its tools where a short PATH does not
        PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
        export PATH
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
                --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
    ) </dev/null >"$log" 2>&1; then
        rm -f -- "$log"
    else
        cat "$log" >&2
        rm -f -- "$log"
        say "apt-get failed, see above"
        return 1
    fi
}

find_python() {
    for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# --- one set-up at a time ----------------------------------------------------------------------

is_gone() { # whether the process "host:pid" of this machine has ended
    [ "${1%:*}" = "${me%:*}" ] || return 1
    ! kill -0 "${1##*:}" 2>/dev/null && ! [ -d "/proc/${1##*:}" ]
}

take_lock() {
    mkdir -p -- "${lock%/*}" 2>/dev/null || :
    [ -w "${lock%/*}" ] || die "cannot write to ${lock%/*}. Set STOCHBESS_VENV to another directory."
    waited_s=0
    until ln -s "$me" "$lock" 2>/dev/null; do
        holder=$(readlink "$lock") || holder=
        if [ -n "$holder" ] && is_gone "$holder"; then
            # Only one may remove a dead holder's lock, and only if it still is that holder's.
            if ln -s "$me" "$lock.breaking" 2>/dev/null; then
                [ "$(readlink "$lock")" != "$holder" ] || rm -f -- "$lock"
                rm -f -- "$lock.breaking"
                continue
            fi
        fi
        [ "$waited_s" -ne 0 ] || say "waiting for another set-up ($holder); if there is none," \
            "remove $lock and $lock.breaking"
        [ "$waited_s" -lt 1800 ] || die "gave up waiting for $lock ($holder)."
        sleep 1
        waited_s=$((waited_s + 1))
    done
    trap 'rm -f -- "$lock"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

release_lock() {
    rm -f -- "$lock"
    trap - EXIT HUP INT TERM
}

# --- the virtual environment -------------------------------------------------------------------

is_ready() { # $1: core or dev
    [ "$(cat "$venv/.ready-$1" 2>/dev/null)" = "$key" ] && [ -x "$venv/bin/stochbess" ] &&
        "$venv/bin/python" -I -c 'import stochbess' 2>/dev/null
}

is_usable() { # whole, in the place it was made for, with an interpreter that is there and new enough
    [ "$(cat "$venv/.made" 2>/dev/null || echo "$venv")" = "$venv" ] && "$venv/bin/python" -I -c \
        'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

remove_venv() { # only what was made here
    [ -e "$venv" ] || return 0
    if ! [ -f "$venv/.made" ] && ! [ "$venv" = "$root/.venv" ] && ! rmdir "$venv" 2>/dev/null; then
        die "$venv is no usable virtual environment and was not made by run.sh. Remove it, or set" \
            "STOCHBESS_VENV to another directory."
    fi
    [ ! -e "$venv" ] || say "rebuilding $venv: it is incomplete, was moved, or lost its interpreter"
    rm -rf -- "$venv"
}

make_venv() {
    remove_venv
    if ! python=$(find_python); then
        install_packages python3 python3-venv || :
        python=$(find_python) || die "Python 3.11 or newer was not found. On Debian 12 type, then" \
            "repeat: sudo apt-get install -y python3 python3-venv"
    fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        install_packages "python$version-venv" || die "$python cannot make a virtual environment." \
            "Type, then repeat: sudo apt-get install -y python$version-venv"
    fi
    say "making a virtual environment with Python $version in $venv"
    mkdir -p -- "$venv"
    : >"$venv/.made" # empty until everything is in place
    "$python" -m venv "$venv" >&2 || die "$python -m venv failed, see above."
}

set_up() { # $1: core or dev
    is_usable || make_venv
    rm -f -- "$venv/.ready-core" "$venv/.ready-dev"
    what=$root
    [ "$1" = core ] || what="${root}[dev]"
    say "installing the toolkit and its libraries ($1); the first time takes 1 to 4 minutes"
    : >"$venv/.made"
    "$venv/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input \
        -e "$what" </dev/null >&2 ||
        die "the installation failed, see above. Repeat ./run.sh when the cause is mended."
    printf '%s\n' "$venv" >"$venv/.made"
    if ! can_write_pdf; then
        # shellcheck disable=SC2086 # a list of words
        install_packages $pango || :
        can_write_pdf || say "reports will be HTML without PDF, for Pango is missing. On Debian and" \
            "Ubuntu: sudo apt-get install -y --no-install-recommends $pango (macOS: brew install pango)"
    fi
    printf '%s\n' "$key" >"$venv/.ready-core"
    [ "$1" = core ] || printf '%s\n' "$key" >"$venv/.ready-dev"
}

can_write_pdf() { "$venv/bin/python" -I -c 'import weasyprint' >/dev/null 2>&1; }

# --- the job -----------------------------------------------------------------------------------

if [ $# -eq 0 ]; then
    sed -n '4,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
level=core
[ "$1" != test ] || level=dev
if ! is_ready "$level"; then
    take_lock
    is_ready "$level" || set_up "$level"
    release_lock
fi
if [ "$1" = test ]; then
    shift
    cd -- "$root"
    exec "$venv/bin/python" -m pytest -n 2 "$@"
fi
exec "$venv/bin/stochbess" "$@"
