"""Where the bytes of a registry come from: the work tree, or anything else that can list a folder's files."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.documents.json_reader import MAX_BYTES as MAX_FILE_BYTES


class RegistryReader(Protocol):
    """One state of a registry: its work tree, or a commit."""

    def file(self, path: str) -> bytes | Refusal | None:
        """Return one file's content by its path within the registry; ``None`` when there is none."""
        ...

    def files(self, folder: str) -> Mapping[str, bytes | Refusal]:
        """Return the files anywhere below a folder, by their ``/``-separated paths within the registry."""
        ...


Place = TypeVar("Place")


class Files(Mapping[str, bytes | Refusal], Generic[Place]):
    """Files that are read when they are asked for: those of fifty thousand entries would fill the memory.

    Args:
        listed: Where each is, by its path within the registry.
        read: Returns the content of what is there.
    """

    def __init__(self, listed: Mapping[str, Place], read: Callable[[Place], bytes | Refusal]) -> None:
        self._listed = listed
        self._read = read

    def __getitem__(self, path: str) -> bytes | Refusal:
        return self._read(self._listed[path])

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


_Listed = dict[str, bytes | Refusal | str]
"""What files have by their paths within the registry, or, as a text, what their paths are called on the disk."""


@dataclass(frozen=True, slots=True)
class WorkTreeReader:
    """A registry as it stands on disk, uncommitted edits included; follows no symbolic link.

    Args:
        root: The registry folder.
    """

    root: Path

    def file(self, path: str) -> bytes | Refusal | None:
        """Return one file's content by its path within the registry; ``None`` when there is none."""
        content = read_plain_file(self.root / path)
        return _left_out(self.root, path).get(path) if content is None else content

    def files(self, folder: str) -> Mapping[str, bytes | Refusal]:
        """Return the files anywhere below a folder, by their ``/``-separated paths within the registry."""
        top = self.root / folder
        if top.is_symlink():
            return {folder: Refusal("a symbolic link", "put a plain folder in its place")}
        found: _Listed = {path: refusal or path for path, refusal in _walk(self.root, folder)}
        return Files(_as_git_has_them(self.root, folder, found), self._content)

    def _content(self, found: bytes | Refusal | str) -> bytes | Refusal:
        content = read_plain_file(self.root / found) if isinstance(found, str) else found
        return Refusal("gone since the folder was listed", "run this again") if content is None else content

    def is_made_of(self, path: str, pieces: Iterable[bytes]) -> bool:
        """Return whether a plain file has just these bytes; a snapshot of 18 MB need not stand there whole.

        Ends at the first that differs.
        """
        with suppress(OSError), os.fdopen(os.open(self.root / path, _OPEN_FLAGS), "rb") as stream:
            seen = os.fstat(stream.fileno())
            if stat.S_ISREG(seen.st_mode) and seen.st_size <= MAX_FILE_BYTES:
                return all(stream.read(len(piece)) == piece for piece in pieces) and not stream.read(1)
        left_out = _left_out(self.root, path).get(path)
        return left_out is not None and left_out == b"".join(pieces)


def _as_git_has_them(root: Path, folder: str, found: _Listed) -> _Listed:
    """Return files under the names that git has, with those that a sparse checkout leaves out.

    Where a disk ignores case, a folder may show another spelling.
    """
    found = {**_left_out(root, folder), **found}
    if not found or not _ignores_case(root / next(iter(found))):
        return found
    from imageworks.registry.index_reader import names_in_git

    known = names_in_git(root)
    if known is None:
        return found
    spelled = {path.casefold(): path for path in known}
    return {path if path in known else spelled.get(path.casefold(), path): content for path, content in found.items()}


def _left_out(root: Path, path: str) -> Mapping[str, bytes | Refusal]:
    """Return the files that a sparse checkout leaves out."""
    if not is_sparse(root):
        return {}
    from imageworks.registry.index_reader import files_left_out

    return files_left_out(root, path)


def is_sparse(root: Path) -> bool:
    """Return whether a registry may lie in a sparse checkout, whose files are not all on the disk."""
    for folder in (root, *root.parents):
        marker = folder / ".git"
        if marker.is_file():
            text = marker.read_text(encoding="utf-8", errors="replace")
            marker = folder / text.removeprefix("gitdir:").strip()
        if marker.is_dir():
            return (marker / "info/sparse-checkout").exists()
    return False


def _ignores_case(path: Path) -> bool:
    other = path.with_name(path.name.swapcase())
    try:
        return other.name != path.name and other.samefile(path)
    except OSError:
        return False


def _walk(root: Path, folder: str) -> Iterator[tuple[str, Refusal | None]]:
    """Yield the path of every non-folder below a folder, and why it is not to be opened; hidden names are left out."""
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            children = sorted(os.scandir(root / current), key=lambda child: child.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield current, Refusal(f"no folder that can be listed ({error.strerror})", "put a folder in its place")
            continue
        for child in children:
            if child.name.startswith("."):
                continue
            path = f"{current}/{child.name}"
            if child.is_dir(follow_symlinks=False):
                pending.append(path)
            else:
                yield path, Refusal("a symbolic link") if child.is_symlink() else None


_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_plain_file(path: Path) -> bytes | Refusal | None:
    """Return a file's content, or why it is not read; ``None`` when there is none.

    Reads no more than a document may have, so that a huge file costs nothing: the gate then refuses it by its length.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if path.is_symlink():
            return Refusal("a symbolic link")
        return Refusal(f"unreadable ({error.strerror})", "make it a plain file that you may read")
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        return Refusal("a folder", "name the files in it") if stat.S_ISDIR(mode) else Refusal("not a plain file")
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(MAX_FILE_BYTES + 1)
