"""Make the plan: every case decided, then what concerns several models at once: space and removals. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from imageworks.foundation.isolation import InternalError, isolated
from imageworks.foundation.texts import human_bytes
from imageworks.plan.facts import (
    Blocker,
    DeclaredModel,
    HostState,
    PruneOptions,
    ResolvedSource,
    UndeclaredModel,
    obstacle_of,
)
from imageworks.plan.plan import Action, Change, Drift, FilesystemTotal, Plan, Reason
from imageworks.plan.policy_checks import (
    license_notes,
    policy_notes,
    policy_obstacle,
    rename_notes,
    within_host_limit,
)
from imageworks.providers.dispatch import decide, provider, provider_of
from imageworks.providers.folder.decide import relocation
from imageworks.registry.entries.entry import TooLargeEntryError, is_too_many
from imageworks.registry.manifests.manifest import Prune, State

MANY: Final = 10
MOST_REMOVED: Final = 0.30
RESERVE: Final = 1.05  # facts/reliability: reserve the remaining bytes and 5 %


def make_plan(situation: HostState, prune: PruneOptions) -> Plan:
    """Return what would change on a host."""
    decided = [(case, _decided(case, situation)) for case in situation.cases]
    speaking = [provider(name) for name in sorted({name for case in situation.cases for name in case.facts})]
    for one in speaking:
        decided = list(one.adjust(decided))
    of_sources = (*rename_notes(situation.cases), *license_notes(situation.cases))
    notes = (*situation.notes, *of_sources, *policy_notes(decided, situation))
    notes = (*notes, *(note for one in speaking for note in one.notes(situation.cases)))
    changes = [change for _, change in decided if change is not None]
    changes += [_obstructed(name, obstacle) for name, obstacle in situation.blocked.items()]
    changes = _enough_space(changes, situation)
    removals, drift = _orphans(situation, prune)
    removals += _relocations(situation, {change.name for change in removals})
    changes = within_host_limit(sorted([*changes, *removals], key=lambda change: change.name), situation)
    suspended = sum(1 for case in situation.cases if case.manifest.state is State.SUSPENDED)
    unchanged = sum(1 for case, change in decided if change is None) - suspended
    return Plan(
        host=situation.host,
        registry_revision=situation.revision,
        changes=tuple(changes),
        unchanged=unchanged,
        suspended=suspended,
        drift=tuple(
            sorted(
                [*drift, *_damaged_unmanaged(situation), *_without_source(situation), *situation.strangers],
                key=lambda item: item.name,
            )
        ),
        filesystems=_filesystems(changes, situation),
        diagnostics=situation.diagnostics,
        notes=notes,
        records_stale=situation.records_stale,
    )


def waves(changes: Iterable[Change], cases: Mapping[str, DeclaredModel]) -> list[list[Change]]:
    """Return changes in the order in which they can be made: models after those that must be there before them."""
    by_wave: dict[int, list[Change]] = {}

    def depth(case: DeclaredModel | None, above: int) -> int:
        before = case.after if case is not None else frozenset()
        if not before or above > len(cases):
            return 0
        return 1 + max(depth(cases.get(name), above + 1) for name in before)

    for change in changes:
        by_wave.setdefault(depth(cases.get(change.name), 0), []).append(change)
    return [by_wave[wave] for wave in sorted(by_wave)]


def _decided(case: DeclaredModel, situation: HostState) -> Change | None:
    """Return what changes for one case; what nobody foresaw blocks this one alone."""
    name = case.manifest.name
    try:
        with isolated(name):
            return _possible(case, _permitted(case, decide(case), situation))
    except InternalError as error:
        return _obstructed(name, obstacle_of(error))


def _permitted(case: DeclaredModel, change: Change | None, situation: HostState) -> Change | None:
    """Block a change that would bring a model which the registry's policies do not accept."""
    obstacle = None if change is None else policy_obstacle(case, change, situation)
    return change if change is None or obstacle is None else change.blocked(obstacle.reason, obstacle.message)


def _possible(case: DeclaredModel, change: Change | None) -> Change | None:
    """Block a change that a disk would refuse half-way or at its end."""
    if change is None or change.daemon:
        return change
    moves = change.action is Action.MOVE and change.reason is Reason.LOCATION_CHANGED
    leaves = moves or (change.action is Action.REMOVE and bool(change.drop))
    if change.action is Action.UPDATE and case.entry is not None:
        leaves = change.path[0] != change.path[1] and case.entry.installed_by_us
    brings = moves or change.action in {Action.INSTALL, Action.UPDATE, Action.REPAIR}
    brought = case.upstream.files if brings and isinstance(case.upstream, ResolvedSource) else ()
    if is_too_many([file.path for file in brought]):
        return change.blocked(Reason.INVALID_ENTRY, TooLargeEntryError(change.name, len(brought)).render())
    obstacle = (case.not_brought if brings else None) or (case.not_removed if leaves else None)
    return change if obstacle is None else change.blocked(obstacle.reason, obstacle.message)


def _obstructed(name: str, obstacle: Blocker) -> Change:
    return Change(name=name, action=Action.BLOCKED, reason=obstacle.reason, message=obstacle.message)


def _enough_space(changes: list[Change], situation: HostState) -> list[Change]:
    """Block what does not fit: models are let in by name until their filesystem is full."""
    left = {key: free for key, (_, free) in situation.free_bytes.items()}
    kept = []
    for change in sorted(changes, key=lambda c: c.name):
        # What is reused counts: whether it can be linked, or is copied, shows only when it is done.
        staged = situation.staged_bytes.get(change.name, 0) or change.bytes_staged
        needed = change.bytes_to_fetch + change.bytes_reused - staged
        if change.action is Action.BLOCKED or change.filesystem not in left or needed <= 0:
            kept.append(change)
        elif needed * RESERVE > left[change.filesystem]:
            folder = situation.free_bytes[change.filesystem][0]
            free = human_bytes(left[change.filesystem])
            message = f"needs {human_bytes(needed)} and 5 % in reserve below {folder}, where {free} are free"
            kept.append(change.blocked(Reason.INSUFFICIENT_SPACE, message))
        else:
            left[change.filesystem] -= needed
            kept.append(change)
    return [_with_staged(change, situation) for change in kept]


def _with_staged(change: Change, situation: HostState) -> Change:
    """Return a change that says how much of it an interrupted run has brought already."""
    staged = situation.staged_bytes.get(change.name, 0) if change.fetch else 0
    return replace(change, bytes_staged=min(staged, change.bytes_to_fetch)) if staged else change


def _relocations(situation: HostState, decided: Collection[str]) -> Iterable[Change]:
    """Yield the new places of models that no manifest declares and whose drive stands elsewhere now."""
    entries = [entry for entry, _ in situation.unmanaged] + [orphan.entry for orphan in situation.orphans]
    for entry in entries:
        before = situation.relocated.get(entry.name)
        if before is not None and entry.name not in decided:
            yield Change(
                name=entry.name,
                action=Action.MOVE,
                reason=Reason.LOCATION_CHANGED,
                message=relocation(before, entry.path),
                source=entry.text("source_provider") or "",
                backend=entry.text("backend") or "",
                revision=(entry.revision, entry.revision),
                path=(str(before), str(entry.path)),
                keep=len(entry.files),
            )


def _orphans(situation: HostState, prune: PruneOptions) -> tuple[list[Change], list[Drift]]:
    removals: list[Change] = []
    drift: list[Drift] = []
    protected = {orphan.entry.name: _protected(orphan, situation, prune) for orphan in situation.orphans}
    reached = {o.entry.name for o in situation.orphans if o.observation is None or o.observation.unknown is None}
    going = {name for name, why in protected.items() if why is None and name in reached}
    takers = {o.entry.name for o in situation.orphans if o.entry.name in going and o.entry.installed_by_us}
    for orphan in situation.orphans:
        reason = Reason.HOST_EXCLUDED if orphan.excluded else Reason.UNDECLARED
        why = protected[orphan.entry.name]
        if why is not None:
            drift.append(Drift(orphan.entry.name, reason, why))
            continue
        if orphan.observation is not None and orphan.observation.unknown is not None:
            away = orphan.observation.unknown
            said = _told(orphan)
            drift.append(Drift(orphan.entry.name, away.reason, f"{said}; not removed now: {away.message}"))
            continue
        shared = _staying(orphan, going)
        change = _removal(_without_leaving(orphan, going, takers), reason, shared)
        if change.action is Action.BLOCKED:
            removals.append(change)
            continue
        removals.append(replace(change, needs_confirmation=orphan.prune is not Prune.ENABLED))
    return _refused_in_bulk(removals, situation, prune), drift


def _removal(orphan: UndeclaredModel, reason: Reason, shared: frozenset[str]) -> Change:
    """Return the removal of an orphan by the provider that keeps it, with what leaves others too."""
    try:
        with isolated(orphan.entry.name):
            owner = provider_of(None, orphan.entry)
            change = owner.removal(orphan, reason, _told(orphan), shared)
            if change.action is Action.BLOCKED:
                return change
            for name in orphan.facts:
                if name != owner.name:
                    change = provider(name).complete_removal(orphan, change)
            return change
    except InternalError as error:
        return _obstructed(orphan.entry.name, obstacle_of(error))


def _staying(orphan: UndeclaredModel, going: Collection[str]) -> frozenset[str]:
    """Return which shared files an orphan leaves: all that somebody keeps, and of the others what a later one takes."""
    name = orphan.entry.name
    return frozenset(
        path for path, owners in orphan.shared.items() if not owners <= set(going) or name != max({name, *owners})
    )


def _without_leaving(orphan: UndeclaredModel, going: Collection[str], takers: Collection[str]) -> UndeclaredModel:
    """Return an orphan whose model others that go too do not keep in its store; the last that may takes it."""
    name = orphan.entry.name
    keep = tuple(other for other in orphan.others if other not in going or (other in takers and other > name))
    return replace(orphan, others=keep) if orphan.others else orphan


def _told(orphan: UndeclaredModel) -> str:
    said = "its manifest leaves this host out" if orphan.excluded else "no manifest declares it any more"
    if not orphan.entry.installed_by_us:
        return f"{said}; only the record goes: its files were there before us and stay"
    return said


def _protected(orphan: UndeclaredModel, situation: HostState, prune: PruneOptions) -> str | None:
    """Return why an orphan stays, or ``None`` when it may go."""
    said = _told(orphan)
    if orphan.prune is Prune.DISABLED:
        why = "its manifest had `prune: disabled` when it was last applied"
        return f"{said}; {why}, so it stays, and `promote` declares it"
    if situation.diagnostics:
        return f"{said}; nothing is pruned while a document is invalid"
    if not prune.enabled and orphan.prune is not Prune.ENABLED:
        words = " ".join(["reconcile", "--prune", *_needed_flags(situation)])
        return f"{said}; `{words}` asks for its name and removes it, `promote` declares it"
    return None


def _needed_flags(situation: HostState) -> list[str]:
    """Return what a prune of all that could go has to be told as well."""
    flags = [] if situation.declared else ["--allow-empty"]
    recorded = len(situation.orphans) + sum(1 for case in situation.cases if case.entry is not None)
    going = sum(1 for orphan in situation.orphans if orphan.prune is not Prune.DISABLED)
    return [*flags, "--force-prune"] if recorded >= MANY and going > MOST_REMOVED * recorded else flags


def _refused_in_bulk(removals: list[Change], situation: HostState, prune: PruneOptions) -> list[Change]:
    """Turn removals into blocked changes where so many at once look like a mistake."""
    if not removals:
        return []
    recorded = len(situation.orphans) + sum(1 for case in situation.cases if case.entry is not None)
    if situation.declared == 0 and not prune.allow_empty:
        message = "the registry declares nothing at all; if that is meant, run with --allow-empty"
        return [change.blocked(Reason.PRUNE_REFUSED, message) for change in removals]
    if recorded >= MANY and len(removals) > MOST_REMOVED * recorded and not prune.force:
        message = f"{len(removals)} of {recorded} models would go; if that is meant, run with --force-prune"
        return [change.blocked(Reason.PRUNE_REFUSED, message) for change in removals]
    return removals


def _without_source(situation: HostState) -> Iterable[Drift]:
    """Tell of models whose manifest no longer says where they come from, while their files are recorded."""
    for case in situation.cases:
        manifest, entry = case.manifest, case.entry
        if manifest.source is None and manifest.state is State.PRESENT and entry is not None and entry.files:
            message = f"{manifest.file} has no source any more; its files at {entry.path} stay and are not looked after"
            yield Drift(manifest.name, Reason.SOURCE_REMOVED, message)


def _damaged_unmanaged(situation: HostState) -> Iterable[Drift]:
    for entry, observation in situation.unmanaged:
        if observation is not None and observation.unknown is not None:
            yield Drift(entry.name, observation.unknown.reason, observation.unknown.message)
        elif observation is not None and not observation.intact:
            yield Drift(entry.name, *provider_of(None, entry).damage(entry, observation))


def _filesystems(changes: Iterable[Change], situation: HostState) -> tuple[FilesystemTotal, ...]:
    fetch: dict[str, int] = {}
    for change in changes:
        if change.action is Action.BLOCKED or change.filesystem is None:
            continue
        fetch[change.filesystem] = fetch.get(change.filesystem, 0) + change.bytes_to_fetch
    return tuple(
        FilesystemTotal(name=folder, free_before=free, free_after=free - fetch[key], bytes_to_fetch=fetch[key])
        for key, (folder, free) in sorted(situation.free_bytes.items())
        if fetch.get(key)
    )
