"""What a commit's own bytes say, which were signed; grafts and shallow boundaries of a clone were not."""

import hashlib
from dataclasses import dataclass

_SIGNATURE = "gpgsig "


@dataclass(frozen=True, slots=True)
class CommitHeader:
    """A commit's tree, parents and signatures.

    Args:
        tree: The id of its files.
        parents: The ids of the commits that it follows, whether they are here or not.
        signatures: The first line of each signature; more than one is nothing that git makes.
    """

    tree: str
    parents: tuple[str, ...]
    signatures: tuple[str, ...] = ()


def read_header(raw: bytes) -> CommitHeader:
    """Return the header of a commit's bytes."""
    lines = raw.partition(b"\n\n")[0].decode("utf-8", "replace").split("\n")
    parents = tuple(line.removeprefix("parent ") for line in lines if line.startswith("parent "))
    signatures = tuple(line.removeprefix(_SIGNATURE) for line in lines if line.startswith(_SIGNATURE))
    return CommitHeader(lines[0].removeprefix("tree "), parents, signatures)


def commit_id(raw: bytes) -> str:
    """Return the id that a commit of these bytes has."""
    digest = hashlib.sha1(b"commit %d\0" % len(raw), usedforsecurity=False)
    digest.update(raw)
    return digest.hexdigest()
