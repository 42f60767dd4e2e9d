"""What a revision consists of: files with their digests, git trees over them, and the bytes behind them."""

# Strings and os.path here: each request passes, and a Path costs ten times the string it wraps.
# ruff: noqa: PTH116

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from imageworks.foundation.errors import ImageworksError

LARGE_BYTES: Final = 10 * 1024 * 1024
LARGE_SUFFIXES: Final = (".safetensors", ".gguf", ".bin", ".onnx", ".pt")
POINTER: Final = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"


class ContentChangedError(ImageworksError):
    """A file is no longer the one whose digest we announced, so its bytes are not sent under that digest."""


@dataclass(frozen=True, slots=True)
class StoragePolicy:
    """Which files count as large: kept by git LFS on a real hub, answered with a redirect to the second origin."""

    large_bytes: int = LARGE_BYTES
    suffixes: tuple[str, ...] = LARGE_SUFFIXES

    def is_large(self, path: str, size: int) -> bool:
        """Tell whether a file of that name and size in bytes is a large one."""
        return size > self.large_bytes or path.endswith(self.suffixes)


@dataclass(frozen=True, slots=True)
class Identity:
    """What stands for unchanged content, without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Identity":
        """Return the identity in a stat result."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class FileContent:
    """Bytes in a file, as it was when it was scanned."""

    path: str
    identity: Identity

    def is_current(self) -> bool:
        """Tell whether the file on disk is still the scanned one."""
        try:
            return Identity.of(os.stat(self.path, follow_symlinks=False)) == self.identity
        except OSError:
            return False

    def open(self) -> int:
        """Open the file for reading, refusing any other that has taken its place; returns a descriptor."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        if Identity.of(os.fstat(descriptor)) != self.identity:
            os.close(descriptor)
            raise ContentChangedError(f"{self.path}: changed since it was hashed")
        return descriptor

    def read(self) -> bytes:
        """Return all bytes; for small files only."""
        with os.fdopen(self.open(), "rb") as stream:
            return stream.read()


@dataclass(frozen=True, slots=True)
class BlobContent:
    """Bytes of a git object, which cannot change."""

    read: Callable[[], bytes]

    def open(self) -> None:
        """There is no file of them."""

    def is_current(self) -> bool:
        """Tell that nothing can have changed."""
        return True


Content = FileContent | BlobContent


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a revision."""

    path: str
    size: int
    oid: str
    """The git blob id: of the content, or of the LFS pointer for a large file."""
    sha256: str | None
    """The digest of a large file's content; ``None`` for a small one."""
    content: Content

    @property
    def pointer_size(self) -> int:
        """Return the length in bytes of a large file's pointer."""
        return len(pointer(self.sha256 or "", self.size))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All files of one commit, with the git trees over them."""

    commit: str
    files: dict[str, HubFile]
    """By path, sorted."""
    folders: dict[str, str]
    """Tree ids by path, sorted, without the root's."""
    public_folder: str | None = None
    """Where the same files stand below the served root; ``None`` when they only exist inside git."""
    when: str = "1970-01-01T00:00:00.000Z"
    title: str = "Folder content"


@dataclass(slots=True)
class _Tree:
    files: dict[str, str] = field(default_factory=dict)
    folders: dict[str, "_Tree"] = field(default_factory=dict)


def pointer(sha256: str, size: int) -> bytes:
    """Return the git LFS pointer for content of that digest and size in bytes."""
    return POINTER.format(sha256=sha256, size=size).encode()


def git_object_id(kind: str, data: bytes) -> str:
    """Return the id git gives to an object."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


def hub_file(path: str, size: int, digest: str, content: Content, *, large: bool) -> HubFile:
    """Make a file out of its digest: SHA-256 of a large file, git blob id of a small one."""
    if large:
        return HubFile(path, size, git_object_id("blob", pointer(digest, size)), digest, content)
    return HubFile(path, size, digest, None, content)


def tree_ids(files: Iterable[HubFile]) -> tuple[str, dict[str, str]]:
    """Return the ids of the root's tree and of all folders' over files, by sorted paths; all have the plain mode."""
    root = _Tree()
    for file in files:
        *parents, name = file.path.split("/")
        tree = root
        for parent in parents:
            tree = tree.folders.setdefault(parent, _Tree())
        tree.files[name] = file.oid
    found: dict[str, str] = {}
    root_id = _write_tree(root, "", found)
    return root_id, dict(sorted(found.items()))


def _write_tree(tree: _Tree, prefix: str, found: dict[str, str]) -> str:
    entries = [(name.encode(), b"100644", oid) for name, oid in tree.files.items()]
    for name, folder in tree.folders.items():
        oid = found[prefix + name] = _write_tree(folder, f"{prefix}{name}/", found)
        entries.append((name.encode() + b"/", b"40000", oid))  # git sorts a folder as if its name ended in a slash
    data = b"".join(mode + b" " + name.rstrip(b"/") + b"\0" + bytes.fromhex(oid) for name, mode, oid in sorted(entries))
    return git_object_id("tree", data)


def folder_commit(tree: str) -> str:
    """Return the commit id that stands for a folder's content: the same content always has the same one."""
    who = "imageworks hub <hub@localhost> 0 +0000"
    return git_object_id("commit", f"tree {tree}\nauthor {who}\ncommitter {who}\n\nFolder content\n".encode())
