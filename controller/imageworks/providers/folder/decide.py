"""Decide what one declared model needs. Pure: a case in, a change or nothing out."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm
from imageworks.plan.facts import Blocker, DeclaredModel, FileState, Observation, ResolvedSource, TargetFolder
from imageworks.plan.plan import Action, Change, Reason
from imageworks.providers.dispatch import file_provider
from imageworks.registry.entries.entry import (
    STORE_PROVIDERS,
    ArtifactFile,
    Entry,
    aggregate_sha256,
    has_files,
    is_in_store,
    stands_in_store,
)
from imageworks.registry.manifests.manifest import PathSource, State
from imageworks.registry.version_lock import lock_of

_FOUND: Final = "found on disk, every byte verified; nothing is downloaded"
_DAMAGE: Final = {
    FileState.MISSING: Reason.FILE_MISSING,
    FileState.SIZE: Reason.SIZE_MISMATCH,
    FileState.DIGEST: Reason.DIGEST_MISMATCH,
}


def staleness(case: DeclaredModel) -> StrEnum | None:
    """Return why the recorded model is not the declared one any more, or ``None`` when it is.

    Only what the manifest and the entry say is compared: a branch was resolved once at install and is not chased.
    """
    source, entry = case.manifest.source, case.entry
    if entry is None:
        return Reason.MISSING
    changed = file_provider(source.provider).source_change(case) if source is not None else None
    if changed is not None:
        return changed
    if entry.selection != case.manifest.selection:
        return Reason.SELECTION_CHANGED
    return None


def local_aggregate(files: Iterable[RemoteFile]) -> str:
    """Return the aggregate digest that files have which are all named by their sha256."""
    return aggregate_sha256(ArtifactFile(file.path, file.size, file.digest.value) for file in files)


def needs_upstream(case: DeclaredModel) -> bool:
    """Return whether the source must be asked before this case can be decided.

    With a pin and everything in place nothing is asked of any network (I4).
    """
    if case.manifest.state is not State.PRESENT or case.manifest.source is None:
        return False
    if case.manifest.source.provider in STORE_PROVIDERS or stands_in_store(case.entry):
        return False
    if file_provider(case.manifest.source.provider).reads_anyway:
        return True
    if case.observation is not None and case.observation.unknown is not None:
        return False
    if not has_files(case.entry) or staleness(case) is not None:
        return True
    return case.observation is None or not case.observation.intact


def may_lack_files(case: DeclaredModel) -> bool:
    """Return whether an installed model's repository can say that files of it were never recorded."""
    source = case.manifest.source
    if case.manifest.state is not State.PRESENT or source is None or source.provider in STORE_PROVIDERS:
        return False
    # What is locked is what it is to be, whatever its repository lists besides.
    return (
        file_provider(source.provider).knows_commits
        and has_files(case.entry)
        and not is_in_store(case.entry)
        and not lock_of(case.manifest, case.entry).locked
    )


def lacking(case: DeclaredModel) -> tuple[str, ...]:
    """Return the wanted files of an installed model that were never recorded, though its commit has them."""
    entry, upstream = case.entry, case.upstream
    if entry is None or not isinstance(upstream, ResolvedSource) or upstream.commit != entry.revision:
        return ()
    if not may_lack_files(case) or staleness(case) is not None:
        return ()
    recorded = {file.path for file in entry.files}
    return tuple(sorted(file.path for file in upstream.files if file.path not in recorded))


def decide_folder(case: DeclaredModel) -> Change | None:
    """Return what one declared model needs whose bytes are files in a folder, or ``None`` when it is as declared."""
    return _absent(case) if case.manifest.state is State.ABSENT else _decide_files(case)


def _decide_files(case: DeclaredModel) -> Change | None:
    manifest, entry = case.manifest, case.entry
    if manifest.source is None:
        return None
    if entry is not None and stands_in_store(entry):
        message = f"{entry.name} is recorded as a model of Ollama, and its manifest now says {manifest.source.label}"
        return _blocked(case, Blocker(Reason.SOURCE_CHANGED, f"{message}; remove it first, or choose another name"))
    if case.observation is not None and case.observation.unknown is not None:
        return _blocked(case, case.observation.unknown)
    if isinstance(case.place, Blocker):
        return _blocked(case, case.place)
    if not has_files(entry):
        return _arrive(case)
    stale = staleness(case)
    if isinstance(case.upstream, Blocker):
        reads_anyway = file_provider(manifest.source.provider).reads_anyway
        gone_but_here = reads_anyway and case.observation and case.observation.intact
        return None if gone_but_here and stale is None else _blocked(case, case.upstream)
    if stale is not None:
        return _update(case, stale)
    return _maintain(case)


def _maintain(case: DeclaredModel) -> Change | None:
    entry, observation, place = case.entry, case.observation, case.place
    if entry is None or observation is None or not isinstance(place, TargetFolder):
        return None
    moved = place.path != observation.path
    if observation.damaged and moved and case.occupant.matching >= {file.path for file in entry.files}:
        return _moved(case, place, observation)  # killed between the move and its record: the bytes are there already
    if not observation.intact or lacking(case):
        return _repair(case, observation)
    expected = lock_of(case.manifest, case.entry).digest
    if expected is not None and expected != (found := aggregate_sha256(entry.files)):
        message = f"{case.manifest.file}: version_lock expects {expected}, and the installed files are {found}"
        return _blocked(case, Blocker(Reason.LOCKED, f"{message}; declare the revision that is meant, or unlock it"))
    source = case.manifest.source
    if moved and isinstance(source, PathSource) and case.manifest.location and not entry.installed_by_us:
        message = f"copied from {observation.path}, which stays as it is"
        return _fetching(case, Action.UPDATE, Reason.LOCATION_CHANGED, message, old=entry)
    if moved or case.previous_name or case.relocated_from is not None:
        return _moved(case, place, observation)
    return None


def _moved(case: DeclaredModel, place: TargetFolder, observation: Observation) -> Change:
    moved = place.path != observation.path
    if moved and case.occupant.differing:
        return _blocked(case, _unowned(case, place))
    relocated = case.relocated_from is not None
    reason = Reason.LOCATION_CHANGED if moved or relocated else Reason.RENAMED
    message = (
        f"from {observation.path} to {place.path}" if moved else f"{case.previous_name} is now {case.manifest.name}"
    )
    if relocated and not moved:
        message = relocation(case.relocated_from, place.path)
    copied = case.crosses and moved and not case.occupant.matching
    return replace(
        _change(case, Action.MOVE, reason, message),
        bytes_reused=case.entry.size if case.entry and copied else 0,
        path=(str(case.relocated_from or observation.path), str(place.path)),
        keep=len(case.entry.files) if case.entry else 0,
        filesystem=place.filesystem,
    )


def relocation(before: Path | None, now: Path | None) -> str:
    """Return what is said of a model whose drive stands elsewhere now."""
    return f"its drive is at another place now: {before} is {now}; no file is touched"


def _absent(case: DeclaredModel) -> Change | None:
    entry = case.entry
    if entry is None or not has_files(entry):
        return None if case.previous_name is None else _renamed(case)
    if case.observation is not None and case.observation.unknown is not None:
        return _blocked(case, case.observation.unknown)
    message = "declared absent: the entry stays, the files go"
    if not entry.installed_by_us:
        message = "declared absent: the entry stays; its files were there before us and stay"
    change = removal(entry, Reason.DECLARED_ABSENT, message, case.observation, shared=case.shared)
    return replace(change, name=case.manifest.name, previous_name=case.previous_name)


def _renamed(case: DeclaredModel) -> Change:
    """Give an entry without files its new name."""
    message = f"{case.previous_name} is now {case.manifest.name}"
    return _change(case, Action.MOVE, Reason.RENAMED, message)


def removal(
    entry: Entry,
    reason: StrEnum,
    message: str,
    observation: Observation | None,
    *,
    shared: frozenset[str] = frozenset(),
) -> Change:
    """Return the removal of a recorded model: only files that its entry owns, and only if we installed them (I5)."""
    damaged = observation.damaged if observation else {}
    linked = observation.linked if observation else frozenset()
    drop = [f for f in entry.files if f.path not in shared and f.path not in damaged] if entry.installed_by_us else []
    changed = [path for path, state in damaged.items() if state is not FileState.MISSING and entry.installed_by_us]
    return Change(
        name=entry.name,
        action=Action.REMOVE,
        reason=reason,
        message=message,
        source=entry.text("source_provider") or "",
        backend=entry.text("backend") or "",
        revision=(entry.revision, None),
        path=(str(entry.path) if entry.path else None, None),
        drop=tuple(file.path for file in drop),
        keep=len(entry.files) - len(drop),
        bytes_freed=sum(file.size for file in drop if file.path not in linked),
        warnings=tuple(f"{path} is not as recorded, so it stays" for path in sorted(changed)),
    )


def _arrive(case: DeclaredModel) -> Change:
    upstream, place = case.upstream, case.place
    if isinstance(upstream, Blocker):
        return _blocked(case, upstream)
    if upstream is None or not isinstance(place, TargetFolder):
        return _blocked(case, Blocker(Reason.SOURCE_MISSING, "the source was not looked at"))
    wanted = {file.path for file in upstream.files}
    if case.occupant.matching >= wanted:
        message = _FOUND + _told_links(case)
        return replace(
            _change(case, Action.ADOPT, Reason.FOUND, message),
            path=(None, str(place.path)),
            keep=len(wanted),
            filesystem=place.filesystem,
        )
    if case.occupant.differing:
        return _blocked(case, _unowned(case, place))
    if (obstacle := _linked_away(case, place)) is not None:
        return _blocked(case, obstacle)
    return _fetching(case, Action.INSTALL, Reason.MISSING, _what_arrives(upstream), old=None)


def _told_links(case: DeclaredModel) -> str:
    """Say what of a found model is elsewhere: it goes when that goes."""
    linked = case.occupant.linked
    if not linked:
        return ""
    first = min(linked.values())
    count = "all files are links" if linked.keys() >= case.occupant.matching else f"{len(linked)} are links"
    return (
        f"; {count}, such as to {first}, and break when that goes: "
        "to have files of its own instead, move this folder away before"
    )


def _linked_away(case: DeclaredModel, place: TargetFolder) -> Blocker | None:
    """Return why files cannot be put into a folder that is a link, where any are to come."""
    if not case.occupant.linked_folders:
        return None
    first = place.path / min(case.occupant.linked_folders)
    message = (
        f"{first} is a link to another folder, into which nothing is put; move it away, or complete what it leads to"
    )
    return Blocker(Reason.UNOWNED_FILES, message)


def _what_arrives(upstream: ResolvedSource) -> str:
    short = (upstream.commit or "")[:12]
    asked = "" if upstream.ref in {None, upstream.commit} else f" ({upstream.ref})"
    return f"not on this host; {len(upstream.files)} files" + (f" at {short}{asked}" if short else "")


def _unowned(case: DeclaredModel, place: TargetFolder) -> Blocker:
    first = min(case.occupant.differing)
    more = len(case.occupant.differing) - 1
    others = f" and {more} more" if more else ""
    return Blocker(
        Reason.UNOWNED_FILES,
        f"{place.path / first}{others}: other bytes than declared, put there by someone else; "
        "move them away, or declare the revision that they are",
    )


def _update(case: DeclaredModel, reason: StrEnum) -> Change:
    upstream, entry, place = case.upstream, case.entry, case.place
    if upstream is None or entry is None or isinstance(upstream, Blocker) or not isinstance(place, TargetFolder):
        return _blocked(case, Blocker(Reason.SOURCE_MISSING, "the source was not looked at"))
    lock = lock_of(case.manifest, case.entry)
    # A lock that names no digest holds what is installed; one that names another asks for the change.
    if lock.locked and lock.digest in {None, aggregate_sha256(entry.files)}:
        return _blocked(
            case,
            Blocker(
                Reason.LOCKED,
                f"{case.manifest.file}: version_lock holds the installed files, but {reason.value}; "
                "unlock it, or take the change back",
            ),
        )
    if isinstance(case.manifest.source, PathSource) and case.manifest.location is None:
        return replace(
            _change(case, Action.ADOPT, reason, "its source changed; recorded as it is now"),
            path=(str(entry.path), str(place.path)),
            keep=len(upstream.files),
            filesystem=place.filesystem,
        )
    if place.path != entry.path and case.occupant.differing:
        return _blocked(case, _unowned(case, place))
    before, after = (entry.revision or "")[:12], (upstream.commit or "")[:12]
    message = f"{before} -> {after}" if before != after and after else reason.value.replace("-", " ")
    return _fetching(case, Action.UPDATE, reason, message, old=entry)


def _repair(case: DeclaredModel, observation: Observation) -> Change:
    entry, upstream = case.entry, case.upstream
    states = set(observation.damaged.values())
    worst = next((s for s in (FileState.DIGEST, FileState.SIZE, FileState.MISSING) if s in states), FileState.MISSING)
    if entry is None or upstream is None or isinstance(upstream, Blocker):
        return _blocked(case, upstream if isinstance(upstream, Blocker) else Blocker(_DAMAGE[worst], "damaged"))
    if entry.revision is not None and upstream.commit != entry.revision:
        return _blocked(
            case,
            Blocker(
                Reason.UPSTREAM_GONE,
                f"damaged, and commit {entry.revision[:12]} is no longer offered; `update` moves the pin",
            ),
        )
    replaced = sorted(path for path, state in observation.damaged.items() if state is not FileState.MISSING)
    names = sorted({*observation.damaged, *lacking(case)})
    if replaced and lock_of(case.manifest, entry).locked and not case.restore_locked:
        message = f"version_lock holds {entry.name}, and {replaced[0]} has other bytes than it is locked to"
        remedy = f"`verify {case.manifest.name} --repair` brings the locked ones back"
        return _blocked(case, Blocker(Reason.LOCKED, f"{message}; {remedy}, or unlock it"))
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004 # three names fit a line
    return _fetching(case, Action.REPAIR, _DAMAGE[worst], listed, old=entry)


def _fetching(case: DeclaredModel, action: Action, reason: StrEnum, message: str, *, old: Entry | None) -> Change:
    """Return a change that brings bytes: what is fetched, what this host already has, what stays."""
    upstream, place = case.upstream, case.place
    if upstream is None or isinstance(upstream, Blocker) or not isinstance(place, TargetFolder):
        return _blocked(case, Blocker(Reason.SOURCE_MISSING, "the source was not looked at"))
    kept = _kept(case, upstream, old, in_place=old is not None and old.path == place.path)
    incoming = [file for file in upstream.files if file.path not in kept]
    reused = {file.path: case.reuse[file.path] for file in incoming if file.path in case.reuse}
    fetched = [file for file in incoming if file.path not in reused]
    wanted = {file.path for file in upstream.files}
    return replace(
        _change(case, action, reason, message),
        revision=(old.revision if old else None, upstream.commit),
        path=(str(old.path) if old else None, str(place.path)),
        fetch=tuple(file.path for file in fetched),
        reuse={path: str(source) for path, source in reused.items()},
        keep=len(kept),
        drop=tuple(file.path for file in old.files if file.path not in wanted | case.shared) if old else (),
        bytes_to_fetch=sum(file.size for file in fetched),
        bytes_reused=sum(file.size for file in incoming if file.path in reused),
        filesystem=place.filesystem,
    )


def _kept(case: DeclaredModel, upstream: ResolvedSource, old: Entry | None, *, in_place: bool) -> frozenset[str]:
    """Return the wanted files that already lie at the target with the right bytes."""
    if old is None or not in_place:
        return case.occupant.matching
    damaged = case.observation.damaged if case.observation else {}
    recorded: Mapping[str, ArtifactFile] = {file.path: file for file in old.files if file.path not in damaged}
    same = {f.path for f in upstream.files if f.path in recorded and same_bytes(f, recorded[f.path])}
    return case.occupant.matching | same


def same_bytes(file: RemoteFile, recorded: ArtifactFile) -> bool:
    """Return whether a recorded file is known to hold a wanted file's bytes, without reading it."""
    return file.digest.algorithm is Algorithm.SHA256 and file.digest.value == recorded.sha256


def _blocked(case: DeclaredModel, obstacle: Blocker) -> Change:
    entry = case.entry
    path = str(entry.path) if entry and entry.path else None
    return replace(
        _change(case, Action.BLOCKED, obstacle.reason, obstacle.message),
        path=(path, path),
    )


def _change(case: DeclaredModel, action: Action, reason: StrEnum, message: str) -> Change:
    entry, upstream = case.entry, case.upstream
    commit = upstream.commit if isinstance(upstream, ResolvedSource) else entry.revision if entry else None
    return Change(
        name=case.manifest.name,
        action=action,
        reason=reason,
        message=message,
        source=case.manifest.source.label if case.manifest.source else "",
        backend=case.manifest.text("backend") or "",
        revision=(entry.revision if entry else None, commit),
        previous_name=case.previous_name,
        warnings=upstream.warnings if isinstance(upstream, ResolvedSource) else (),
        left_out=upstream.left_out if isinstance(upstream, ResolvedSource) else (),
    )
