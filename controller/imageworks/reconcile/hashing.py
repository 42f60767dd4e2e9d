"""Hash files that are to be recorded, on all cores, and remember what was hashed as it comes."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Final

from imageworks.reconcile.ledger import Ledger
from imageworks.transfer.digests import Algorithm, Digest, hash_files

REMEMBERED_AT_LEAST_BYTES: Final = 256 * 1024 * 1024

Told = Callable[[int, int], None]
"""Called with the bytes hashed so far and the bytes to hash, from any thread."""


def hash_all(paths: Iterable[Path], ledger: Ledger, told: Told) -> Mapping[Path, str | Digest]:
    """Return each file's digest, or what went wrong; files that look as they did when they were hashed are not read.

    Args:
        paths: The files.
        ledger: Knows the host's verified files, and learns what is hashed unless it is only read.
        told: Told how far hashing is.
    """
    known: dict[Path, str | Digest] = {}
    stats = {}
    for path in paths:
        try:
            stats[path] = path.stat()
        except OSError as error:
            known[path] = f"{path}: {error.strerror}"
            continue
        value = _known(path, stats[path], ledger)
        if value is not None:
            known[path] = Digest(Algorithm.SHA256, value)
    unread = [path for path in stats if path not in known]
    total, done, lock = sum(stats[path].st_size for path in unread), 0, Lock()
    if unread:
        told(0, total)

    def count(size: int) -> None:
        nonlocal done
        with lock:
            done += size
            told(done, total)

    verified: list[tuple[Path, os.stat_result, Digest]] = []
    try:
        for path, digest in hash_files(unread, Algorithm.SHA256, progress=count):
            known[path] = _checked(path, stats[path].st_mtime_ns, digest)
            if isinstance(digest, Digest) and known[path] == digest:
                verified.append((path, stats[path], digest))
            if sum(found.st_size for _, found, _ in verified) > REMEMBERED_AT_LEAST_BYTES:
                _remember(ledger, verified)
    finally:
        _remember(ledger, verified)
    return known


def _known(path: Path, found: os.stat_result, ledger: Ledger) -> str | None:
    """Return the sha256 of a file that looks as it did, as far as its disk's numbers mean anything."""
    known = ledger.state.fingerprint(path)
    if known is None or known.sha256 is None or known.matches(found):
        return known.sha256 if known is not None else None
    if not known.matches(found, ledger.places.locations.numbers(path)):
        return None
    if not ledger.read_only:
        ledger.state.renew([(path, known, found)])
    return known.sha256


def _remember(ledger: Ledger, verified: list[tuple[Path, os.stat_result, Digest]]) -> None:
    """Keep digests as they come, so that an interrupted scan reads little twice."""
    if verified and not ledger.read_only:
        ledger.state.remember_all(verified)
    verified.clear()


def _checked(path: Path, modified: int, digest: Digest | OSError) -> str | Digest:
    if isinstance(digest, OSError):
        return f"{path}: {digest.strerror}"
    try:
        return digest if path.stat().st_mtime_ns == modified else f"{path}: was changed while it was read"
    except OSError as error:
        return f"{path}: {error.strerror}"
