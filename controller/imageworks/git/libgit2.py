"""The one door to libgit2: importing it, setting it up safely, and making its objects."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from imageworks.files.mounts import mount_of
from imageworks.git.values import DamagedRepositoryError


class _LazyModule(ModuleType):
    """Stands for a library that costs more to load than most commands take, until something of it is used."""

    def __getattr__(self, name: str) -> object:
        found = getattr(import_module(self.__name__), name)
        setattr(self, name, found)  # asked for again once an object
        return found


if TYPE_CHECKING:
    from io import BufferedReader

    import pygit2 as pygit2  # noqa: PLC0414 # for the modules that come through this door
    from pygit2 import Config, Oid, Repository, Signature
else:
    pygit2 = _LazyModule("pygit2")

_WINDOW_BYTES, _MAPPED_BYTES = 1 << 20, 12 << 20
"""Of packs in the memory at a time; left alone, libgit2 maps a pack as a whole, and all that was read of it stays."""
_CACHED_BYTES = 1 << 18
"""Of small objects; left alone, libgit2 keeps 256 MiB of them, and a walk of 20,000 commits leaves 60."""

ORDINARY = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "overlay", "apfs"})
"""Filesystems that are known to make files and folders durable when asked."""


def _prepare(path: Path | None = None) -> None:
    """Turn on fsync, where the filesystem has it, and look for the user's settings where the environment says now.

    Without fsync an acknowledged commit does not survive a power cut. libgit2 reads HOME once a process, which is wrong
    for a long-lived one and for tests, so its search path is set each time a repository is opened.
    """
    pygit2.settings.owner_validation = False  # git itself is asked (ownership.py): libgit2 knows half of the settings
    pygit2.settings.mwindow_size, pygit2.settings.mwindow_mapped_limit = _WINDOW_BYTES, _MAPPED_BYTES
    pygit2.settings.cache_max_size(_CACHED_BYTES)
    pygit2.settings.enable_fsync_gitdir(path is None or _knows_fsync(path))
    home = os.environ.get("HOME") or str(Path.home())
    replaced = "GIT_CONFIG_GLOBAL" in os.environ  # libgit2 does not know the variable; its file is read by identity()
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or Path(home, ".config"), "git")
    pygit2.settings.search_path[pygit2.enums.ConfigLevel.GLOBAL] = "" if replaced else home
    pygit2.settings.search_path[pygit2.enums.ConfigLevel.XDG] = "" if replaced else str(xdg)
    if os.environ.get("GIT_CONFIG_NOSYSTEM", "") not in {"", "0", "false"}:
        pygit2.settings.search_path[pygit2.enums.ConfigLevel.SYSTEM] = ""


def _knows_fsync(path: Path) -> bool:
    """Whether a repository's filesystem makes anything durable on request; else libgit2 would refuse to commit.

    Disks that are known to are not asked: it can take a while, and every command opens the repository.
    """
    if mount_of(path).kind in ORDINARY:
        return True
    try:
        for each in (path, path / ".git", path / ".git/HEAD"):
            if each.exists():
                descriptor = os.open(each, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
    except OSError:
        return False
    return True


def git_error() -> type[Exception]:
    """Return the class of libgit2's errors, for an except clause."""
    return pygit2.GitError


@contextlib.contextmanager
def damage_told() -> Iterator[None]:
    """Tell of what libgit2 cannot read as of a damaged repository."""
    try:
        yield
    except git_error() as error:
        raise DamagedRepositoryError(
            f"git cannot read a part of the registry's history: {' '.join(str(error).split())}",
            remedy="Look with `git fsck --full`; fetch what is missing from another clone.",
        ) from error


def open_repository(path: Path) -> "Repository":
    """Open the repository at a folder, without looking further up."""
    _prepare(path)
    return pygit2.Repository(str(path), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)


def make_repository(path: Path, branch: str) -> "Repository":
    """Make a new repository with a work tree."""
    _prepare(path)
    return pygit2.init_repository(str(path), initial_head=branch)


def default_branch() -> str:
    """Return the name that the user's git settings give a first branch, else ``main``."""
    _prepare()
    config = _named_global_config()
    try:
        return (config if config is not None else pygit2.Config.get_global_config())["init.defaultBranch"] or "main"
    except (OSError, KeyError, pygit2.GitError):
        return "main"


def signature(repository: "Repository", host: str) -> "Signature":
    """Return who commits: whom git's variables name, the configured user, else the controller under its host's name."""
    said = {key: os.environ.get(f"GIT_AUTHOR_{key.upper()}", "").strip() for key in ("name", "email")}
    for config in (repository.config, _named_global_config()):
        known = {key: config[f"user.{key}"] for key in said if config is not None and f"user.{key}" in config}
        with contextlib.suppress(ValueError):  # empty or unusable, as git itself would find
            name, email = (said[key] or (known.get(key) or "").strip() for key in said)
            return pygit2.Signature(name, email)
    return pygit2.Signature("imageworks controller", f"controller@{host}")


def dated(who: "Signature", when: datetime) -> "Signature":
    """Return a signature with another time."""
    offset = when.utcoffset()
    return pygit2.Signature(
        who.name, who.email, int(when.timestamp()), int(offset.total_seconds() // 60) if offset else 0
    )


def _named_global_config() -> "Config | None":
    file = os.environ.get("GIT_CONFIG_GLOBAL")
    return pygit2.Config(file) if file and Path(file).is_file() else None


def object_id(hexadecimal: str) -> "Oid":
    """Return libgit2's form of an object id in hex."""
    return pygit2.Oid(hex=hexadecimal)


def blob_id(data: bytes) -> str:
    """Return the id that git gives these bytes as a file, twice as fast as libgit2's: a snapshot may have 20 MiB."""
    return blob_id_of_pieces((data,), len(data))


def blob_id_of_pieces(pieces: Iterable[bytes], size: int) -> str:
    """Return the id that git gives a file, by its size and its bytes in pieces."""
    digest = _blob_digest(size)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def blob_id_of(stream: "BufferedReader", size: int) -> str:
    """Return the id that git gives a file, by its size and an open stream at its start."""
    return hashlib.file_digest(stream, lambda: _blob_digest(size)).hexdigest()


def _blob_digest(size: int) -> "hashlib._Hash":
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
