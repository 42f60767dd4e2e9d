#!/bin/sh
# Makes .venv with the pinned requirements and this checkout in it, and installs aria2 where it is missing; with the word
# "tests", also what the tests, the linters and the other targets need. Says what to do where it cannot; run it again at any time.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1; then sudo "$@"
    else return 1
    fi
}

APT_UPDATED=
apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    if [ -z "$APT_UPDATED" ]; then
        as_root apt-get update -qq >&2 || true
        APT_UPDATED=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# What cannot be had of these skips the tests that need it, with the reason.
install_for_tests() {
    # It makes the tests' certificates.
    command -v openssl >/dev/null 2>&1 || apt_install openssl || true
    # They sign commits.
    command -v gpg >/dev/null 2>&1 || apt_install gnupg || true
    command -v ssh-keygen >/dev/null 2>&1 || apt_install openssh-client || true
    # Completion is tried in the real shells, and the page of the manual is rendered.
    command -v zsh >/dev/null 2>&1 || apt_install zsh || true
    command -v fish >/dev/null 2>&1 || apt_install fish || true
    command -v man >/dev/null 2>&1 || apt_install man-db || true
    # Documented commands pipe into jq.
    if ! command -v jq >/dev/null 2>&1; then
        say "installing jq for the tests ..."
        if command -v brew >/dev/null 2>&1; then
            brew install jq >&2 || true
        else
            apt_install jq || true
        fi
    fi
    # A filesystem by FUSE refuses what real disks refuse.
    if [ -e /dev/fuse ] && ! command -v fusermount3 >/dev/null 2>&1; then
        say "installing fuse3 for the tests ..."
        apt_install fuse3 || true
    fi
    # They look at the page.
    if ! command -v chromium >/dev/null 2>&1 && ! command -v chromium-browser >/dev/null 2>&1 \
        && ! command -v google-chrome >/dev/null 2>&1; then
        say "installing chromium for the tests ..."
        apt_install chromium fonts-dejavu-core || true
    fi
}

command -v "$PYTHON" >/dev/null 2>&1 || die "$PYTHON not found: install Python 3.11 or newer, or set PYTHON=/path/to/python3"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || die "$("$PYTHON" --version) is too old: Python 3.11 or newer is needed; set PYTHON=/path/to/a/newer/python3"
command -v git >/dev/null 2>&1 || die "git not found: install it first"

if ! command -v aria2c >/dev/null 2>&1; then
    say "installing aria2 ..."
    if command -v brew >/dev/null 2>&1; then
        brew install aria2 >&2 || true
    else
        apt_install aria2 || true
    fi
    command -v aria2c >/dev/null 2>&1 || die "aria2c could not be installed here (no apt-get with root or sudo, no brew).
Install it by hand and run this again:
  Ubuntu/Debian: sudo apt install aria2
  macOS: brew install aria2"
fi

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "making .venv ..."
    rm -rf .venv
    if ! "$PYTHON" -m venv .venv 2>/dev/null; then
        # Debian and Ubuntu ship venv in a package of its own.
        rm -rf .venv
        apt_install python3-venv || true
        "$PYTHON" -m venv .venv || die "cannot make a virtual environment: sudo apt install python3-venv"
    fi
fi
pip_install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "$@"; }

say "installing the pinned requirements ..."
if [ "${1:-}" = tests ]; then
    install_for_tests
    pip_install --require-hashes -r requirements/dev.txt
    # It is not there for every Python and system.
    say "trying to install Ray for the tests ..."
    pip_install --only-binary :all: --require-hashes -r requirements/ray.txt >/dev/null 2>&1 \
        || say "Ray cannot be installed here: its tests are skipped"
else
    pip_install --require-hashes -r requirements/run.txt
fi
pip_install --no-deps --no-build-isolation --editable .
# Else every run compiles what has changed since, where PYTHONDONTWRITEBYTECODE is set.
.venv/bin/python -m compileall -q controller
