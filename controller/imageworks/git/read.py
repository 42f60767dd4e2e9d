"""Reading a registry out of commits: which files a folder has, their bytes, and cheap ids of whole folders."""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from imageworks.git import libgit2
from imageworks.git.trees.scan import ITEM
from imageworks.git.values import (
    SUBMODULE_MODE,
    BlobReference,
    BlobRefusedError,
    UnknownRevisionError,
    UnsafePathError,
    UnsupportedRepositoryError,
)

if TYPE_CHECKING:
    from pygit2 import Commit, Odb, Oid, Repository, Tree

TREE_MODE: Final = 0o040000
COMMIT_KIND: Final = 1  # GIT_OBJECT_COMMIT
TREE_KIND: Final = 2  # GIT_OBJECT_TREE
BLOB_KIND: Final = 3  # GIT_OBJECT_BLOB
DEFAULT_BLOB_LIMIT: Final = 64 * 1024 * 1024
MOST_FILES: Final = 200_000
LONGEST_PATH: Final = 4096
Standing = tuple[str, int]
Differing = tuple[str, Standing | None, Standing | None]
"""A repository path with the ids and modes of what two trees have there."""


def subtree(tree: "Tree", path: str) -> "Tree | None":
    """Return the folder at a path below a tree; ``None`` when there is none."""
    for part in filter(None, path.split("/")):
        if part not in tree:
            return None
        entry = tree[part]
        mode = int(entry.filemode)
        if mode == TREE_MODE:
            tree = entry  # type: ignore[assignment] # pygit2 types every entry as an Object
        elif mode == SUBMODULE_MODE:
            return None
        else:
            raise UnsafePathError(
                f"{path}: {part} is not a folder in git but {BlobReference('', 0, mode).refusal or 'a file'}",
                remedy="Replace it by a real folder in the repository.",
            )
    return tree


def commit_at(repository: "Repository", hexadecimal: str) -> "Commit":
    """Return a commit by its full id."""
    from_hex = libgit2.object_id
    try:
        found = repository[from_hex(hexadecimal)]
    except (KeyError, ValueError) as error:
        raise UnknownRevisionError(
            f"{hexadecimal}: no such commit in the registry's repository", remedy="Look with `git log`."
        ) from error
    if int(found.type) != COMMIT_KIND:
        raise UnknownRevisionError(f"{hexadecimal}: is not a commit")
    return found  # type: ignore[return-value] # by its kind


def walk_files(
    repository: "Repository", tree: "Tree", base: str, *, below: bool = True, sized: bool = True
) -> Iterator[tuple[str, BlobReference]]:
    """Yield each file below a tree with its path."""
    odb = repository.odb
    folders, seen = [(base, tree)], 0
    while folders:
        prefix, folder = folders.pop()
        for entry in folder:
            mode = int(entry.filemode)
            path = prefix + _name(entry.raw_name)
            seen += 1
            _refuse_more(base, seen, path)
            if mode == TREE_MODE:
                folders += [(path + "/", entry)] if below else []  # type: ignore[list-item] # as in subtree()
            else:
                yield path, reference(odb, entry.id, mode) if sized else BlobReference(str(entry.id), 0, mode)


def direct_items(tree: "Tree", base: str) -> list[tuple[str, str, int]]:
    """Return name, id and mode of what stands right in a tree, from its own bytes alone."""
    items = ITEM.findall(tree.read_raw())
    _refuse_more(base, len(items), _name(max((name for _, name, _ in items), key=len, default=b"")))
    return [(_name(name), identifier.hex(), int(mode, 8)) for mode, name, identifier in items]


def _refuse_more(base: str, seen: int, path: str) -> None:
    if seen > MOST_FILES or len(path) > LONGEST_PATH:
        raise UnsupportedRepositoryError(
            f"{base or 'the registry'} holds more than {MOST_FILES:,} files and folders, or paths of more than "
            f"{LONGEST_PATH:,} characters, in git",
            remedy="Look who committed that: git log --stat.",
        )


def changed_files(before: "Tree", after: "Tree") -> Iterator[Differing]:
    """Yield the files that two trees have differently; folders that are the same are not looked into."""
    waiting: list[tuple[str, Tree | None, Tree | None]] = [("", before, after)]
    seen = 0
    while waiting:
        base, old, new = waiting.pop()
        olds, news = ({} if tree is None else {entry.raw_name: entry for entry in tree} for tree in (old, new))
        for name in olds.keys() | news.keys():
            sides = (olds.get(name), news.get(name))
            found = tuple(None if one is None else (str(one.id), int(one.filemode)) for one in sides)
            if found[0] == found[1]:
                continue
            path = base + os.fsdecode(name or b"")
            seen += 1
            if seen > MOST_FILES or len(path) > LONGEST_PATH:
                raise UnsupportedRepositoryError(
                    f"more than {MOST_FILES:,} files and folders, or paths of more than {LONGEST_PATH:,} characters, "
                    "would change at once",
                    remedy="Look who committed that: git log --stat. `git pull` takes it all the same.",
                )
            folders = tuple(one if at and at[1] == TREE_MODE else None for one, at in zip(sides, found, strict=True))
            if any(folders):
                waiting.append((path + "/", *folders))  # type: ignore[arg-type] # as in subtree()
            files = tuple(None if at and at[1] == TREE_MODE else at for at in found)
            if any(files):
                yield path, files[0], files[1]


def reference(odb: "Odb", identifier: "Oid", mode: int) -> BlobReference:
    """Return a file's reference, with its size from the object's header."""
    size = 0 if mode == SUBMODULE_MODE else header(odb, identifier)
    return BlobReference(str(identifier), size, mode)


def _name(raw: bytes | None) -> str:
    # A name that is no UTF-8 keeps its odd bytes as escapes: it can be shown, and is no valid name of anything of ours.
    return (raw or b"").decode("utf-8", "backslashreplace")


def read_blob(odb: "Odb", hexadecimal: str, limit: int) -> bytes:
    """Return a stored file's bytes, whose size is looked up first."""
    identifier = libgit2.object_id(hexadecimal)
    _refuse_larger(hexadecimal, header(odb, identifier), limit)
    return _content(odb, identifier)


def view_blob(repository: "Repository", hexadecimal: str, limit: int) -> memoryview:
    """Return a stored file's bytes where libgit2 has them: a long one need not stand there twice."""
    identifier = libgit2.object_id(hexadecimal)
    _refuse_larger(hexadecimal, header(repository.odb, identifier), limit)
    try:
        found = repository[identifier]
    except (KeyError, libgit2.git_error()) as error:
        raise _damaged(identifier) from error
    if int(found.type) != BLOB_KIND:
        raise BlobRefusedError(f"git object {identifier} is not a file")
    return memoryview(found)  # type: ignore[arg-type] # of a blob, by its kind


def is_made_of(odb: "Odb", hexadecimal: str, pieces: Iterable[bytes], limit: int) -> bool:
    """Return whether a stored file has just these bytes, by its id: a long one need not stand there at all."""
    size = header(odb, libgit2.object_id(hexadecimal))
    _refuse_larger(hexadecimal, size, limit)
    return libgit2.blob_id_of_pieces(pieces, size) == hexadecimal


def read_blobs(odb: "Odb", references: Iterable[BlobReference], limit: int) -> Iterator[tuple[BlobReference, bytes]]:
    """Yield many stored files' bytes; each is checked against its listed size and kind first."""
    for blob in references:
        if blob.refusal:
            raise BlobRefusedError(f"git object {blob.id} is {blob.refusal}, not a plain file")
        _refuse_larger(blob.id, blob.size, limit)
        yield blob, _content(odb, libgit2.object_id(blob.id))


def header(odb: "Odb", identifier: "Oid") -> int:
    """Return a stored object's size without reading it."""
    try:
        return odb.read_header(identifier)[1]
    except (KeyError, libgit2.git_error()) as error:
        raise _damaged(identifier) from error


def _content(odb: "Odb", identifier: "Oid") -> bytes:
    try:
        kind, data = odb.read(identifier)
    except (KeyError, libgit2.git_error()) as error:
        raise _damaged(identifier) from error
    if int(kind) != BLOB_KIND:
        raise BlobRefusedError(f"git object {identifier} is not a file")
    return data


def _refuse_larger(hexadecimal: str, size: int, limit: int) -> None:
    if size > limit:
        raise BlobRefusedError(f"git object {hexadecimal} has {size} bytes; at most {limit} are read")


def _damaged(identifier: "Oid") -> BlobRefusedError:
    return BlobRefusedError(
        f"git object {identifier} is missing or damaged",
        remedy="Look with `git fsck --full`; fetch it again from another clone.",
    )
