"""What killed and broken-off runs left on this host and nobody needs: what it is, what of it may go, and its removal.

Only what is this registry's and this host's, or a cache, or what the program of a store would drop itself. Whatever has
no known owner, or one elsewhere, is told and stays.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from imageworks.files.safe_paths import is_there
from imageworks.files.staging import remove_empty_staging
from imageworks.files.unfinished import DAY, KEPT_DAYS, Unfinished, find_unfinished
from imageworks.foundation.errors import ImageworksError
from imageworks.host.predecessor_files import COMPATIBILITY_FILE
from imageworks.host.settings import HostSettings
from imageworks.operations.session import Session
from imageworks.providers.dispatch import store_providers
from imageworks.providers.folder.staging_keys import staging_owner
from imageworks.providers.model_claims import ModelClaims
from imageworks.providers.publish_intents import PublishJournal
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.documents.cache import registry_key
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import RepositorySource, is_commit

CACHE_FOLDERS: Final = ("manifests", "snapshots", "history", "hub")


class RestKind(StrEnum):
    """What was left."""

    DOWNLOAD = "unfinished-download"
    CACHE = "cache"
    NOTE = "note"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Rest:
    """One thing that was left.

    Args:
        kind: What it is, or whose store it fills.
        name: The model, or what else people know it by.
        about: What it is, in a few words.
        path: Where it is.
        size: Bytes that the disk gets back.
        age: Since when nobody used it, in seconds.
        remove: Removes it; returns why it is still there, ``None`` when it is gone.
        kept_because: Why it stays; ``None`` for what may go.
    """

    kind: str
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
            "kind": str(self.kind),
            "name": self.name,
            "about": self.about,
            "path": str(self.path),
            "bytes": self.size,
            "age_seconds": round(self.age),
            "remove": self.kept_because is None,
            "kept_because": self.kept_because,
        }


@dataclass(frozen=True, slots=True)
class CleanFilter:
    """What is asked for.

    Args:
        names: Models whose unfinished downloads go even where they are declared; with names, nothing else is looked at.
        older_than: The least age in seconds.
    """

    names: tuple[str, ...] = ()
    older_than: float = 0.0


@contextmanager
def open_clean(session: Session, *, read_only: bool, wait: float) -> Iterator[Run]:
    """Open a run in which rests are found and removed; it asks no network."""
    with Run.open(session.root, session.host, RunOptions(offline=True, read_only=read_only), wait=wait) as run:
        yield run


def find_rests(run: Run, host: HostSettings, root: Path, wanted: CleanFilter) -> list[Rest]:
    """Return what was left, by kind and name; writes nothing."""
    registry, staging_roots = run.registry, run.staging_roots()

    def reachable(path: Path) -> bool:
        return run.places.obstacle_at(path) is None

    found = [*_downloads(registry, host, root, staging_roots, wanted)]
    if not wanted.names:
        found += [
            *_in_stores(host),
            *_caches(registry, host, root),
            *_notes(registry, host, root, reachable),
            *_drafts(root),
        ]
    judged = [one if one.age >= wanted.older_than else _kept(one, "it is younger than asked for") for one in found]
    order = list(dict.fromkeys(one.kind for one in judged))
    return sorted(judged, key=lambda one: (order.index(one.kind), one.name, str(one.path)))


def remove_rests(rests: Collection[Rest]) -> dict[Path, str]:
    """Remove what may go; returns what is still there, with why."""
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
    registry: RegistryState, host: HostSettings, root: Path, roots: Collection[Path], wanted: CleanFilter
) -> Iterator[Rest]:
    ours = staging_owner(host.host, root)
    coming = ModelClaims(host.state_dir, root, host.host).elsewhere()
    for one in find_unfinished(roots):
        mine = one.owner.startswith(ours)
        if wanted.names and not (mine and one.name in wanted.names):
            continue
        far = f"{one.percent} % of {one.source}" if one.percent is not None else one.source
        yield Rest(
            RestKind.DOWNLOAD,
            one.name,
            f"{far} @ {one.revision[:12]}" if one.revision else far,
            one.area.path,
            one.freed,
            one.age(),
            lambda one=one: _drop(one),  # type: ignore[misc] # bound at once
            "another run is bringing it now"
            if mine and one.name in coming
            else _why_kept(one, registry, mine=mine, asked=one.name in wanted.names),
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


def _in_stores(host: HostSettings) -> Iterator[Rest]:
    now = time.time()
    for store in store_providers():
        for one in store.leftovers(host.environment()):
            age = max(0.0, now - one.modified)
            yield Rest(store.name, one.path.name, one.about, one.path, one.size, age, one.remove, one.kept_because)


def _caches(registry: RegistryState, host: HostSettings, root: Path) -> Iterator[Rest]:
    """Yield what was not written for a month; what this registry would read again stays."""
    used = {value for entry in registry.entries.values() if (value := entry.revision) is not None}
    sources = (one.source for one in registry.manifests.values())
    used |= {source.revision for source in sources if isinstance(source, RepositorySource) and source.revision}
    for folder in CACHE_FOLDERS:
        for file in _files(host.cache_dir / folder):
            commit = file.name.split(".", 1)[0]
            if file.stem == registry_key(root) or (is_commit(commit) and commit in used):
                continue
            if (age := _age(file)) >= KEPT_DAYS * DAY:
                yield _file_rest(RestKind.CACHE, file, f"{folder}: made again when it is needed", age)


def _notes(
    registry: RegistryState, host: HostSettings, root: Path, reachable: Callable[[Path], bool]
) -> Iterator[Rest]:
    """Yield what says of publishes that they are under way; of a drive that is away nothing is known to be gone."""
    intents = PublishJournal(host.state_dir, root)
    for name, path in intents.announced().items():
        entry = registry.entries.get(name)
        settled = entry is not None and entry.path == path
        gone = path.is_absolute() and not is_there(path) and reachable(path)
        if not (settled or gone):
            continue
        file = intents.file(name)
        about = "its publish is recorded" if settled else f"of a publish to {path}, where nothing is"
        yield _file_rest(RestKind.NOTE, file, about, _age(file), name=name)
    for draft in intents.drafts():
        yield _file_rest(RestKind.DRAFT, draft, "of a note", _age(draft))


def _drafts(root: Path) -> Iterator[Rest]:
    draft = root / f".{COMPATIBILITY_FILE}.new"
    if draft.is_file():
        yield _file_rest(RestKind.DRAFT, draft, f"of {COMPATIBILITY_FILE}", _age(draft))


def _file_rest(kind: RestKind, file: Path, about: str, age: float, *, name: str = "") -> Rest:
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
