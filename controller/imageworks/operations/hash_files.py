"""Hash files that are to be recorded, on all cores, and remember what was hashed as it comes."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from imageworks.files.digests import Algorithm, Digest, hash_files
from imageworks.files.progress import Progress
from imageworks.files.writers import why_shared
from imageworks.reconcile.ledger import RecordSession

REMEMBERED_AT_LEAST_BYTES: Final = 256 * 1024 * 1024
REMEMBERED_AT_LEAST_FILES: Final = 2_500


def hash_all(paths: Iterable[Path], ledger: RecordSession, progress: Progress) -> Mapping[str, str | Digest]:
    """Return each file's digest, or what went wrong; files that look as they did when they were hashed are not read.

    A hundred thousand files may be asked for. They are known by their paths' texts, which take a third of the memory
    of paths, and by the times of their changes, a sixth of what the system tells of a file.
    """
    known: dict[str, str | Digest] = {}
    unread: dict[str, tuple[int, int]] = {}
    for path in paths:
        text = str(path)
        try:
            found = path.stat()
        except OSError as error:
            known[text] = f"{path}: {error.strerror}"
            continue
        value = _known(path, found, ledger)
        if value is None:
            unread[text] = (found.st_mtime_ns, found.st_ctime_ns)
        else:
            known[text] = Digest(Algorithm.SHA256, value)
    verified: list[tuple[Path, os.stat_result, Digest]] = []
    kept = 0  # bytes of those whose digests are not remembered yet
    try:
        for text, digest in hash_files(unread, Algorithm.SHA256, progress=progress):
            path = Path(text)
            known[text], now = _checked(path, unread.pop(text), digest)
            if isinstance(digest, Digest) and now is not None:
                verified.append((path, now, digest))
                kept += now.st_size
            if kept > REMEMBERED_AT_LEAST_BYTES or len(verified) >= REMEMBERED_AT_LEAST_FILES:
                _remember(ledger, verified)
                kept = 0
    finally:
        _remember(ledger, verified)
    return known


def _known(path: Path, found: os.stat_result, ledger: RecordSession) -> str | None:
    """Return the sha256 of a file that looks as it did, as far as its disk's numbers mean anything."""
    known = ledger.state.fingerprint(path)
    if why_shared(path, found, ledger.host.trusted_users) is not None:
        return None
    if known is None or known.sha256 is None or known.matches(found):
        return known.sha256 if known is not None else None
    if not known.matches(found, ledger.places.locations.numbers(path)):
        return None
    if not ledger.read_only:
        ledger.state.keep([known.renewed(path, found)])
    return known.sha256


def _remember(ledger: RecordSession, verified: list[tuple[Path, os.stat_result, Digest]]) -> None:
    """Keep digests as they come, so that an interrupted scan reads little twice."""
    if verified and not ledger.read_only:
        ledger.state.remember_all(verified)
    verified.clear()


def _checked(
    path: Path, before: tuple[int, int], digest: Digest | OSError
) -> tuple[str | Digest, os.stat_result | None]:
    """Return a digest with how its file looks now, or what went wrong."""
    if isinstance(digest, OSError):
        return f"{path}: {digest.strerror}", None
    try:
        now = path.stat()
    except OSError as error:
        return f"{path}: {error.strerror}", None
    same = (now.st_mtime_ns, now.st_ctime_ns) == before
    return (digest, now) if same else (f"{path}: was changed while it was read", None)
