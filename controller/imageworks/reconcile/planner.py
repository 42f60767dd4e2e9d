"""Make the plan: every case decided, then what concerns several models at once: space and removals. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from imageworks.foundation.isolation import InternalError, isolated
from imageworks.reconcile.decide import decide, is_ollamas, relocation, removal
from imageworks.reconcile.plan import Action, Change, Drift, FilesystemTotal, Plan, Reason
from imageworks.reconcile.policy import license_notes, policy_notes, policy_obstacle, rename_notes, within_host_limit
from imageworks.reconcile.situation import Case, Observation, Obstacle, Orphan, PruneOptions, Situation, obstacle_of
from imageworks.registry.entry import Entry
from imageworks.registry.manifest import Prune, State

MANY: Final = 10
MOST_REMOVED: Final = 0.30
RESERVE: Final = 1.05  # facts/reliability: reserve the remaining bytes and 5 %


def make_plan(situation: Situation, prune: PruneOptions) -> Plan:
    """Return what would change on a host.

    Args:
        situation: Everything known of the host and the registry.
        prune: What a run may remove.
    """
    decided = [(case, _decided(case, situation)) for case in situation.cases]
    if any(case.ollama is not None and case.ollama.made is not None for case in situation.cases):
        from imageworks.reconcile.ollama_made import rebuilt

        decided = rebuilt(decided)
    of_sources = (*rename_notes(situation.cases), *license_notes(situation.cases))
    notes = (*situation.notes, *of_sources, *policy_notes(decided, situation))
    if any(case.ollama is not None for case in situation.cases):
        from imageworks.reconcile.ollama_leaving import not_offered

        notes = (*notes, *not_offered(situation.cases))
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


def waves(changes: Iterable[Change], cases: Mapping[str, Case]) -> list[list[Change]]:
    """Return changes in the order in which they can be made: models of Ollama after those that they are made of.

    Args:
        changes: What to do.
        cases: What is known of each declared model, by name.
    """
    by_wave: dict[int, list[Change]] = {}
    by_ollama = {case.ollama.name: case for case in cases.values() if case.ollama is not None}

    def depth(case: Case | None, above: int) -> int:
        made = case.ollama.made if case is not None and case.ollama is not None else None
        if made is None or isinstance(made, Obstacle) or not made.base_follows or above > len(cases):
            return 0
        return 1 + depth(by_ollama.get(str(made.base_name)), above + 1)

    for change in changes:
        by_wave.setdefault(depth(cases.get(change.name), 0), []).append(change)
    return [by_wave[wave] for wave in sorted(by_wave)]


def _decided(case: Case, situation: Situation) -> Change | None:
    """Return what changes for one case; what nobody foresaw blocks this one alone."""
    name = case.manifest.name
    try:
        with isolated(name):
            return _possible(case, _permitted(case, decide(case), situation))
    except InternalError as error:
        return _obstructed(name, obstacle_of(error))


def _permitted(case: Case, change: Change | None, situation: Situation) -> Change | None:
    """Block a change that would bring a model which the registry's policies do not accept."""
    obstacle = None if change is None else policy_obstacle(case, change, situation)
    return change if change is None or obstacle is None else _blocked_instead(change, obstacle.reason, obstacle.message)


def _possible(case: Case, change: Change | None) -> Change | None:
    """Block a change that a disk would refuse half-way or at its end."""
    if change is None or change.by_ollama:
        return change
    moves = change.action is Action.MOVE and change.reason is Reason.LOCATION_CHANGED
    leaves = moves or (change.action is Action.REMOVE and bool(change.drop))
    if change.action is Action.UPDATE and case.entry is not None:
        leaves = change.path[0] != change.path[1] and case.entry.installed_by_us
    brings = moves or change.action in {Action.INSTALL, Action.UPDATE, Action.REPAIR}
    obstacle = (case.not_brought if brings else None) or (case.not_removed if leaves else None)
    return change if obstacle is None else _blocked_instead(change, obstacle.reason, obstacle.message)


def _obstructed(name: str, obstacle: Obstacle) -> Change:
    return Change(name=name, action=Action.BLOCKED, reason=obstacle.reason, message=obstacle.message)


def _enough_space(changes: list[Change], situation: Situation) -> list[Change]:
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
            message = (
                f"needs {needed} bytes and 5 % in reserve below {folder}, where {left[change.filesystem]} are free"
            )
            kept.append(_blocked_instead(change, Reason.INSUFFICIENT_SPACE, message))
        else:
            left[change.filesystem] -= needed
            kept.append(change)
    return [_with_staged(change, situation) for change in kept]


def _with_staged(change: Change, situation: Situation) -> Change:
    """Return a change that says how much of it an interrupted run has brought already."""
    staged = situation.staged_bytes.get(change.name, 0) if change.fetch else 0
    return replace(change, bytes_staged=min(staged, change.bytes_to_fetch)) if staged else change


def _blocked_instead(change: Change, reason: Reason, message: str) -> Change:
    return Change(
        name=change.name,
        action=Action.BLOCKED,
        reason=reason,
        message=message,
        source=change.source,
        backend=change.backend,
        revision=change.revision,
        path=change.path,
    )


def _relocations(situation: Situation, decided: Collection[str]) -> Iterable[Change]:
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


def _orphans(situation: Situation, prune: PruneOptions) -> tuple[list[Change], list[Drift]]:
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


def _removal(orphan: Orphan, reason: Reason, shared: frozenset[str]) -> Change:
    """Return the removal of an orphan, from disks or from Ollama."""
    try:
        with isolated(orphan.entry.name):
            return _removal_of(orphan, reason, shared)
    except InternalError as error:
        return _obstructed(orphan.entry.name, obstacle_of(error))


def _removal_of(orphan: Orphan, reason: Reason, shared: frozenset[str]) -> Change:
    entry = orphan.entry
    if is_ollamas(entry):
        from imageworks.reconcile.ollama_leaving import ollama_removal

        return ollama_removal(entry, reason, _told(orphan), orphan.ollama)
    change = removal(entry, reason, _told(orphan), orphan.observation, shared=shared)
    if change.drop and orphan.not_removed is not None:
        return _blocked_instead(change, orphan.not_removed.reason, orphan.not_removed.message)
    if orphan.ollama is None:
        return change
    from imageworks.reconcile.ollama_leaving import withdrawn

    return withdrawn(change, entry, orphan.ollama)


def _staying(orphan: Orphan, going: Collection[str]) -> frozenset[str]:
    """Return which shared files an orphan leaves: all that somebody keeps, and of the others what a later one takes."""
    name = orphan.entry.name
    return frozenset(
        path for path, owners in orphan.shared.items() if not owners <= set(going) or name != max({name, *owners})
    )


def _without_leaving(orphan: Orphan, going: Collection[str], takers: Collection[str]) -> Orphan:
    """Return an orphan for which others that go too do not keep its model in Ollama; the last that may takes it."""
    sight, name = orphan.ollama, orphan.entry.name
    if sight is None or not sight.others:
        return orphan
    keep = tuple(other for other in sight.others if other not in going or (other in takers and other > name))
    return replace(orphan, ollama=replace(sight, others=keep))


def _told(orphan: Orphan) -> str:
    said = "its manifest leaves this host out" if orphan.excluded else "no manifest declares it any more"
    if not orphan.entry.installed_by_us:
        return f"{said}; only the record goes: its files were there before us and stay"
    return said


def _protected(orphan: Orphan, situation: Situation, prune: PruneOptions) -> str | None:
    """Return why an orphan stays, or ``None`` when it may go."""
    said = "its manifest leaves this host out" if orphan.excluded else "no manifest declares it any more"
    if not prune.enabled and orphan.prune is not Prune.ENABLED:
        return f"{said}; `reconcile --prune` removes it, `promote` declares it"
    if orphan.prune is Prune.DISABLED:
        return f"{said}; its manifest had `prune: disabled` when it was last applied, so it stays"
    if situation.diagnostics:
        return f"{said}; nothing is pruned while a document is invalid"
    return None


def _refused_in_bulk(removals: list[Change], situation: Situation, prune: PruneOptions) -> list[Change]:
    """Turn removals into blocked changes where so many at once look like a mistake."""
    if not removals:
        return []
    recorded = len(situation.orphans) + sum(1 for case in situation.cases if case.entry is not None)
    if situation.declared == 0 and not prune.allow_empty:
        message = "the registry declares nothing at all; if that is meant, run with --allow-empty"
        return [_blocked_instead(change, Reason.PRUNE_REFUSED, message) for change in removals]
    if recorded >= MANY and len(removals) > MOST_REMOVED * recorded and not prune.force:
        message = f"{len(removals)} of {recorded} models would go; if that is meant, run with --force-prune"
        return [_blocked_instead(change, Reason.PRUNE_REFUSED, message) for change in removals]
    return removals


def _without_source(situation: Situation) -> Iterable[Drift]:
    """Tell of models whose manifest no longer says where they come from, while their files are recorded."""
    for case in situation.cases:
        manifest, entry = case.manifest, case.entry
        if manifest.source is None and manifest.state is State.PRESENT and entry is not None and entry.files:
            message = f"{manifest.file} has no source any more; its files at {entry.path} stay and are not looked after"
            yield Drift(manifest.name, Reason.SOURCE_REMOVED, message)


def _damaged_unmanaged(situation: Situation) -> Iterable[Drift]:
    for entry, observation in situation.unmanaged:
        if observation is not None and observation.unknown is not None:
            yield Drift(entry.name, observation.unknown.reason, observation.unknown.message)
        elif observation is not None and not observation.intact:
            yield Drift(entry.name, *_told_damage(entry, observation))


def _told_damage(entry: Entry, observation: Observation) -> tuple[Reason, str]:
    if is_ollamas(entry):
        what = "changed in Ollama since it was recorded" if observation.exists else "is gone from Ollama"
        reason = Reason.DIGEST_MISMATCH if observation.exists else Reason.FILE_MISSING
        return reason, f"{entry.text('served_model_id')} {what}; never declared, and `import-ollama` records it anew"
    if not observation.exists:
        return Reason.FILE_MISSING, f"{entry.path} is gone; never declared, so nothing brings it back"
    names = ", ".join(sorted(observation.damaged)[:3])
    return Reason.DIGEST_MISMATCH, f"{entry.path}: {names} changed since it was recorded; never declared"


def _filesystems(changes: Iterable[Change], situation: Situation) -> tuple[FilesystemTotal, ...]:
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
