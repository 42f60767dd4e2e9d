"""Looks before and after a plan at all that decides it, so that a note may say that there was nothing to do.

Only what a look at files can prove is noted: models in folders of marked locations, declared by files that are
committed. Stores, sources on this host, signatures, policies and hours of the day are asked each time.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from imageworks.files.location_markers import MARKER_NAME
from imageworks.files.safe_names import STAGING_NAME
from imageworks.files.state import STATE_FILE
from imageworks.git.repository import RegistryRepository
from imageworks.host.predecessor_files import COMPATIBILITY_FILE
from imageworks.host.settings import HostSettings
from imageworks.plan.facts import DeclaredModel, HostState, TargetFolder
from imageworks.plan.plan import Plan
from imageworks.providers.dispatch import stores_spoken_of
from imageworks.providers.locations import HostLocations
from imageworks.reconcile.settled.note import Seen, SettledNote, Watched, look
from imageworks.registry.entries.entry import Entry, has_files, is_in_store
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import SUFFIXES, PathSource
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE

OLD_ENOUGH_NS: Final = 2_000_000_000
"""A file that changed later may change once more within the same tick of its disk's clock, and look as before."""
_OF_GIT: Final = ("index", "config.worktree", "info/sparse-checkout")
_IN_PROGRESS: Final = frozenset(
    {"MERGE_HEAD", "REVERT_HEAD", "CHERRY_PICK_HEAD", "BISECT_LOG", "rebase-merge", "rebase-apply", "sequencer"}
)


class SettledWatch:
    """What one run looks at for its note.

    Args:
        repository: The registry's repository.
        host: This host's settings.
        registry: The registry as it was read.
        places: The locations of this host.
        staging: The folders at which something may gather.
        journal: Where it is noted what is about to be published.
    """

    def __init__(
        self,
        repository: RegistryRepository,
        host: HostSettings,
        registry: RegistryState,
        places: HostLocations,
        *,
        staging: Iterable[Path],
        journal: Path,
    ) -> None:
        self._host = host
        self._registry = registry
        self._note = SettledNote(host, repository.root)
        self._began_ns = time.time_ns()
        self._watched: Watched | None = None
        self._before: Seen | None = None
        if _provable(repository, registry, places):
            paths = {*_of_registry(repository), *_of_host(host, places, staging), str(journal)}
            self._watched = Watched(
                paths=sorted(paths),
                listed=str(repository.root / MODELS),
                parents=(),
                roots=(),
                models=_RecordedFolders(registry),
            )
            self._before = _look(self._watched)

    def keep(self, registry: RegistryState, plan: Plan, situation: HostState) -> None:
        """Note that there was nothing to do, where everything looks as it did before that was found out."""
        if self._watched is None or self._before is None or registry is not self._registry:
            return
        if not _is_settled(plan, situation):
            return
        targets = [case.place for case in situation.cases if isinstance(case.place, TargetFolder)]
        watched = self._watched._replace(
            parents=sorted({str(place.path.parent) for place in targets}),
            roots=sorted({str(place.root) for place in targets}),
        )
        now = _look(watched)
        if now == self._before and now.newest_ns <= self._began_ns - OLD_ENOUGH_NS:
            self._note.write(watched, now, plan.unchanged, registry)


class _RecordedFolders:
    """Each recorded model's folder with its files, made when it is looked at: ten thousand are not kept twice."""

    def __init__(self, registry: RegistryState) -> None:
        self._registry = registry

    def __iter__(self) -> Iterator[tuple[str, Sequence[str]]]:
        return ((str(entry.base), [file.path for file in entry.files]) for entry in _with_files(self._registry))


def _look(watched: Watched) -> Seen | None:
    try:
        return look(watched)
    except OSError:
        return None


def _provable(repository: RegistryRepository, registry: RegistryState, places: HostLocations) -> bool:
    """Return whether a look at files proves that nothing is to be done, if nothing is."""
    settings = registry.settings
    asked = settings.require_signed or settings.policies or settings.transfer.window is not None
    if asked or registry.diagnostics or registry.settings_invalid or registry.revision is None or repository.prefix:
        return False
    if places.shared_folders() or not (_is_ours(repository) and _is_all_committed(repository, registry)):
        return False
    manifests = registry.manifests.values()
    if any(isinstance(manifest.source, PathSource) or stores_spoken_of(manifest, None) for manifest in manifests):
        return False
    entries = registry.entries.values()
    if any(is_in_store(entry) or stores_spoken_of(None, entry) for entry in entries):
        return False
    return all(_is_marked(places, entry) for entry in _with_files(registry))


def _is_ours(repository: RegistryRepository) -> bool:
    """Return whether this user owns the repository; of another's, git's settings say whether it may be trusted."""
    layout = repository.layout
    return {path.stat().st_uid for path in (layout.worktree, layout.git_dir, layout.common_dir)} == {os.geteuid()}


def _is_all_committed(repository: RegistryRepository, registry: RegistryState) -> bool:
    """Return whether the manifests' folder has the manifests of the commit, and no others that are not committed."""
    committed = {PurePosixPath(document.file).name for document in registry.documents.values()}
    try:
        with os.scandir(repository.root / MODELS) as entries:
            here = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except OSError:
        return False
    return {name for name, _ in here if name.endswith(SUFFIXES)} == committed and not any(folder for _, folder in here)


def _is_marked(places: HostLocations, entry: Entry) -> bool:
    root = places.locations.root_of(entry.path) if entry.path is not None else None
    return root is not None and places.locations.seen(root).marker is not None


def _with_files(registry: RegistryState) -> Iterator[Entry]:
    return filter(has_files, registry.entries.values())


def _of_registry(repository: RegistryRepository) -> Iterator[str]:
    """Yield what says which files are committed, and whether git is in the middle of something."""
    root, layout = repository.root, repository.layout
    yield from (str(root), str(root / SETTINGS_FILE), str(root / COMPATIBILITY_FILE), str(root / MODELS))
    yield from (str(layout.git_dir / name) for name in (*_OF_GIT, *_IN_PROGRESS))
    yield str(layout.common_dir / "config")


def _of_host(host: HostSettings, places: HostLocations, staging: Iterable[Path]) -> Iterator[str]:
    """Yield what this host knows, and the places where models are, or would be."""
    yield from (str(host.state_dir / f"{STATE_FILE}{suffix}") for suffix in ("", "-journal", "-wal"))
    for root in {*places.locations.roots, *host.roots, *staging}:
        area = root.expanduser() / STAGING_NAME
        yield from map(str, (area.parent, area, area / MARKER_NAME, area / "staging"))


def _is_settled(plan: Plan, situation: HostState) -> bool:
    """Return whether a plan says nothing but that all is as declared."""
    told = (plan.changes, plan.drift, plan.diagnostics, plan.notes, plan.filesystems, plan.suspended)
    left = (situation.blocked, situation.orphans, situation.relocated, any(situation.staged_bytes.values()))
    return not (plan.records_stale or any(told) or any(left)) and all(map(_is_plain, situation.cases))


def _is_plain(case: DeclaredModel) -> bool:
    """Return whether a look at recorded files is all that there is to a case."""
    placed = isinstance(case.place, TargetFolder) if has_files(case.entry) else case.place is None
    return placed and case.upstream is None and not case.facts and case.relocated_from is None
