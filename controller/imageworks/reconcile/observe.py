"""Gather the situation: registry, disk and sources looked at once, as values for the planner. Writes nothing."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from imageworks.plan.facts import NO_FILES, Blocker, DeclaredModel, HostState, Observation, UndeclaredModel
from imageworks.plan.plan import Reason
from imageworks.providers.base import Store
from imageworks.providers.dispatch import provider, speaks_of, stores_spoken_of
from imageworks.providers.failures import Failures
from imageworks.providers.folder.observe import Folders
from imageworks.providers.shared_files import SharedFiles
from imageworks.registry.cross_checks import fold
from imageworks.registry.entries.entry import STORE_PROVIDERS, Entry, has_files, is_in_store
from imageworks.registry.entries.lookup import known_names
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import Manifest, Prune, State
from imageworks.registry.settings.model_origins import pinned_names


@dataclass(frozen=True, slots=True)
class ObservationContext:
    """Everything that gathering looks through.

    Args:
        folders: Models in folders of this host, and where their files come from.
        announced: What an interrupted run was about to publish.
        records_stale: Says whether entries or snapshot are other than they should be.
        prune_of: What a recorded model's manifest said of pruning in the last applied commit.
        restore_locked: Whether somebody asked for the bytes that models are locked to, where others are there now.
        open_store: Opens a store by its name; ``None`` where none can be looked at.
    """

    folders: Folders
    announced: Mapping[str, Path]
    records_stale: Callable[[RegistryState], bool]
    prune_of: Callable[[str], Prune | None]
    restore_locked: bool = False
    open_store: Callable[[str], Store] | None = None

    @property
    def registry(self) -> RegistryState:
        """The registry at the commit to reconcile."""
        return self.folders.registry

    def stores_of(self, entry: Entry) -> list[Store]:
        """Return the stores that an entry speaks of, where anybody may look."""
        if self.open_store is None:
            return []
        return [self.open_store(name) for name in stores_spoken_of(None, entry)]

    def observe(self, entry: Entry) -> Observation | None:
        """Return how a recorded model stands, on disk or in a store."""
        if not is_in_store(entry):
            return self.folders.disk.observe(entry)
        return next((store.observe_entry(entry) for store in self.stores_of(entry)), None)


def gather(look: ObservationContext, names: Collection[str] = ()) -> HostState:
    """Return everything that a plan is made from."""
    registry = look.registry
    names = known_names(registry, names)
    applied = {manifest.name: manifest for manifest in registry.applied}
    places = look.folders.places
    current = {name: places.current(entry) for name, entry in registry.entries.items()}
    moved = {name: entry.path for name, entry in registry.entries.items() if current[name] is not entry}
    recorded = registry
    if moved:
        registry = replace(registry, entries=current)
        look = replace(look, folders=replace(look.folders, registry=registry))
    sharing = SharedFiles(registry.entries.values())
    renamed = _renames(applied.values(), registry)
    renamed |= _taken_over(applied.values(), registry, renamed)
    wanted = [m for name, m in sorted(applied.items()) if not names or name in names]
    failed = Failures()
    cases = failed.without(wanted, lambda manifest: _recorded(look, manifest, renamed, sharing))
    if moved:
        cases = [replace(case, relocated_from=moved.get(case.entry.name) if case.entry else None) for case in cases]
    cases = look.folders.observe(_with_stores(cases, look, failed), look.announced, failed)
    taken = {case.previous_name for case in cases if case.previous_name} | set(renamed.values())
    orphans = tuple(_orphans(look, names, set(applied) | taken, sharing, failed))
    unmanaged = tuple(_unmanaged(look, names, set(registry.manifests) | taken, failed))
    staged = look.folders.staged(cases, failed)
    return HostState(
        host=registry.host,
        revision=registry.revision,
        cases=tuple(case for case in cases if case.manifest.name not in failed.obstacles),
        blocked={**_blocked(registry, names), **failed.obstacles},
        orphans=orphans,
        unmanaged=unmanaged,
        declared=registry.declared,
        diagnostics=tuple(d.render() for d in registry.diagnostics),
        notes=tuple(_store_notes(look, cases, names)),
        free_bytes=dict(places.free),
        staged_bytes=staged,
        policies=registry.settings.policies.on(datetime.now(UTC).date()),
        documents=registry.documents,
        pinned=pinned_names(applied.values()),
        records_stale=look.records_stale(recorded),
        strangers=() if names else tuple(look.folders.strangers(cases)),
        relocated={n: path for n, path in moved.items() if n not in applied and path and (not names or n in names)},
    )


def _blocked(registry: RegistryState, names: Collection[str]) -> dict[str, Blocker]:
    blocked = {}
    for name, diagnostics in registry.blocked.items():
        if diagnostics and (not names or name in names):
            manifest = diagnostics[0].file.startswith("models/")
            reason = Reason.INVALID_MANIFEST if manifest else Reason.INVALID_ENTRY
            first = diagnostics[0]
            blocked[name] = Blocker(reason, f"{first.render()}; {first.remedy}" if first.remedy else first.render())
    return blocked


def _renames(manifests: Iterable[Manifest], registry: RegistryState) -> dict[str, str]:
    """Return each declared model whose entry stands under a previous name, with that name."""
    renamed: dict[str, str] = {}
    by_case: dict[str, list[str]] = {}
    for name in registry.entries:
        by_case.setdefault(fold(name), []).append(name)
    for manifest in manifests:
        if manifest.name in registry.entries:
            continue
        # A name that differs by case alone is the same on half of all disks: nothing else can be meant.
        for old in (*manifest.previously, *by_case.get(fold(manifest.name), ())):
            if old in registry.entries and old not in registry.manifests and old not in registry.blocked:
                renamed[manifest.name] = old
                break
    return renamed


def _taken_over(manifests: Iterable[Manifest], registry: RegistryState, renamed: Mapping[str, str]) -> dict[str, str]:
    """Return each declared model that stands in a store and is recorded under another name, with that name."""
    recorded = {*registry.entries, *renamed}
    wanted = [
        manifest
        for manifest in manifests
        if manifest.source is not None and manifest.source.provider in STORE_PROVIDERS
        if manifest.name not in recorded
    ]
    theirs = {*registry.manifests, *registry.blocked, *renamed.values()}
    free = {name: entry for name, entry in registry.entries.items() if name not in theirs} if wanted else {}
    taken: dict[str, str] = {}
    for name in sorted({manifest.source.provider for manifest in wanted if manifest.source is not None}):
        taken |= provider(name).taken_over(wanted, free)
    return taken


def _recorded(
    look: ObservationContext, manifest: Manifest, renamed: Mapping[str, str], sharing: SharedFiles
) -> DeclaredModel:
    previous = renamed.get(manifest.name)
    entry = look.registry.entries.get(previous or manifest.name)
    if manifest.state is State.SUSPENDED:
        return DeclaredModel(manifest, entry=entry, previous_name=previous)
    observation = look.folders.disk.observe(entry) if entry is not None and not is_in_store(entry) else None
    shared = NO_FILES
    if entry is not None and has_files(entry) and not is_in_store(entry):
        absent = manifest.state is State.ABSENT
        shared = frozenset(sharing.owners(entry)) if absent else sharing.others(entry)
    return DeclaredModel(
        manifest,
        entry=entry,
        previous_name=previous,
        observation=observation,
        shared=shared,
        restore_locked=look.restore_locked,
    )


def _with_stores(cases: list[DeclaredModel], look: ObservationContext, failed: Failures) -> list[DeclaredModel]:
    """Return all cases, those that speak of a store with what it has of them."""
    for name in sorted(STORE_PROVIDERS):
        speaking = {case.manifest.name for case in cases if speaks_of(name, case.manifest, case.entry)}
        recorded = any(speaks_of(name, None, entry) for entry in look.registry.entries.values())
        if look.open_store is not None and (speaking or recorded):
            cases = look.open_store(name).observe(cases, speaking, look.registry, look.announced, failed)
    return cases


def _store_notes(look: ObservationContext, cases: list[DeclaredModel], names: Collection[str]) -> list[str]:
    """Return what a person should know of the stores that a plan for all models speaks of."""
    if names or look.open_store is None:
        return []
    return [
        note
        for name in sorted({name for case in cases for name in case.facts})
        for note in look.open_store(name).notes()
    ]


def _orphans(
    look: ObservationContext, names: Collection[str], declared: Collection[str], sharing: SharedFiles, failed: Failures
) -> list[UndeclaredModel]:
    registry, refusals = look.registry, look.folders.refusals

    def orphan(entry: Entry) -> UndeclaredModel:
        found = UndeclaredModel(
            entry=entry,
            observation=look.observe(entry),
            prune=look.prune_of(entry.name),
            excluded=entry.name in registry.manifests,
            shared=sharing.owners(entry) if has_files(entry) and not is_in_store(entry) else {},
            not_removed=refusals.to_remove(entry)
            if refusals is not None and has_files(entry) and not is_in_store(entry)
            else None,
        )
        for store in look.stores_of(entry):
            found = store.orphan(found)
        return found

    left = [
        entry
        for name, entry in sorted(registry.entries.items())
        if entry.managed and name not in declared and name not in registry.blocked and (not names or name in names)
    ]
    return failed.without(left, orphan)


def _unmanaged(
    look: ObservationContext, names: Collection[str], declared: Collection[str], failed: Failures
) -> list[tuple[Entry, Observation | None]]:
    found = [
        entry
        for name, entry in sorted(look.registry.entries.items())
        if not entry.managed and name not in declared and (not names or name in names)
    ]
    return failed.without(found, lambda entry: (entry, look.observe(entry)))
