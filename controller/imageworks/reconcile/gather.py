"""Gather the situation: registry, disk and sources looked at once, as values for the planner. Writes nothing."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from imageworks.errors import ExitCode, ImageworksError
from imageworks.foundation.isolation import InternalError, isolated
from imageworks.reconcile.claims import Claim, refused
from imageworks.reconcile.decide import (
    decide,
    fetched,
    has_files,
    is_ollamas,
    lacking,
    may_lack_files,
    needs_upstream,
    stands_in_ollama,
)
from imageworks.reconcile.intents import Intents
from imageworks.reconcile.observe import DiskObserver
from imageworks.reconcile.places import Places
from imageworks.reconcile.plan import Action, Reason
from imageworks.reconcile.records import Records
from imageworks.reconcile.refusals import DiskRefusals
from imageworks.reconcile.sharing import Sharing
from imageworks.reconcile.situation import (
    Case,
    FileState,
    Observation,
    Obstacle,
    Occupant,
    Orphan,
    Place,
    Situation,
    Upstream,
    obstacle_of,
)
from imageworks.reconcile.studio import strangers, unseen
from imageworks.reconcile.upstream import Sources
from imageworks.registry.entry import Entry
from imageworks.registry.load import RegistryState
from imageworks.registry.lookup import UnknownModelError, find_in
from imageworks.registry.manifest import HuggingFaceSource, Manifest, OllamaSource, PathSource, Prune, State
from imageworks.registry.ollama_sources import pinned_names
from imageworks.registry.parsed import registry_key
from imageworks.registry.portion import portion_of
from imageworks.transfer.content import ContentIndex
from imageworks.transfer.files import RemoteFile
from imageworks.transfer.paths import is_folder
from imageworks.transfer.staging import StagingArea, staging_key

if TYPE_CHECKING:
    from imageworks.reconcile.ollama_look import OllamaLook

ASKING_THREADS: Final = 8
Subject = TypeVar("Subject", bound=Manifest | Entry | Case)
Result = TypeVar("Result")

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that gathering looks through.

    Args:
        registry: The registry at the commit to reconcile.
        places: Locations on this host.
        disk: Files on this host.
        sources: Where models come from.
        content: Bytes that are already here.
        intents: What an interrupted run was about to publish.
        records: Entries and snapshot as they should be.
        prune_of: What a recorded model's manifest said of pruning in the last applied commit.
        refusals: Knows what disks would refuse; ``None`` where they cannot be looked at.
        notes: What a person should know of the whole.
        restore_locked: Whether somebody asked for the bytes that models are locked to, where others are there now.
        recheck: Whether installed models are held against what their repositories list, which asks the network.
    """

    registry: RegistryState
    places: Places
    disk: DiskObserver
    sources: Sources
    content: ContentIndex
    intents: Intents
    records: Records
    prune_of: Callable[[str], Prune | None]
    refusals: DiskRefusals | None = None
    notes: tuple[str, ...] = ()
    restore_locked: bool = False
    recheck: bool = False
    open_ollama: "Callable[[], OllamaLook] | None" = None

    def ollama_for(self, entry: Entry) -> "OllamaLook | None":
        """Return who looks at Ollama, where an entry speaks of it and anybody may look."""
        return self.open_ollama() if self.open_ollama is not None and _mentions_ollama(None, entry) else None

    def observe(self, entry: Entry) -> Observation | None:
        """Return how a recorded model stands, on disk or in Ollama."""
        if not is_ollamas(entry):
            return self.disk.observe(entry)
        ollama = self.ollama_for(entry)
        return ollama.observe(entry) if ollama is not None else None


class Failures:
    """The models that could not be looked at because of an error that nobody foresaw; the others go on (I9)."""

    def __init__(self) -> None:
        self.obstacles: dict[str, Obstacle] = {}

    def without(self, subjects: Iterable[Subject], work: Callable[[Subject], Result]) -> list[Result]:
        """Return what some work gives for each subject, in their order, without those with which it failed.

        Args:
            subjects: Manifests, entries or cases.
            work: What is done with one.
        """
        results = []
        for subject in subjects:
            name = subject.manifest.name if isinstance(subject, Case) else subject.name
            if name in self.obstacles:
                continue
            try:
                with isolated(name):
                    results.append(work(subject))
            except (ImageworksError, OSError) as error:
                self.obstacles[name] = obstacle_of(error)
        return results


def gather(look: Look, names: Collection[str] = ()) -> Situation:
    """Return everything that a plan is made from.

    Args:
        look: What to look through.
        names: The models to consider; all when empty.

    Raises:
        UnknownModelError: A name is neither declared nor recorded.
    """
    registry = look.registry
    names = known_names(registry, names)
    applied = {manifest.name: manifest for manifest in registry.applied}
    current = {name: look.places.current(entry) for name, entry in registry.entries.items()}
    moved = {name: entry.path for name, entry in registry.entries.items() if current[name] is not entry}
    recorded = registry
    if moved:
        registry = replace(registry, entries=current)
        look = replace(look, registry=registry)
    sharing = Sharing(registry.entries.values())
    renamed = _renames(applied.values(), registry)
    renamed |= _taken_over(applied.values(), registry, renamed)
    wanted = [m for name, m in sorted(applied.items()) if not names or name in names]
    announced = look.intents.announced()
    failed = Failures()
    cases = failed.without(wanted, lambda manifest: _recorded(look, manifest, renamed, sharing))
    if moved:
        cases = [replace(case, relocated_from=moved.get(case.entry.name) if case.entry else None) for case in cases]
    cases = _ask(_with_ollama(cases, look, announced, failed), look, failed)
    placed = failed.without(cases, lambda case: _reached(case, lambda: _placed(look, case, announced)))
    cases = _apart(look, placed)
    cases = failed.without(cases, lambda case: _reached(case, lambda: _with_refusals(look, case)))
    cases = _with_what_lacks(_allowed(cases, look, failed), look)
    taken = {case.previous_name for case in cases if case.previous_name} | set(renamed.values())
    orphans = tuple(_orphans(look, names, set(applied) | taken, sharing, failed))
    unmanaged = tuple(_unmanaged(look, names, set(registry.manifests) | taken, failed))
    staged = dict(failed.without(cases, lambda case: (case.manifest.name, _staged(case, registry.host))))
    return Situation(
        host=registry.host,
        revision=registry.revision,
        cases=tuple(case for case in cases if case.manifest.name not in failed.obstacles),
        blocked={**_blocked(registry, names), **failed.obstacles},
        orphans=orphans,
        unmanaged=unmanaged,
        declared=registry.declared,
        diagnostics=tuple(d.render() for d in registry.diagnostics),
        notes=(*look.notes, *_leftovers(look, cases, names)),
        free_bytes=dict(look.places.free),
        staged_bytes=staged,
        policies=registry.settings.policies.on(datetime.now(UTC).date()),
        documents=registry.documents,
        pinned=pinned_names(applied.values()),
        records_stale=look.records.stale(recorded),
        strangers=() if names else tuple(strangers(look.places, registry, _folders(cases))),
        relocated={n: path for n, path in moved.items() if n not in applied and path and (not names or n in names)},
    )


def _folders(cases: Iterable[Case]) -> set[Path]:
    return {case.place.path for case in cases if isinstance(case.place, Place)}


def known_names(registry: RegistryState, asked: Collection[str]) -> tuple[str, ...]:
    """Return the variant names of the models that somebody means.

    Args:
        registry: What is declared and recorded.
        asked: Their names, as people write them.

    Raises:
        UnknownModelError: Of one, there is no model or more than one.
    """
    names = []
    for name in asked:
        try:
            names.append(find_in(registry, name, exit_code=ExitCode.USAGE))
        except UnknownModelError as error:
            if not error.matches:
                new = "A new manifest" if "/" in name else f"A new models/{name}.yaml"
                error.remedy = f"{error.remedy} {new} counts once it is committed."
            raise
    return tuple(dict.fromkeys(names))


def _blocked(registry: RegistryState, names: Collection[str]) -> dict[str, Obstacle]:
    blocked = {}
    for name, diagnostics in registry.blocked.items():
        if diagnostics and (not names or name in names):
            manifest = diagnostics[0].file.startswith("models/")
            reason = Reason.INVALID_MANIFEST if manifest else Reason.INVALID_ENTRY
            first = diagnostics[0]
            blocked[name] = Obstacle(reason, f"{first.render()}; {first.remedy}" if first.remedy else first.render())
    return blocked


def _renames(manifests: Iterable[Manifest], registry: RegistryState) -> dict[str, str]:
    """Return each declared model whose entry stands under a previous name, with that name."""
    renamed = {}
    for manifest in manifests:
        if manifest.name in registry.entries:
            continue
        for old in manifest.previously:
            if old in registry.entries and old not in registry.manifests and old not in registry.blocked:
                renamed[manifest.name] = old
                break
    return renamed


def _taken_over(manifests: Iterable[Manifest], registry: RegistryState, renamed: Mapping[str, str]) -> dict[str, str]:
    """Return each declared model of Ollama that an import has recorded under another name, with that name."""
    wanted = [
        manifest
        for manifest in manifests
        if isinstance(manifest.source, OllamaSource) and manifest.source.modelfile is None
        if manifest.state is State.PRESENT and manifest.name not in {*registry.entries, *renamed}
    ]
    if not wanted:
        return {}
    from imageworks.reconcile.ollama_sight import name_key, recorded_name

    theirs = {*registry.manifests, *registry.blocked, *renamed.values()}
    imported: dict[object, list[str]] = {}
    for name, entry in sorted(registry.entries.items()):
        if name not in theirs and stands_in_ollama(entry) and entry.fields.get("managed") is not True:
            imported.setdefault(name_key(recorded_name(entry)), []).append(name)
    taken: dict[str, str] = {}
    for manifest in wanted:
        source = manifest.source
        free = imported.get(name_key(source.name), []) if isinstance(source, OllamaSource) else []
        if free:
            taken[manifest.name] = free.pop(0)
    return taken


def _recorded(look: Look, manifest: Manifest, renamed: Mapping[str, str], sharing: Sharing) -> Case:
    previous = renamed.get(manifest.name)
    entry = look.registry.entries.get(previous or manifest.name)
    if manifest.state is State.SUSPENDED:
        return Case(manifest, entry=entry, previous_name=previous)
    observation = look.disk.observe(entry) if entry is not None and not is_ollamas(entry) else None
    shared: frozenset[str] = frozenset()
    if entry is not None and has_files(entry) and not is_ollamas(entry):
        absent = manifest.state is State.ABSENT
        shared = frozenset(sharing.owners(entry)) if absent else sharing.others(entry)
    return Case(
        manifest,
        entry=entry,
        previous_name=previous,
        observation=observation,
        shared=shared,
        restore_locked=look.restore_locked,
    )


def _mentions_ollama(manifest: Manifest | None, entry: Entry | None) -> bool:
    """Return whether Ollama must be looked at for a model; where no model asks for that, no daemon is contacted."""
    if manifest is not None:
        if manifest.state is State.SUSPENDED:
            return False
        if isinstance(manifest.source, OllamaSource) or (
            manifest.text("backend") == "ollama" and manifest.source is not None
        ):
            return True
    if entry is None:
        return False
    return stands_in_ollama(entry) or "ollama" in entry.part("metadata")


def _with_ollama(cases: list[Case], look: Look, announced: Mapping[str, Path], failed: Failures) -> list[Case]:
    """Return all cases, those that speak of Ollama with what it has of them."""
    speaking = [i for i, case in enumerate(cases) if _mentions_ollama(case.manifest, case.entry)]
    recorded = any(_mentions_ollama(None, entry) for entry in look.registry.entries.values())
    if look.open_ollama is None or not (speaking or recorded):
        return cases
    ollama = look.open_ollama()
    ollama.begin(look.registry.applied, look.registry.entries.values(), announced)
    mentioned = {cases[i].manifest.name for i in speaking}
    seen = failed.without(cases, lambda case: ollama.case(case) if case.manifest.name in mentioned else case)
    try:
        with isolated("Ollama"):
            return ollama.ask(seen)
    except InternalError:  # one after the other, then, so that only those fail with which it happens
        return failed.without(seen, lambda case: ollama.ask([case])[0])


def _leftovers(look: Look, cases: list[Case], names: Collection[str]) -> tuple[str, ...]:
    """Return what fills Ollama's store and belongs to no model, where a plan for all models speaks of Ollama."""
    if names or look.open_ollama is None or not any(case.ollama is not None for case in cases):
        return ()
    return look.open_ollama().leftovers


def _ask(cases: list[Case], look: Look, failed: Failures) -> list[Case]:
    """Ask the sources of all cases that need it, several at once, and return all cases in their order."""
    asking = [i for i, case in enumerate(cases) if needs_upstream(case) or (look.recheck and may_lack_files(case))]
    answered = list(cases)
    answers = _at_once(lambda case: _answer(look, case), [cases[i] for i in asking], look)
    for i, answer in zip(asking, answers, strict=True):
        asked = replace(cases[i], upstream=answer)
        answered[i] = asked if needs_upstream(cases[i]) or lacking(asked) else cases[i]
        if isinstance(answer, Obstacle) and answer.reason is Reason.INTERNAL_ERROR:
            failed.obstacles[cases[i].manifest.name] = answer
    return [case for case in answered if case.manifest.name not in failed.obstacles]


def _allowed(cases: list[Case], look: Look, failed: Failures) -> list[Case]:
    """Return all cases, with an obstacle where the hub would refuse what is to be fetched."""
    listed = [case for case in cases if _is_listed(case)]
    coming = dict(failed.without(listed, lambda case: (case.manifest.name, bool(fetched(case)))))
    asking = [case for case in listed if coming.get(case.manifest.name)]
    refused = _at_once(look.sources.refusal, asking, look)
    obstacles = {case.manifest.name: found for case, found in zip(asking, refused, strict=True) if found is not None}
    return [
        replace(case, upstream=obstacles[name]) if (name := case.manifest.name) in obstacles else case for case in cases
    ]


def _with_what_lacks(cases: list[Case], look: Look) -> list[Case]:
    """Return all cases, with a warning where what is to be brought is not all that loading it needs."""
    bringing = [case for case in cases if _is_bringing(case)]
    answers = _at_once(lambda case: _lacks(look, case), bringing, look)
    warnings = {case.manifest.name: told for case, told in zip(bringing, answers, strict=True) if told}
    return [
        replace(case, upstream=replace(case.upstream, warnings=(*case.upstream.warnings, *warnings[name])))
        if isinstance(case.upstream, Upstream) and (name := case.manifest.name) in warnings
        else case
        for case in cases
    ]


def _is_bringing(case: Case) -> bool:
    if not isinstance(case.upstream, Upstream) or is_ollamas(case.entry):
        return False
    change = decide(case)  # of what is repaired, the record says what it lacks; of what is found, a look at it
    here = isinstance(case.manifest.source, PathSource)
    action = change.action if change is not None else None
    return action in {Action.INSTALL, Action.UPDATE} or (here and action is Action.ADOPT)


def _lacks(look: Look, case: Case) -> tuple[str, ...]:
    try:
        with isolated(case.manifest.name):
            return look.sources.lacking(case)
    except (InternalError, OSError):
        return ()  # what nobody foresaw is said where the files are brought


def _is_listed(case: Case) -> bool:
    return isinstance(case.upstream, Upstream) and isinstance(case.manifest.source, HuggingFaceSource)


def _at_once(ask: "Callable[[Case], Answer]", cases: list[Case], look: Look) -> "list[Answer]":
    """Return what a source answers for each case, several asked at once."""
    if not cases:
        return []
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(ASKING_THREADS, len(cases))) as pool:
        try:
            return list(pool.map(ask, cases))
        except BaseException:
            look.sources.close()  # wakes threads that wait for a hub's rate limit, which would hold up ^C
            raise


def _answer(look: Look, case: Case) -> Upstream | Obstacle:
    try:
        with isolated(case.manifest.name):
            return look.sources.ask(case)
    except InternalError as error:
        return obstacle_of(error)


def _reached(case: Case, look: Callable[[], Case]) -> Case:
    """Return what a look gives; a disk that stops answering meanwhile stops nobody else's models."""
    try:
        return look()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{os.strerror(error.errno or 0)} while it was looked at"
        return replace(case, place=Obstacle(Reason.LOCATION_UNREADABLE, message))


def _placed(look: Look, case: Case, announced: Mapping[str, Path]) -> Case:
    """Return a case with its place and, where bytes are to come, what lies there and what can be reused."""
    manifest, entry, upstream = case.manifest, case.entry, case.upstream
    if manifest.state is not State.PRESENT or manifest.source is None:
        return case
    if isinstance(manifest.source, OllamaSource) or stands_in_ollama(entry):
        return case
    asked = upstream if isinstance(upstream, Upstream) else None
    recorded = entry.text("download_format") if entry else None
    container = manifest.text("format") or (asked.container if asked else None) or recorded
    repo = asked.repo if asked else entry.repo if entry else None
    if asked is None and not has_files(entry):
        return case  # nothing to place: the obstacle is all there is to say
    place = look.places.place(manifest, container=container, repo=repo)
    case = replace(case, place=place)
    if isinstance(place, Obstacle):
        return case
    obstacle = _unreachable(look, case, place)
    if obstacle is not None:
        return replace(case, place=obstacle)
    if asked is None:
        return _moved_already(look, case, place, announced)
    if isinstance(manifest.source, PathSource) and manifest.location is None:
        everything = frozenset(file.path for file in asked.files)
        return replace(case, occupant=Occupant(exists=True, matching=everything))
    occupant = look.disk.occupant(place.path, asked.files)
    missing = [file for file in asked.files if file.path not in occupant.matching]
    found = {file.path: _source_of(file, asked, look) for file in missing}
    return replace(
        case,
        upstream=replace(asked, warnings=(*asked.warnings, *unseen(look.places, place, asked))),
        occupant=occupant,
        reuse={path: source for path, source in found.items() if source is not None},
        published_by_us=announced.get(manifest.name) == place.path,
    )


def _apart(look: Look, cases: list[Case]) -> list[Case]:
    """Return all cases, with an obstacle where two would be put into one folder, or one into the other's."""
    if not any(_acts(case) for case in cases):
        return cases
    claims = [claim for case in cases if (claim := _claim(case)) is not None]
    considered = {case.manifest.name for case in cases}
    others = [one for one in look.registry.applied if one.name not in considered]
    claims += [claim for one in others if (claim := _held(one, look.registry.entries.get(one.name))) is not None]
    messages = refused([replace(claim, folder=os.path.realpath(claim.folder)) for claim in claims])
    return [
        replace(case, place=Obstacle(Reason.FOLDER_CLAIMED, messages[name]))
        if (name := case.manifest.name) in messages
        else case
        for case in cases
    ]


def _claim(case: Case) -> Claim | None:
    """Return the folder that a case claims; one that only says where something is claims none."""
    manifest, entry, place = case.manifest, case.entry, case.place
    if isinstance(manifest.source, PathSource) and manifest.location is None:
        return None
    if not isinstance(place, Place):
        return _held(manifest, entry)
    holds = _holds(case)
    repo = case.upstream.repo if isinstance(case.upstream, Upstream) else entry.repo if entry else None
    return _claim_of(manifest, place.path, repo, holds=holds, acts=_acts(case))


def _acts(case: Case) -> bool:
    """Return whether files would be put where a case belongs, or changed there."""
    return isinstance(case.place, Place) and (case.upstream is not None or not _holds(case))


def _holds(case: Case) -> bool:
    entry, place = case.entry, case.place
    if entry is None or not entry.files or not isinstance(place, Place):
        return False
    return entry.fields.get("download_path") == str(place.path)  # a Path for each of ten thousand models costs 20 ms


def _held(manifest: Manifest, entry: Entry | None) -> Claim | None:
    """Return the folder in which a declared model's recorded files are."""
    if entry is None or entry.path is None or not has_files(entry) or is_ollamas(entry):
        return None
    if isinstance(manifest.source, PathSource) and manifest.location is None:
        return None
    return _claim_of(manifest, entry.path, entry.repo, holds=True, acts=False)


def _claim_of(manifest: Manifest, path: Path, repo: str | None, *, holds: bool, acts: bool) -> Claim:
    source = manifest.source
    if isinstance(source, HuggingFaceSource):
        content: tuple[str, ...] = (repo or source.repo, source.revision)
    else:
        content = (source.label if source is not None else manifest.name,)
    return Claim(manifest.name, manifest.file, str(path), content, portion_of(manifest), holds=holds, acts=acts)


def _with_refusals(look: Look, case: Case) -> Case:
    """Return a case with what its disks would refuse; they are not asked where nothing has to be done."""
    if case.observation is not None and case.observation.unknown is not None:
        return case
    if look.refusals is None or case.manifest.source is None or is_ollamas(case.entry):
        return case
    entry, place = case.entry, case.place
    moves = isinstance(place, Place) and entry is not None and has_files(entry) and entry.path != place.path
    if isinstance(place, Place) and (isinstance(case.upstream, Upstream) or moves):
        coming = case.upstream.files if isinstance(case.upstream, Upstream) else ()
        replaced = look.refusals.to_remove(entry) if entry is not None and has_files(entry) and not moves else None
        case = replace(case, not_brought=look.refusals.to_bring(place, coming) or replaced)
    leaves = moves or case.manifest.state is State.ABSENT
    if leaves and entry is not None and has_files(entry):
        case = replace(case, not_removed=look.refusals.to_remove(entry))
    return case


def _unreachable(look: Look, case: Case, place: Place) -> Obstacle | None:
    """Return why what is recorded is out of reach: it lies where this host allows nothing."""
    entry, observation = case.entry, case.observation
    if entry is None or entry.path is None or observation is None:
        return None
    if entry.path != place.path and observation.unknown is None and not look.places.allows(entry.path):
        message = f"its recorded folder {entry.path} is outside the folders that this host allows, so it is not moved"
        return Obstacle(
            Reason.ROOT_NOT_ALLOWED, f"{message}; add it to roots in the user's config.toml if that is meant"
        )
    return None


def _source_of(file: RemoteFile, asked: Upstream, look: Look) -> Path | None:
    from imageworks.providers.local import LocalSource

    if isinstance(asked.source, LocalSource):
        return asked.source.place(file)
    return look.content.find(file, asked.repo)


def _moved_already(look: Look, case: Case, place: Place, announced: Mapping[str, Path]) -> Case:
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


def _orphans(
    look: Look, names: Collection[str], declared: Collection[str], sharing: Sharing, failed: Failures
) -> list[Orphan]:
    registry = look.registry

    def orphan(entry: Entry) -> Orphan:
        return Orphan(
            entry=entry,
            observation=look.observe(entry),
            prune=look.prune_of(entry.name),
            excluded=entry.name in registry.manifests,
            shared=sharing.owners(entry) if has_files(entry) and not is_ollamas(entry) else {},
            ollama=ollama.sight_of(entry) if (ollama := look.ollama_for(entry)) is not None else None,
            not_removed=look.refusals.to_remove(entry)
            if look.refusals is not None and has_files(entry) and not is_ollamas(entry)
            else None,
        )

    left = [
        entry
        for name, entry in sorted(registry.entries.items())
        if entry.managed and name not in declared and name not in registry.blocked and (not names or name in names)
    ]
    return failed.without(left, orphan)


def _unmanaged(
    look: Look, names: Collection[str], declared: Collection[str], failed: Failures
) -> list[tuple[Entry, Observation | None]]:
    found = [
        entry
        for name, entry in sorted(look.registry.entries.items())
        if not entry.managed and name not in declared and (not names or name in names)
    ]
    return failed.without(found, lambda entry: (entry, look.observe(entry)))


def _staged(case: Case, host: str) -> int:
    """Return how many bytes of a model an interrupted run left in its staging area."""
    if not isinstance(case.place, Place) or not isinstance(case.upstream, Upstream):
        return 0
    area = StagingArea(case.place.root, staging_key_of(case.manifest.name, host, case.upstream))
    if not is_folder(area.path):
        return 0
    total = sum(file.size for file in case.upstream.files)
    try:
        return max(0, total - area.bytes_to_write(case.upstream.files))
    except OSError:
        return 0


def staging_key_of(name: str, host: str, upstream: Upstream) -> str:
    """Return the staging key of one model at one commit, so that an interrupted run is found again."""
    files = ",".join(sorted(file.digest.value for file in upstream.files)) if upstream.commit is None else ""
    return staging_key(name, host, upstream.commit or files)


def staging_owner(host: str, registry: Path, name: str = "") -> str:
    """Return whose a staging area is: locations may be shared by other registries and other hosts.

    Args:
        host: The host's name.
        registry: The registry folder.
        name: The variant name; without one, what all owners of that registry begin with.
    """
    return f"{host}/{registry_key(registry)}/{name}"
