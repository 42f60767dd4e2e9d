"""Look at what models need whose bytes are files in folders: their sources, their places, what lies there."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from imageworks.files.artifact import RemoteFile
from imageworks.files.safe_paths import is_folder
from imageworks.files.staging import StagingArea
from imageworks.foundation.isolation import InternalError, isolated
from imageworks.host.settings import how_to_allow
from imageworks.plan.facts import (
    NOTHING,
    Blocker,
    DeclaredModel,
    FileState,
    ResolvedSource,
    TargetContents,
    TargetFolder,
    obstacle_of,
)
from imageworks.plan.plan import Action, Drift, Reason
from imageworks.providers.at_once import at_once
from imageworks.providers.disk import DiskObserver
from imageworks.providers.dispatch import decide, fetched, file_provider
from imageworks.providers.failures import Failures
from imageworks.providers.folder.decide import lacking, may_lack_files, needs_upstream
from imageworks.providers.folder.disk_limits import DiskRefusals
from imageworks.providers.folder.local_files import LocalSource
from imageworks.providers.folder.staging_keys import staging_key_of
from imageworks.providers.folder.target_claims import FolderClaim, refused
from imageworks.providers.lmstudio.drift import strangers, unseen
from imageworks.providers.locations import HostLocations, no_place
from imageworks.providers.upstream import SourceResolver
from imageworks.registry.entries.entry import STORE_PROVIDERS, Entry, has_files, is_in_store, stands_in_store
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import Manifest, PathSource, RepositorySource, State
from imageworks.registry.manifests.portion import portion_of

ASKING_THREADS: Final = 8
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Folders:
    """What folders of models are looked at through.

    Args:
        registry: The registry at the commit to reconcile.
        places: Locations on this host.
        disk: Files on this host.
        sources: Where files come from.
        find_content: Finds bytes that are already here.
        refusals: Knows what disks would refuse; ``None`` where they cannot be looked at.
        recheck: Whether installed models are held against what their repositories list, which asks the network.
    """

    registry: RegistryState
    places: HostLocations
    disk: DiskObserver
    sources: SourceResolver
    find_content: Callable[[RemoteFile, str | None], Path | None]
    refusals: DiskRefusals | None = None
    recheck: bool = False

    def observe(
        self, cases: list[DeclaredModel], announced: Mapping[str, Path], failed: Failures
    ) -> list[DeclaredModel]:
        """Return all cases in their order, with what their sources offer and what lies where they belong."""
        cases = _ask(cases, self, failed)
        placed = failed.without(cases, lambda case: _reached(case, lambda: _placed(self, case, announced)))
        cases = _apart(self, placed)
        cases = failed.without(cases, lambda case: _reached(case, lambda: _with_refusals(self, case)))
        return _with_what_lacks(_allowed(cases, self, failed), self)

    def staged(self, cases: Iterable[DeclaredModel], failed: Failures) -> dict[str, int]:
        """Return how many bytes of each model an interrupted run left in its staging area."""
        return dict(failed.without(cases, lambda case: (case.manifest.name, _staged(case, self.registry.host))))

    def strangers(self, cases: Iterable[DeclaredModel]) -> Iterator[Drift]:
        """Yield models that another program put into a folder of ours, and that nobody recorded or declared."""
        claimed = {case.place.path for case in cases if isinstance(case.place, TargetFolder)}
        return strangers(self.places, self.registry, claimed)


def _ask(cases: list[DeclaredModel], look: Folders, failed: Failures) -> list[DeclaredModel]:
    """Ask the sources of all cases that need it, several at once, and return all cases in their order."""
    asking = [i for i, case in enumerate(cases) if needs_upstream(case) or (look.recheck and may_lack_files(case))]
    answered = list(cases)
    answers = _at_once(lambda case: _answer(look, case), [cases[i] for i in asking], look)
    for i, answer in zip(asking, answers, strict=True):
        asked = replace(cases[i], upstream=answer)
        answered[i] = asked if needs_upstream(cases[i]) or lacking(asked) else cases[i]
        if isinstance(answer, Blocker) and answer.reason is Reason.INTERNAL_ERROR:
            failed.obstacles[cases[i].manifest.name] = answer
    return [case for case in answered if case.manifest.name not in failed.obstacles]


def _allowed(cases: list[DeclaredModel], look: Folders, failed: Failures) -> list[DeclaredModel]:
    """Return all cases, with an obstacle where the hub would refuse what is to be fetched."""
    listed = [case for case in cases if _is_listed(case)]
    coming = dict(failed.without(listed, lambda case: (case.manifest.name, bool(fetched(case)))))
    asking = [case for case in listed if coming.get(case.manifest.name)]
    refused = _at_once(look.sources.refusal, asking, look)
    obstacles = {case.manifest.name: found for case, found in zip(asking, refused, strict=True) if found is not None}
    return [
        replace(case, upstream=obstacles[name]) if (name := case.manifest.name) in obstacles else case for case in cases
    ]


def _with_what_lacks(cases: list[DeclaredModel], look: Folders) -> list[DeclaredModel]:
    """Return all cases, with a warning where what is to be brought is not all that loading it needs."""
    bringing = [case for case in cases if _is_bringing(case)]
    answers = _at_once(lambda case: _lacks(look, case), bringing, look)
    warnings = {case.manifest.name: told for case, told in zip(bringing, answers, strict=True) if told}
    return [
        replace(case, upstream=replace(case.upstream, warnings=(*case.upstream.warnings, *warnings[name])))
        if isinstance(case.upstream, ResolvedSource) and (name := case.manifest.name) in warnings
        else case
        for case in cases
    ]


def _is_bringing(case: DeclaredModel) -> bool:
    if not isinstance(case.upstream, ResolvedSource) or is_in_store(case.entry):
        return False
    change = decide(case)  # of what is repaired, the record says what it lacks; of what is found, a look at it
    source = case.manifest.source
    here = source is not None and file_provider(source.provider).reads_anyway
    action = change.action if change is not None else None
    return action in {Action.INSTALL, Action.UPDATE} or (here and action is Action.ADOPT)


def _lacks(look: Folders, case: DeclaredModel) -> tuple[str, ...]:
    try:
        with isolated(case.manifest.name):
            return look.sources.lacking(case)
    except (InternalError, OSError):
        return ()  # what nobody foresaw is said where the files are brought


def _is_listed(case: DeclaredModel) -> bool:
    return isinstance(case.upstream, ResolvedSource)


def _at_once(ask: "Callable[[DeclaredModel], Answer]", cases: list[DeclaredModel], look: Folders) -> "list[Answer]":
    """Return what a source answers for each case, several asked at once."""
    # Closing wakes threads that wait for a hub's rate limit, which would hold up ^C.
    return at_once(ask, cases, threads=ASKING_THREADS, stop=look.sources.close)


def _answer(look: Folders, case: DeclaredModel) -> ResolvedSource | Blocker:
    try:
        with isolated(case.manifest.name):
            return look.sources.ask(case)
    except InternalError as error:
        return obstacle_of(error)


def _reached(case: DeclaredModel, look: Callable[[], DeclaredModel]) -> DeclaredModel:
    """Return what a look gives; a disk that stops answering meanwhile stops nobody else's models."""
    try:
        return look()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{os.strerror(error.errno or 0)} while it was looked at"
        return replace(case, place=Blocker(Reason.LOCATION_UNREADABLE, message))


def _placed(look: Folders, case: DeclaredModel, announced: Mapping[str, Path]) -> DeclaredModel:
    """Return a case with its place and, where bytes are to come, what lies there and what can be reused."""
    manifest, entry, upstream = case.manifest, case.entry, case.upstream
    if manifest.state is not State.PRESENT or manifest.source is None:
        return case
    if manifest.source.provider in STORE_PROVIDERS or stands_in_store(entry):
        return case
    asked = upstream if isinstance(upstream, ResolvedSource) else None
    recorded = entry.text("download_format") if entry else None
    container = manifest.text("format") or (asked.container if asked else None) or recorded
    repo = asked.repo if asked else entry.repo if entry else None
    if asked is None and not has_files(entry):
        return case  # nothing to place: the obstacle is all there is to say
    place = look.places.place(manifest, container=container, repo=repo)
    case = replace(case, place=place)
    if isinstance(place, Blocker):
        return case
    obstacle = _unreachable(look, case, place)
    if obstacle is not None:
        return replace(case, place=obstacle)
    if asked is None:
        return _moved_already(look, case, place, announced)
    if isinstance(manifest.source, PathSource) and manifest.location is None:
        everything = frozenset(file.path for file in asked.files)
        doubts = look.disk.doubts({file.path: path for file in asked.files if (path := _source_of(file, asked, look))})
        asked = replace(asked, warnings=(*asked.warnings, *doubts))
        return replace(case, upstream=asked, occupant=TargetContents(exists=True, matching=everything))
    occupant = look.disk.occupant(place.path, asked.files)
    missing = [file for file in asked.files if file.path not in occupant.matching]
    if missing and occupant.exists and (why := look.places.why_holding(place.path)) is not None:
        return replace(case, place=no_place(place.path, why, manifest.file))
    found = {file.path: _source_of(file, asked, look) for file in missing}
    reuse = {path: source for path, source in found.items() if source is not None}
    here = {path: place.path / path for path in occupant.matching}
    told = (*unseen(look.places, place, asked), *look.disk.copied(frozenset(reuse.values())), *look.disk.doubts(here))
    return replace(
        case,
        upstream=replace(asked, warnings=(*asked.warnings, *told)),
        occupant=occupant,
        reuse=reuse or NOTHING,
        published_by_us=announced.get(manifest.name) == place.path,
    )


def _apart(look: Folders, cases: list[DeclaredModel]) -> list[DeclaredModel]:
    """Return all cases, with an obstacle where two would be put into one folder, or one into the other's."""
    if not any(_acts(case) for case in cases):
        return cases
    claims = [claim for case in cases if (claim := _claim(case)) is not None]
    considered = {case.manifest.name for case in cases}
    others = [one for one in look.registry.applied if one.name not in considered]
    claims += [claim for one in others if (claim := _held(one, look.registry.entries.get(one.name))) is not None]
    messages = refused([replace(claim, folder=os.path.realpath(claim.folder)) for claim in claims])
    return [
        replace(case, place=Blocker(Reason.FOLDER_CLAIMED, messages[name]))
        if (name := case.manifest.name) in messages
        else case
        for case in cases
    ]


def _claim(case: DeclaredModel) -> FolderClaim | None:
    """Return the folder that a case claims; one that only says where something is claims none."""
    manifest, entry, place = case.manifest, case.entry, case.place
    if isinstance(manifest.source, PathSource) and manifest.location is None:
        return None
    if not isinstance(place, TargetFolder):
        return _held(manifest, entry)
    holds = _holds(case)
    repo = case.upstream.repo if isinstance(case.upstream, ResolvedSource) else entry.repo if entry else None
    return _claim_of(manifest, place.path, repo, holds=holds, acts=_acts(case))


def _acts(case: DeclaredModel) -> bool:
    """Return whether files would be put where a case belongs, or changed there."""
    return isinstance(case.place, TargetFolder) and (case.upstream is not None or not _holds(case))


def _holds(case: DeclaredModel) -> bool:
    entry, place = case.entry, case.place
    if entry is None or not entry.files or not isinstance(place, TargetFolder):
        return False
    return entry.fields.get("download_path") == str(place.path)  # a Path for each of ten thousand models costs 20 ms


def _held(manifest: Manifest, entry: Entry | None) -> FolderClaim | None:
    """Return the folder in which a declared model's recorded files are."""
    if entry is None or entry.path is None or not has_files(entry) or is_in_store(entry):
        return None
    if isinstance(manifest.source, PathSource) and manifest.location is None:
        return None
    return _claim_of(manifest, entry.path, entry.repo, holds=True, acts=False)


def _claim_of(manifest: Manifest, path: Path, repo: str | None, *, holds: bool, acts: bool) -> FolderClaim:
    source = manifest.source
    if isinstance(source, RepositorySource):
        content: tuple[str, ...] = (repo or source.repo, source.revision)
    else:
        content = (source.label if source is not None else manifest.name,)
    return FolderClaim(manifest.name, manifest.file, str(path), content, portion_of(manifest), holds=holds, acts=acts)


def _with_refusals(look: Folders, case: DeclaredModel) -> DeclaredModel:
    """Return a case with what its disks would refuse; they are not asked where nothing has to be done."""
    if case.observation is not None and case.observation.unknown is not None:
        return case
    if look.refusals is None or case.manifest.source is None or is_in_store(case.entry):
        return case
    entry, place = case.entry, case.place
    moves = isinstance(place, TargetFolder) and entry is not None and has_files(entry) and entry.path != place.path
    if isinstance(place, TargetFolder) and (isinstance(case.upstream, ResolvedSource) or moves):
        coming = case.upstream.files if isinstance(case.upstream, ResolvedSource) else ()
        replaced = look.refusals.to_remove(entry) if entry is not None and has_files(entry) and not moves else None
        case = replace(case, not_brought=look.refusals.to_bring(place, coming) or replaced)
    leaves = moves or case.manifest.state is State.ABSENT
    if leaves and entry is not None and has_files(entry):
        case = replace(case, not_removed=look.refusals.to_remove(entry))
    return case


def _unreachable(look: Folders, case: DeclaredModel, place: TargetFolder) -> Blocker | None:
    """Return why what is recorded is out of reach: it lies where this host allows nothing."""
    entry, observation = case.entry, case.observation
    if entry is None or entry.path is None or observation is None:
        return None
    if entry.path != place.path and observation.unknown is None and not look.places.allows(entry.path):
        message = f"its recorded folder {entry.path} is outside the folders that this host allows, so it is not moved"
        return Blocker(Reason.ROOT_NOT_ALLOWED, f"{message}; {how_to_allow(entry.path)}")
    return None


def _source_of(file: RemoteFile, asked: ResolvedSource, look: Folders) -> Path | None:
    if isinstance(asked.source, LocalSource):
        return asked.source.place(file)
    return look.find_content(file, asked.repo)


def _moved_already(
    look: Folders, case: DeclaredModel, place: TargetFolder, announced: Mapping[str, Path]
) -> DeclaredModel:
    """Look at the target of a move, in case an earlier run was killed between the move and its record."""
    entry = case.entry
    if entry is None or entry.path is None or entry.path == place.path:
        return case
    case = replace(case, crosses=look.places.is_elsewhere(entry.path, place))
    there = Entry(entry.name, {**entry.fields, "download_path": str(place.path)}, entry.files)
    seen = look.disk.observe(there)
    if seen is None:
        return case
    present = {file.path for file in entry.files if file.path not in seen.damaged}
    differing = {path for path, state in seen.damaged.items() if state is not FileState.MISSING}
    occupant = replace(case.occupant, matching=frozenset(present), differing=frozenset(differing))
    return replace(case, occupant=occupant, published_by_us=announced.get(case.manifest.name) == place.path)


def _staged(case: DeclaredModel, host: str) -> int:
    """Return how many bytes of a model an interrupted run left in its staging area."""
    if not isinstance(case.place, TargetFolder) or not isinstance(case.upstream, ResolvedSource):
        return 0
    area = StagingArea(case.place.root, staging_key_of(case.manifest.name, host, case.upstream))
    if not is_folder(area.path):
        return 0
    total = sum(file.size for file in case.upstream.files)
    try:
        return max(0, total - area.bytes_to_write(case.upstream.files))
    except OSError:
        return 0
