"""What killed and broken-off runs left on this host and nobody needs: what it is, what of it may go, and its removal.

Only what is this registry's and this host's, or a cache, or what Ollama itself would drop. Whatever has no known owner,
or one elsewhere, is told and stays.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from imageworks.config import HostSettings
from imageworks.errors import ImageworksError
from imageworks.reconcile.gather import staging_owner
from imageworks.reconcile.intents import Intents
from imageworks.reconcile.ollama_leftovers import Leftover, leftovers_here, remove_leftovers
from imageworks.reconcile.unfinished import DAY, KEPT_DAYS, Unfinished, find_unfinished
from imageworks.registry.foreign import COMPATIBILITY_FILE
from imageworks.registry.load import RegistryState
from imageworks.registry.manifest import HuggingFaceSource, is_commit
from imageworks.registry.parsed import registry_key
from imageworks.transfer.paths import is_there
from imageworks.transfer.staging import remove_empty_staging

CACHE_FOLDERS: Final = ("manifests", "snapshots", "history", "hub")


class Kind(StrEnum):
    """What was left."""

    DOWNLOAD = "unfinished-download"
    OLLAMA = "ollama"
    CACHE = "cache"
    NOTE = "note"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Rest:
    """One thing that was left.

    Args:
        kind: What it is.
        name: The model, or what else people know it by.
        about: What it is, in a few words.
        path: Where it is.
        size: Bytes that the disk gets back.
        age: Since when nobody used it, in seconds.
        remove: Removes it; returns why it is still there, ``None`` when it is gone.
        kept_because: Why it stays; ``None`` for what may go.
    """

    kind: Kind
    name: str
    about: str
    path: Path
    size: int
    age: float
    remove: Callable[[], str | None]
    kept_because: str | None = None

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "about": self.about,
            "path": str(self.path),
            "bytes": self.size,
            "age_seconds": round(self.age),
            "remove": self.kept_because is None,
            "kept_because": self.kept_because,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    Args:
        names: Models whose unfinished downloads go even where they are declared; with names, nothing else is looked at.
        older_than: The least age in seconds.
    """

    names: tuple[str, ...] = ()
    older_than: float = 0.0


def find_rests(
    registry: RegistryState,
    host: HostSettings,
    root: Path,
    staging_roots: Collection[Path],
    wanted: Wanted,
    reachable: Callable[[Path], bool],
) -> list[Rest]:
    """Return what was left, by kind and name; writes nothing.

    Args:
        registry: The registry as it was read.
        host: This host's settings.
        root: The registry folder.
        staging_roots: Where downloads gather; a location that is not there is none of them.
        wanted: What is asked for.
        reachable: Says whether the disk of a path is there, so that what is not on it is gone.
    """
    found = [*_downloads(registry, host, root, staging_roots, wanted)]
    if not wanted.names:
        found += [
            *_ollama(host),
            *_caches(registry, host, root),
            *_notes(registry, host, root, reachable),
            *_drafts(root),
        ]
    judged = [one if one.age >= wanted.older_than else _kept(one, "it is younger than asked for") for one in found]
    return sorted(judged, key=lambda one: (list(Kind).index(one.kind), one.name, str(one.path)))


def remove_rests(rests: Collection[Rest]) -> dict[Path, str]:
    """Remove what may go; returns what is still there, with why.

    Args:
        rests: What was found, under the locks that are still held.
    """
    left: dict[Path, str] = {}
    for rest in rests:
        if rest.kept_because is not None:
            continue
        try:
            why = rest.remove()
        except (OSError, ImageworksError) as error:
            why = (error.strerror if isinstance(error, OSError) else error.message) or str(error)
        if why is not None:
            left[rest.path] = why
    return left


def _kept(rest: Rest, why: str) -> Rest:
    return rest if rest.kept_because is not None else replace(rest, kept_because=why)


def _downloads(
    registry: RegistryState, host: HostSettings, root: Path, roots: Collection[Path], wanted: Wanted
) -> Iterator[Rest]:
    ours = staging_owner(host.host, root)
    for one in find_unfinished(roots):
        mine = one.owner.startswith(ours)
        if wanted.names and not (mine and one.name in wanted.names):
            continue
        far = f"{one.percent} % of {one.source}" if one.percent is not None else one.source
        yield Rest(
            Kind.DOWNLOAD,
            one.name,
            f"{far} @ {one.revision[:12]}" if one.revision else far,
            one.area.path,
            one.freed,
            one.age(),
            lambda one=one: _drop(one),  # type: ignore[misc] # bound at once
            _why_kept(one, registry, mine=mine, asked=one.name in wanted.names),
        )


def _why_kept(one: Unfinished, registry: RegistryState, *, mine: bool, asked: bool) -> str | None:
    if not one.owner:
        return "it does not say whose it is"
    if not mine:
        return f"it belongs to another registry or host ({one.owner.split('/', 1)[0]})"
    if one.publishing:
        return "it was about to be published: the next run of `reconcile` finishes that"
    if asked:
        return None
    if one.name in registry.manifests:
        return f"it is declared, and `reconcile` goes on with it; `clean {one.name}` removes it"
    return "its manifest cannot be read" if one.name in registry.blocked else None


def _drop(one: Unfinished) -> str | None:
    one.area.discard()
    remove_empty_staging(one.area.root)
    return "it holds other files" if one.area.path.exists() else None


def _ollama(host: HostSettings) -> Iterator[Rest]:
    now = time.time()
    for one in leftovers_here(host.environment()):
        yield Rest(
            Kind.OLLAMA,
            one.path.name,
            one.kind.value,
            one.path,
            one.size,
            max(0.0, now - one.modified),
            lambda one=one: _drop_of_ollama(one),  # type: ignore[misc] # bound at once
            one.kept_because,
        )


def _drop_of_ollama(one: Leftover) -> str | None:
    return next((why for _, why in remove_leftovers([one]).kept), None)


def _caches(registry: RegistryState, host: HostSettings, root: Path) -> Iterator[Rest]:
    """Yield what was not written for a month; what this registry would read again stays."""
    used = {value for entry in registry.entries.values() if (value := entry.revision) is not None}
    sources = (one.source for one in registry.manifests.values())
    used |= {source.revision for source in sources if isinstance(source, HuggingFaceSource) and source.revision}
    for folder in CACHE_FOLDERS:
        for file in _files(host.cache_dir / folder):
            commit = file.name.split(".", 1)[0]
            if file.stem == registry_key(root) or (is_commit(commit) and commit in used):
                continue
            if (age := _age(file)) >= KEPT_DAYS * DAY:
                yield _file_rest(Kind.CACHE, file, f"{folder}: made again when it is needed", age)


def _notes(
    registry: RegistryState, host: HostSettings, root: Path, reachable: Callable[[Path], bool]
) -> Iterator[Rest]:
    """Yield what says of publishes that they are under way; of a drive that is away nothing is known to be gone."""
    intents = Intents(host.state_dir, root)
    for name, path in intents.announced().items():
        entry = registry.entries.get(name)
        settled = entry is not None and entry.path == path
        gone = path.is_absolute() and not is_there(path) and reachable(path)
        if not (settled or gone):
            continue
        file = intents.file(name)
        about = "its publish is recorded" if settled else f"of a publish to {path}, where nothing is"
        yield _file_rest(Kind.NOTE, file, about, _age(file), name=name)
    for draft in intents.drafts():
        yield _file_rest(Kind.DRAFT, draft, "of a note", _age(draft))


def _drafts(root: Path) -> Iterator[Rest]:
    draft = root / f".{COMPATIBILITY_FILE}.new"
    if draft.is_file():
        yield _file_rest(Kind.DRAFT, draft, f"of {COMPATIBILITY_FILE}", _age(draft))


def _file_rest(kind: Kind, file: Path, about: str, age: float, *, name: str = "") -> Rest:
    def remove() -> None:
        file.unlink(missing_ok=True)

    try:
        size = file.lstat().st_blocks * 512
    except OSError:
        size = 0
    return Rest(kind, name or file.name, about, file, size, age, remove)


def _files(folder: Path) -> Iterator[Path]:
    for above, _folders, names in os.walk(folder):  # which follows no links
        for name in names:
            if not (file := Path(above, name)).is_symlink():
                yield file


def _age(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.lstat().st_mtime)
    except OSError:
        return 0.0
