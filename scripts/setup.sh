#!/bin/sh
# Makes .venv with the pinned requirements and this checkout in it, and installs aria2 (jq and fuse3, for tests) where they are missing.
# Says what to do where it cannot; run it again at any time.
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

# Only tests need it: it makes their certificates.
command -v openssl >/dev/null 2>&1 || apt_install openssl || true

# Only tests need these: they sign commits. Where they cannot be had, such tests are skipped.
command -v gpg >/dev/null 2>&1 || apt_install gnupg || true
command -v ssh-keygen >/dev/null 2>&1 || apt_install openssh-client || true

# Only tests need these: completion is tried in the real shells, and the page of the manual is rendered.
command -v zsh >/dev/null 2>&1 || apt_install zsh || true
command -v fish >/dev/null 2>&1 || apt_install fish || true
command -v man >/dev/null 2>&1 || apt_install man-db || true

# Only tests need it: documented commands pipe into jq. Where it cannot be had, they are skipped.
if ! command -v jq >/dev/null 2>&1; then
    say "installing jq for the tests ..."
    if command -v brew >/dev/null 2>&1; then
        brew install jq >&2 || true
    else
        apt_install jq || true
    fi
fi

# Only tests need these: a filesystem by FUSE that refuses what real disks refuse. Where it cannot be had, they are skipped.
if [ -e /dev/fuse ] && ! command -v fusermount3 >/dev/null 2>&1; then
    say "installing fuse3 for the tests ..."
    apt_install fuse3 || true
fi

# Only tests need it: they look at the page. Where it cannot be had, such tests are skipped.
if ! command -v chromium >/dev/null 2>&1 && ! command -v chromium-browser >/dev/null 2>&1 \
    && ! command -v google-chrome >/dev/null 2>&1; then
    say "installing chromium for the tests ..."
    apt_install chromium fonts-dejavu-core || true
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
say "installing the pinned requirements ..."
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements/dev.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation --editable .
# Only tests need it, and it is not there for every Python and system: where it cannot be had, they are skipped.
say "trying to install Ray for the tests ..."
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: --require-hashes \
    -r requirements/ray.txt >/dev/null 2>&1 || say "Ray cannot be installed here: its tests are skipped"
# Else every run compiles what has changed since, where PYTHONDONTWRITEBYTECODE is set.
.venv/bin/python -m compileall -q controller
