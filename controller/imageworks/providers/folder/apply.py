"""Apply changes of files in folders: bring, publish, move and remove models."""

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest, hash_file
from imageworks.files.errors import TransferError
from imageworks.files.probe import check_publishable
from imageworks.files.progress import Progress
from imageworks.files.publish import publish
from imageworks.files.removal import move_directory, remove_owned
from imageworks.files.safe_paths import NOT_EVERYBODYS, is_there
from imageworks.files.staging import About, Reuse, StagingArea
from imageworks.files.state import StateDatabase
from imageworks.files.writers import why_shared
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.failpoints import failpoint
from imageworks.foundation.private_files import make_folders
from imageworks.host.settings import HostSettings
from imageworks.plan.facts import DeclaredModel, ResolvedSource, TargetFolder
from imageworks.plan.plan import Action, Change, Reason
from imageworks.plan.policy_checks import NO_PICKLE, unsafe_by_bytes
from imageworks.providers.folder.local_files import LocalSource
from imageworks.providers.folder.staging_keys import staging_key_of
from imageworks.providers.locations import CUSTOM, HostLocations
from imageworks.providers.publish_intents import PublishJournal
from imageworks.providers.record import compose_entry, emptied_entry, moved_entry
from imageworks.providers.shared_files import SharedFiles
from imageworks.registry.entries.entry import ArtifactFile, Entry, aggregate_sha256, has_files
from imageworks.registry.manifests.manifest import PathSource, is_commit
from imageworks.registry.settings.model_places import ModelPlaces, Use
from imageworks.registry.settings.policies import NO_POLICIES, Policies
from imageworks.registry.version_lock import lock_of
from imageworks.transfer.engine import TransferEngine

Describe = Callable[[Path, Iterable[ArtifactFile], ResolvedSource], Mapping[str, object]]


class ApplyError(ImageworksError):
    """A change cannot be carried out as planned."""

    def __init__(self, message: str, *, remedy: str | None = None, reason: Reason | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = None if reason is None else reason.value


@dataclass(frozen=True, slots=True)
class ApplyContext:
    """The few narrow classes through which applying touches the world.

    Args:
        engine: Brings bytes into staging.
        state: The host's verified files.
        intents: What is about to be published.
        places: Locations on this host.
        host: This host's settings.
        progress: Who is told.
        owner: What says whose a staging area is, before the model's name.
        describe: Looks at verified files and says what the model is.
        sharing: Which models stand in one folder.
        registry: The registry folder, in which no model ever stands.
        withdraw: Takes back from stores what they were given of a model's files.
        policies: Which models the registry accepts today.
    """

    engine: TransferEngine
    state: StateDatabase
    intents: PublishJournal
    places: HostLocations
    host: HostSettings
    progress: Progress
    owner: str
    describe: Describe
    withdraw: Callable[[Entry], None]
    sharing: SharedFiles = field(default_factory=SharedFiles)
    registry: Path | None = None
    policies: Policies = NO_POLICIES


def carry_out(
    change: Change, case: DeclaredModel | None, entries: Mapping[str, Entry], tools: ApplyContext
) -> Entry | None:
    """Carry out one change of files in a folder, and return the entry to record; ``None`` when the entry goes."""
    if change.action is Action.REMOVE:
        return _remove(change, entries[change.previous_name or change.name], tools)
    if change.action is Action.MOVE and case is not None and case.entry is not None and not case.entry.files:
        return emptied_entry(case.entry, change.name)
    if change.action is Action.MOVE and case is None and change.path[0] is not None:
        return _relocate(entries[change.name], Path(change.path[0]), tools)
    if case is None or not isinstance(case.place, TargetFolder):
        raise ApplyError(f"{change.name}: nothing is known of where it belongs")
    _check_present(case.place.root, tools)
    if change.action is Action.MOVE:
        return _move(change, case, case.place, tools)
    if not isinstance(case.upstream, ResolvedSource):
        raise ApplyError(f"{change.name}: its source was not looked at")
    if change.action is Action.ADOPT:
        return _adopt(case, case.place, case.upstream, tools)
    return _bring(change, case, case.place, case.upstream, tools)


def _check_here(path: Path, tools: ApplyContext) -> None:
    """Refuse to work in a recorded folder whose drive went away since the plan was made."""
    root = tools.places.locations.root_of(path)
    if root is not None:
        _check_present(root, tools)


def _check_present(root: Path, tools: ApplyContext) -> None:
    """Refuse to work at a root whose drive went away since the plan was made: its folder may be on another disk."""
    state = tools.places.locations.look_again(root)
    if not state.present:
        remedy = state.remedy[:1].upper() + state.remedy[1:]
        raise ApplyError(state.why, remedy=f"Nothing was touched. {remedy}.", reason=Reason(state.reason))


def bring_ahead(change: Change, case: DeclaredModel, tools: ApplyContext) -> None:
    """Bring the bytes of a change into its staging area, verified; nothing else of this host changes.

    The registry's lock need not be held for it, only the model's claim.
    """
    place, upstream = case.place, case.upstream
    if isinstance(place, TargetFolder) and isinstance(upstream, ResolvedSource) and upstream.source is not None:
        _check_present(place.root, tools)
        area = _staging(change.name, case, place, upstream, tools)
        wanted = [file for file in upstream.files if file.path in set(change.fetch)]
        tools.engine.fetch(change.name, upstream.source, wanted, area, tools.progress)


def _staging(
    name: str, case: DeclaredModel, place: TargetFolder, upstream: ResolvedSource, tools: ApplyContext
) -> StagingArea:
    """Return where a model gathers, once it is known that it could be published from there."""
    _check_target(place.path, tools)
    make_folders(place.root, NOT_EVERYBODYS)
    key, owner = staging_key_of(name, tools.host.host, upstream), tools.owner + name
    area = StagingArea.open(place.root, key, target=place.path, owner=owner)
    check_publishable(area, place.path, upstream.files)
    area.describe(About(_source_name(case, upstream), upstream.commit or "", sum(file.size for file in upstream.files)))
    return area


def _bring(
    change: Change, case: DeclaredModel, place: TargetFolder, upstream: ResolvedSource, tools: ApplyContext
) -> Entry:
    """Install, update or repair: a complete verified tree in staging, then one rename."""
    name = change.name
    area = _staging(name, case, place, upstream, tools)
    by_path = {file.path: file for file in upstream.files}
    in_place = set(by_path) - set(change.fetch) - set(change.reuse)
    sources = {path: place.path / path for path in in_place} | {path: Path(at) for path, at in change.reuse.items()}
    taken = _take(area, [(source, by_path[path]) for path, source in sorted(sources.items())], change, tools)
    tools.progress.reuse(name, sum(by_path[path].size for path in taken if path in change.reuse))
    if upstream.source is None:
        raise ApplyError(f"{name}: its source gives no bytes")
    tools.engine.fetch(name, upstream.source, upstream.files, area, tools.progress)
    artifacts = [_artifact(area.place(file), file) for file in upstream.files]
    _check_lock(case, artifacts)
    _check_bytes(case, {file.path: area.place(file) for file in upstream.files}, tools)
    described = tools.describe(area.tree, artifacts, upstream)
    seen = {file.path: area.place(file).lstat() for file in upstream.files}
    _check_taken(area, taken, seen, by_path)
    brought = [file for file in artifacts if file.path not in in_place]
    tools.intents.announce(name, place.path)
    claims = {place.path / file.path: tools.state.claimed(place.path / file.path) for file in brought}
    tools.state.claim((place.path / file.path, file.sha256) for file in brought)
    failpoint("apply.announced")
    with tools.sharing.turn(place.path):
        before = _identity(place.path)
        try:
            _check_target(place.path, tools)
            publish(area, place.path, owned=_owned_at(case.entry, place, frozenset(by_path), tools))
        except (ApplyError, TransferError, OSError):
            if not area.journal.exists() and _identity(place.path) == before:
                # Nothing appeared, so what a person puts there later is not to be taken for ours.
                tools.intents.settle(name)
                tools.state.disclaim(claims)
                tools.state.claim((path, sha256) for path, sha256 in claims.items() if sha256 is not None)
            raise
    failpoint("apply.published")
    tools.state.relinked(found for found in seen.values() if found.st_nlink > 1)
    _remember(tools.state, place.path, artifacts, upstream.files, seen=seen)
    old = case.entry
    if old is not None and old.path not in {None, place.path} and old.installed_by_us:
        _remove_files(old, tools)
    return compose_entry(case, place, artifacts, described, acquisition="installed")


def _source_name(case: DeclaredModel, upstream: ResolvedSource) -> str:
    """Return where a model comes from, as `download` takes it."""
    if upstream.repo is None:
        return case.manifest.name
    if upstream.ref is not None and upstream.ref != "main" and not is_commit(upstream.ref):
        return f"{upstream.repo}@{upstream.ref}"
    return f"{upstream.repo}:{upstream.quantization}" if case.manifest.text("quantization") else upstream.repo


def _identity(path: Path) -> tuple[int, int] | None:
    """Return which folder stands at a path, if one does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _owned_at(entry: Entry | None, place: TargetFolder, wanted: frozenset[str], tools: ApplyContext) -> frozenset[str]:
    """Return which files at a place are the model's to replace or drop; what another model has there too stays."""
    if entry is None or entry.path != place.path:
        return frozenset()
    ours = {file.path for file in entry.files if file.path in wanted or _is_claimed(place.path, file, tools.state)}
    return frozenset(ours) - (frozenset(tools.sharing.owners(entry)) - wanted)


def _is_claimed(base: Path, file: ArtifactFile, state: StateDatabase) -> bool:
    """Return whether this host remembers having put a file there; an entry alone, which is in git, is no proof."""
    return state.claimed(base / file.path) == file.sha256


def _take(
    area: StagingArea, wanted: Iterable[tuple[Path, RemoteFile]], change: Change, tools: ApplyContext
) -> dict[str, os.stat_result]:
    """Take bytes over from files on this machine; what turns out to be something else is fetched instead."""
    taken: dict[str, os.stat_result] = {}
    trusted = tools.host.trusted_users
    for source, file in wanted:
        if area.has(file):
            if area.place(file).lstat().st_nlink == 1:
                continue
            area.place(file).unlink()  # linked by a killed run, and possibly written to since
        try:
            known = _known(tools.state, source, file)
            before = source.stat()
            if area.link_or_copy(source, file, known=known, trusted=trusted) is Reuse.HARD_LINK:
                tools.state.relinked([before])
            elif why_shared(source, before, trusted) is not None:
                tools.state.forget([source])  # its owner decides what it is from now on
            taken[file.path] = area.place(file).lstat()
        except (TransferError, OSError) as error:
            tools.state.forget([source])
            tools.progress.note(change.name, f"{source} is not reused ({error}); {file.path} is fetched instead")
    return taken


def _check_taken(
    area: StagingArea,
    taken: Mapping[str, os.stat_result],
    seen: Mapping[str, os.stat_result],
    files: Mapping[str, RemoteFile],
) -> None:
    """Refuse to publish what another program wrote to after it was verified, and forget it (I1)."""
    changed = [path for path, before in sorted(taken.items()) if not _looks_the_same(before, seen[path])]
    for path in changed:
        area.place(files[path]).unlink()
    if changed:
        raise ApplyError(
            f"{', '.join(changed)}: another program wrote to it while it was being taken over",
            remedy="Nothing was published; end that program and run again.",
        )


def _known(state: StateDatabase, path: Path, file: RemoteFile) -> os.stat_result | None:
    """Return what a file looks like if its content is known to be the wanted one, else ``None``."""
    found = path.stat()
    return found if _remembered(state, path, found, file.digest.algorithm) == file.digest.value else None


def _remembered(state: StateDatabase, path: Path, found: os.stat_result, algorithm: Algorithm) -> str | None:
    known = state.fingerprint(path)
    if known is None or not known.matches(found):
        return None
    return known.sha256 if algorithm is Algorithm.SHA256 else known.git_blob


def _artifact(path: Path, file: RemoteFile) -> ArtifactFile:
    """Return a verified file as it is recorded: large ones are named by their sha256 already, small ones are hashed."""
    if file.digest.algorithm is Algorithm.SHA256:
        return ArtifactFile(file.path, file.size, file.digest.value)
    return ArtifactFile(file.path, file.size, hash_file(path, Algorithm.SHA256).value)


def _remember(
    state: StateDatabase,
    folder: Path,
    artifacts: Iterable[ArtifactFile],
    files: Iterable[RemoteFile] = (),
    *,
    seen: Mapping[str, os.stat_result] | None = None,
    moved: bool = True,
) -> None:
    """Remember what was verified, so that nobody reads it again while it looks as it did then."""
    artifacts, stats = list(artifacts), {}
    for artifact in artifacts:
        with suppress(OSError):
            if seen is not None and not moved:
                stats[artifact.path] = seen[artifact.path]
                continue
            found = (folder / artifact.path).stat()
            if seen is None or _looks_the_same(found, seen[artifact.path]):
                stats[artifact.path] = found
    known = [(file.path, Digest(Algorithm.SHA256, file.sha256)) for file in artifacts]
    known += [(file.path, file.digest) for file in files if file.digest.algorithm is Algorithm.GIT_BLOB]
    state.remember_all((folder / path, stats[path], digest) for path, digest in known if path in stats)


def _adopt(case: DeclaredModel, place: TargetFolder, upstream: ResolvedSource, tools: ApplyContext) -> Entry:
    """Take over what was found: what still looks as it did when its bytes were compared is not read again."""
    named = case.manifest.location is None and isinstance(case.manifest.source, PathSource)
    _check_place(place.path, Use.SOURCE if named else Use.TARGET, tools)
    base = place.path if place.path.is_dir() else place.root
    in_place = upstream.source if case.manifest.location is None else None
    artifacts, seen = [], {}
    local = in_place if isinstance(in_place, LocalSource) else None
    paths = {file.path: local.place(file) if local else base / file.path for file in upstream.files}
    _check_bytes(case, paths, tools)
    for file in upstream.files:
        path = paths[file.path]
        seen[file.path] = _unchanged(path, file.digest, tools.state)
        artifacts.append(_artifact(path, file))
    _check_lock(case, artifacts)
    _remember(tools.state, base, artifacts, upstream.files, seen=seen, moved=False)
    described = tools.describe(base, artifacts, upstream)
    ours = case.published_by_us or (case.entry is not None and case.entry.installed_by_us)
    return compose_entry(case, place, artifacts, described, acquisition="installed" if ours else "adopted")


def _check_lock(case: DeclaredModel, artifacts: Iterable[ArtifactFile]) -> None:
    """Refuse bytes that are not those that the model is locked to; small files' digests are known only now."""
    expected, found = lock_of(case.manifest, case.entry).digest, aggregate_sha256(artifacts)
    if expected not in {None, found}:
        raise ApplyError(
            f"{case.manifest.file}: version_lock expects {expected}, and the source offers {found}",
            remedy="Nothing was published. Declare the revision that is meant, or unlock it.",
            reason=Reason.LOCKED,
        )


def _check_bytes(case: DeclaredModel, paths: Mapping[str, Path], tools: ApplyContext) -> None:
    """Refuse files whose bytes are against a policy that their names were not against."""
    if not (tools.policies.forbid_pickle or tools.policies.forbid_remote_code):
        return
    from imageworks.detection.formats.pickles import look_into

    looked = {}
    for name, path in paths.items():
        with path.open("rb") as stream:
            looked[name] = look_into(stream)
    against = unsafe_by_bytes(case.manifest, looked, tools.policies)
    if against is not None:
        raise ApplyError(
            f"{case.manifest.file}: {against}",
            remedy=f"Nothing was published; {NO_PICKLE}.",
            reason=Reason.POLICY_VIOLATED,
        )


def _unchanged(path: Path, digest: Digest, state: StateDatabase) -> os.stat_result:
    """Return how a file looks that holds the planned bytes; raise where it was changed after the plan was made."""
    found = path.stat()
    if (_remembered(state, path, found, digest.algorithm) or hash_file(path, digest.algorithm).value) != digest.value:
        raise ApplyError(f"{path} was changed while this run was planned", remedy="Nothing was recorded; run again.")
    return found


def _looks_the_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _move(change: Change, case: DeclaredModel, place: TargetFolder, tools: ApplyContext) -> Entry:
    entry = case.entry
    if entry is None or entry.path is None:
        raise ApplyError(f"{change.name}: nothing is recorded that could move")
    if case.relocated_from is not None:
        _relocate(entry, case.relocated_from, tools)
        if entry.path == place.path:
            return moved_entry(entry, change.name, place)
    found = change.reason is Reason.LOCATION_CHANGED and case.occupant.matching >= {f.path for f in entry.files}
    if change.reason is Reason.LOCATION_CHANGED and not found:
        _check_allowed(entry.path, tools)
        _check_here(entry.path, tools)
        _check_target(place.path, tools)
        make_folders(place.root, NOT_EVERYBODYS)
        with tools.sharing.turn(entry.path, place.path):
            shared = frozenset(tools.sharing.owners(entry))
            seen = {
                file.path: _unchanged(entry.path / file.path, Digest(Algorithm.SHA256, file.sha256), tools.state)
                for file in entry.files
            }
            tools.intents.announce(change.name, place.path)
            move_directory(
                entry.path,
                place.path,
                owned=frozenset(file.path for file in entry.files),
                shared=shared,
                old_root=tools.places.root_of(entry.path),
                new_root=place.root,
                key=staging_key_of(change.name, tools.host.host, ResolvedSource(files=(), commit=entry.revision)),
                owner=tools.owner + change.name,
            )
            tools.sharing.leave(entry)
        failpoint("apply.moved")
        claimed = [file for file in entry.files if _is_claimed(entry.path, file, tools.state)]
        tools.state.claim((place.path / file.path, file.sha256) for file in claimed)
        tools.state.disclaim([entry.path / file.path for file in claimed if file.path not in shared])
        tools.state.forget([entry.path / file.path for file in entry.files if file.path not in shared])
        _remember(tools.state, place.path, entry.files, seen=seen)
    elif _left_behind(change, entry, place):
        _remove_files(entry, tools)
    # What is complete there already is ours only where a killed run of ours was bringing it.
    return moved_entry(entry, change.name, place, adopted=found and not case.published_by_us)


def _relocate(entry: Entry, before: Path, tools: ApplyContext) -> Entry:
    """Return an entry that says where its drive stands now, and remember there what was known of its files."""
    if entry.path is None:
        raise ApplyError(f"{entry.name}: nothing is recorded that could be elsewhere")
    former = replace(entry, fields={**entry.fields, "download_path": str(before)})
    claimed = [file for file in entry.files if _is_claimed(former.base, file, tools.state)]
    tools.state.claim((entry.base / file.path, file.sha256) for file in claimed)
    tools.state.disclaim(former.base / file.path for file in claimed)
    tools.state.forget(former.base / file.path for file in entry.files)
    root = tools.places.locations.root_of(entry.path) or entry.path.parent
    location = tools.places.locations.roots.get(root, CUSTOM)
    place = TargetFolder(root, entry.path, CUSTOM if location.startswith("/") else location, filesystem="")
    return moved_entry(entry, entry.name, place)


def _left_behind(change: Change, entry: Entry, place: TargetFolder) -> bool:
    """Return whether a run was killed after a move's new place was complete, and ours still stands in the old one."""
    if change.reason is not Reason.LOCATION_CHANGED or not entry.installed_by_us or not is_there(entry.base):
        return False
    return not entry.base.samefile(place.path)  # one folder under two names is the model itself


def _remove(change: Change, entry: Entry, tools: ApplyContext) -> Entry | None:
    if has_files(entry) and change.drop:
        _check_here(entry.base, tools)
    if change.drop:
        tools.withdraw(entry)
    if (entry.installed_by_us or change.drop) and entry.path is not None:
        # Of what several models share, the last to go takes the rest; until then owners() holds it.
        _remove_files(entry, tools, asked=change.asked)
        failpoint("apply.removed")
    return emptied_entry(entry, change.name) if change.reason is Reason.DECLARED_ABSENT else None


def _remove_files(entry: Entry, tools: ApplyContext, *, asked: bool = False) -> None:
    """Remove what this host put there and what still is byte for byte what the entry records (I5).

    An entry is in git, where anybody may have written it. What this host does not remember having put there stays and
    is told of, unless a person asked for just this model's files to go.
    """
    _check_allowed(entry.base, tools)
    _check_here(entry.base, tools)
    with tools.sharing.turn(entry.base):
        others = tools.sharing.owners(entry)
        owned = [file for file in entry.files if file.path not in others]
        proven = [file for file in owned if asked or _is_claimed(entry.base, file, tools.state)]
        going = [file.path for file in proven if _is_as_recorded(entry.base / file.path, file, tools.state)]
        linked = [found for path in going if (found := (entry.base / path).lstat()).st_nlink > 1]
        remove_owned(entry.base, going, tools.places.root_of(entry.base))
        tools.sharing.leave(entry)
    tools.state.relinked(linked)
    staying = [file.path for file in owned if file not in proven and (entry.base / file.path).exists()]
    if staying:
        tools.progress.note(
            entry.name,
            f"{len(staying)} files at {entry.base} stay: this host does not remember having put them there; "
            f"`remove {entry.name} --delete-files` or your own hand removes them",
        )
    tools.state.forget([entry.base / file.path for file in owned])
    tools.state.disclaim([entry.base / file.path for file in owned])


def _is_as_recorded(path: Path, file: ArtifactFile, state: StateDatabase) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        return False
    known = state.verified_digest(path, found)
    return (known or hash_file(path, Algorithm.SHA256).value) == file.sha256


def _check_target(path: Path, tools: ApplyContext) -> None:
    """Refuse to put a model where none goes by what is there now: a link may have come since it was planned."""
    _check_place(path, Use.TARGET, tools)
    if (why := tools.places.why_holding(path)) is not None:
        raise _no_place(path, why)


def _check_place(path: Path, use: Use, tools: ApplyContext) -> None:
    why = ModelPlaces(tools.host).why_not(path, use)  # a new one, which remembers nothing
    if why is None and not tools.host.allows(path):
        why = "it is outside the folders that this host allows"
    if why is not None:
        raise _no_place(path, why)


def _no_place(path: Path, why: str) -> ApplyError:
    message = f"{path} is no place for a model: {why}"
    return ApplyError(message, remedy="Nothing was put there; run again.", reason=Reason.ROOT_NOT_ALLOWED)


def _check_allowed(path: Path, tools: ApplyContext) -> None:
    """Refuse to touch what a record names outside the host's own roots: records come by pull request too."""
    if not tools.host.allows(path):
        raise ApplyError(
            f"{path} is outside the folders that this host allows",
            remedy="Nothing was touched. Add its root to roots in the user's config.toml if that is meant.",
        )
    real = Path(os.path.realpath(path))
    holds = [*tools.host.roots, *tools.places.existing_roots()]
    kept = ModelPlaces(tools.host).why_not(path, Use.SOURCE)
    if kept is not None or any(Path(os.path.realpath(folder)).is_relative_to(real) for folder in holds):
        raise ApplyError(
            f"{path} is not the folder of a model alone",
            remedy="Nothing was touched. An entry leads there: restore it with git, or correct its download_path.",
        )
