"""What fills Ollama's store and belongs to no model: orphaned blobs, broken-off pulls, temporary files; its removal.

Ollama itself drops them at its start only, and not at all while one manifest cannot be read (its `PruneLayers`).
"""

import os
import re
import stat
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from imageworks.files.content_index import ollama_stores
from imageworks.providers.ollama.errors import OllamaStoreError
from imageworks.providers.ollama.store import is_store, read_store

GRACE_SECONDS: Final = 3600.0
"""Ollama's own: what is younger may belong to a pull or upload whose manifest is not written yet."""
_BLOB: Final = re.compile(r"sha256[-:]([0-9a-f]{64})", re.ASCII)
_PARTIAL: Final = re.compile(
    r"(sha256[-:][0-9a-f]{64})(?:-partial(?:-\d{1,6})?|\.tmp|-imageworks(?:-aside)?)", re.ASCII
)
"""What a pull of Ollama has left, or a repair of ours."""
_TEMPORARY: Final = re.compile(
    r"(?:sha256-|COPY|split-copy|projector-metadata|compat-tensors|B?F\d\d|I?Q\d(?:_[A-Z0-9]{1,4}){0,3})\d{1,20}",
    re.ASCII,
)
"""What its `create` makes beside the blobs: a word, or the type to quantize to, and random digits."""


class LeftoverKind(StrEnum):
    """What a leftover is."""

    ORPHAN = "orphaned-blob"
    PARTIAL = "broken-off-pull"
    TEMPORARY = "temporary-file"


_WORDS: Final = {
    LeftoverKind.ORPHAN: "orphaned blob",
    LeftoverKind.PARTIAL: "broken-off pull",
    LeftoverKind.TEMPORARY: "temporary file",
}


@dataclass(frozen=True, slots=True)
class Leftover:
    """Files of a store that no manifest names and that go together.

    Args:
        path: The file; of a broken-off pull the one that holds the bytes.
        kind: What it is.
        size: Bytes that it takes on the disk.
        modified: When one of its files was last written, in seconds since 1970.
        files: All its files, `path` among them.
        kept_because: Why it must not be removed now; ``None`` when it is safe to.
    """

    path: Path
    kind: LeftoverKind
    size: int
    modified: float
    files: tuple[Path, ...]
    kept_because: str | None = None

    @property
    def safe(self) -> bool:
        """Whether it may be removed."""
        return self.kept_because is None

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "kind": self.kind.value,
            "path": str(self.path),
            "bytes": self.size,
            "remove": self.safe,
            "kept_because": self.kept_because,
        }

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        return self.kind.value

    def remove(self) -> str | None:
        """Remove it and return why it is still there, ``None`` when it is gone."""
        return next((why for _, why in remove_leftovers([self]).kept), None)

    @property
    def store(self) -> Path:
        """The models folder that it lies in."""
        return self.path.parent.parent


@dataclass(frozen=True, slots=True)
class LeftoversRemoved:
    """What came of removing leftovers.

    Args:
        removed: What is gone now.
        kept: What is still there, and why.
    """

    removed: tuple[Leftover, ...] = ()
    kept: tuple[tuple[Leftover, str], ...] = ()

    @property
    def freed(self) -> int:
        """Bytes that the disk got back."""
        return sum(one.size for one in self.removed)


def leftovers_here(environment: Mapping[str, str], *, now: float | None = None) -> tuple[Leftover, ...]:
    """Return the leftovers of the stores that this host's own environment names."""
    return leftovers_in(ollama_stores(environment), now=now)


def leftovers_in(stores: Iterable[Path], *, now: float | None = None) -> tuple[Leftover, ...]:
    """Return the leftovers of several stores, of which some may not be there; those that cannot be read have none."""
    found: list[Leftover] = []
    for store in dict.fromkeys(Path(os.path.realpath(store)) for store in stores):
        try:
            found += find_leftovers(store, now=now) if is_store(store) else ()
        except OllamaStoreError:
            continue  # whoever looks at Ollama's models tells of it
    return tuple(found)


def notes_on(leftovers: Iterable[Leftover]) -> tuple[str, ...]:
    """Return what people are told of leftovers: a line for each store."""
    by_store: dict[Path, list[Leftover]] = defaultdict(list)
    for one in leftovers:
        by_store[one.store].append(one)
    notes = []
    for store, found in sorted(by_store.items()):
        counts = Counter(_WORDS[one.kind] for one in found)
        what = " and ".join(f"{count} {word}{'s' if count > 1 else ''}" for word, count in sorted(counts.items()))
        size, safe = sum(one.size for one in found), sum(one.size for one in found if one.safe)
        told = f"{store} (Ollama's) holds {what} of no model, {size:,} bytes"
        why = next((one.kept_because for one in found if not one.safe), None)
        if all(one.safe for one in found):
            notes.append(f"{told}; `clean` removes them")
        elif safe or any(one.safe for one in found):
            notes.append(f"{told}; `clean` removes {safe:,} of them, and says of the rest why not")
        else:
            notes.append(f"{told}; they stay for now: {why}")
    return tuple(notes)


def find_leftovers(store: Path, *, now: float | None = None) -> tuple[Leftover, ...]:
    """Return what a store holds that belongs to no model, by path; nothing is written and no content is read."""
    files = _files(store)  # before the manifests: what a pull brings between the two is then named by one, or too young
    reading = read_store(store, described=False)
    named = {digest for model in reading.models for digest in model.content}
    groups: dict[str, list[tuple[Path, os.stat_result]]] = defaultdict(list)
    kinds: dict[str, LeftoverKind] = {}
    for path, status in files:
        blob, partial = _BLOB.fullmatch(path.name), _PARTIAL.fullmatch(path.name)
        if blob is not None and blob[1] in named:
            continue
        if blob is None and partial is None and not _TEMPORARY.fullmatch(path.name):
            continue  # nothing of Ollama's: whoever put it there knows what it is
        key = path.name if partial is None else f"{partial[1]}-partial"
        groups[key].append((path, status))
        kinds[key] = LeftoverKind.ORPHAN if blob else LeftoverKind.PARTIAL if partial else LeftoverKind.TEMPORARY
    leftovers = tuple(_leftover(groups[key], kinds[key]) for key in sorted(groups))
    began = {
        one.path: min(status.st_mtime for _, status in groups[key])
        for key, one in zip(sorted(groups), leftovers, strict=True)
    }
    return _judged(leftovers, began, _obstacle(store, reading.damaged), time.time() if now is None else now)


def remove_leftovers(leftovers: Iterable[Leftover], *, now: float | None = None) -> LeftoversRemoved:
    """Remove leftovers, each only while its store, read anew, still says that it is safe."""
    removed: list[Leftover] = []
    kept: list[tuple[Leftover, str]] = []
    by_store: dict[Path, list[Leftover]] = defaultdict(list)
    for leftover in leftovers:
        by_store[leftover.store].append(leftover)
    for store, asked in by_store.items():
        try:
            still = {found.path: found for found in find_leftovers(store, now=now)}
        except OllamaStoreError as error:
            kept += ((leftover, error.message) for leftover in asked)
            continue
        for leftover in asked:
            why = _removed(leftover, still.get(leftover.path))
            if why is None:
                removed.append(still[leftover.path])
            else:
                kept.append((leftover, why))
    return LeftoversRemoved(tuple(removed), tuple(kept))


def _removed(before: Leftover, now: Leftover | None) -> str | None:
    """Remove what is as it was found; returns why it is still there, ``None`` when it is gone."""
    if now is None:
        return "it is gone, or a model has it now"
    if now.kept_because is not None:
        return now.kept_because
    if (now.modified, now.files) != (before.modified, before.files):
        return "it was written to since it was looked at"
    try:
        for file in (
            *(one for one in now.files if one != now.path),
            now.path,
        ):  # the bytes last: their record goes first
            file.unlink(missing_ok=True)
    except OSError as error:
        return f"it cannot be removed: {error.strerror}"
    return None


def _files(store: Path) -> list[tuple[Path, os.stat_result]]:
    found: list[tuple[Path, os.stat_result]] = []
    try:
        with os.scandir(store / "blobs") as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # a pull has renamed it since
                if stat.S_ISREG(status.st_mode):
                    found.append((Path(entry.path), status))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise OllamaStoreError(
            f"{store}: Ollama's store cannot be read: {error.strerror}",
            remedy="It belongs to another user: let this user read it (Linux: group `ollama`).",
        ) from None
    return found


def _leftover(files: list[tuple[Path, os.stat_result]], kind: LeftoverKind) -> Leftover:
    path = min((path for path, _ in files), key=lambda path: (len(path.name), path.name))
    modified = max(status.st_mtime for _, status in files)
    return Leftover(path, kind, sum(map(_takes, (s for _, s in files))), modified, tuple(sorted(p for p, _ in files)))


def _takes(status: os.stat_result) -> int:
    """Return what the disk gets back with a file: partial blobs are sparse, and what has other links gives nothing."""
    if status.st_nlink > 1:
        return 0
    blocks = getattr(status, "st_blocks", 0)
    return min(status.st_size, blocks * 512) if blocks else status.st_size


def _obstacle(store: Path, damaged: tuple[tuple[Path, str], ...]) -> str | None:
    """Return why nothing of a store can be told to belong to nobody, or be removed by us; ``None`` where it can."""
    if damaged:
        path, why = damaged[0]
        return f"{path}: {why}, and what its model needs is not known: pull or delete that model first"
    if not os.access(store / "blobs", os.W_OK | os.X_OK):
        return f"{store / 'blobs'} belongs to another user; as that user, or by restarting its Ollama, it goes"
    return None


def _judged(
    leftovers: tuple[Leftover, ...], began: Mapping[Path, float], obstacle: str | None, now: float
) -> tuple[Leftover, ...]:
    """Return leftovers with why each must stay, where it must."""
    young = {leftover.path for leftover in leftovers if now - leftover.modified < GRACE_SECONDS}
    pulls = [began[one.path] for one in leftovers if one.kind is LeftoverKind.PARTIAL and one.path in young]
    # A pull brings blob after blob and writes its manifest last: what came shortly before or during one may be its.
    of_a_pull = min(pulls, default=float("inf")) - GRACE_SECONDS
    judged = []
    for leftover in leftovers:
        why = obstacle
        if why is None and leftover.path in young:
            why = "it was written within the last hour: a pull or upload may be under way"
        elif why is None and leftover.kind is LeftoverKind.ORPHAN and leftover.modified >= of_a_pull:
            why = "it may belong to a pull that is under way"
        judged.append(leftover if why is None else replace(leftover, kept_because=why))
    return tuple(judged)
