"""Apply a plan: bring, publish, move and remove models. One model's failure never stops another (I9)."""

import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.config import HostSettings
from imageworks.detect.pickles import HEAD_BYTES
from imageworks.errors import ImageworksError
from imageworks.failpoints import failpoint
from imageworks.foundation.isolation import isolated
from imageworks.foundation.system_errors import system_refusal
from imageworks.log import event
from imageworks.providers.local import LocalSource
from imageworks.reconcile.compose import compose_entry, emptied_entry, moved_entry
from imageworks.reconcile.decide import has_files
from imageworks.reconcile.gather import staging_key_of
from imageworks.reconcile.intents import Intents
from imageworks.reconcile.places import CUSTOM, Places
from imageworks.reconcile.plan import Action, Change, Reason
from imageworks.reconcile.policy import BRINGS, NO_PICKLE, unsafe_by_bytes
from imageworks.reconcile.report import Outcome
from imageworks.reconcile.sharing import Sharing
from imageworks.reconcile.situation import Case, Place, Upstream
from imageworks.registry.entry import ArtifactFile, Entry, aggregate_sha256
from imageworks.registry.manifest import is_commit
from imageworks.registry.policies import NO_POLICIES, Policies
from imageworks.registry.validate import check_recordable
from imageworks.registry.version_lock import lock_of
from imageworks.transfer.digests import Algorithm, Digest, hash_file
from imageworks.transfer.engine import TransferEngine
from imageworks.transfer.errors import TransferError
from imageworks.transfer.files import Progress, RemoteFile
from imageworks.transfer.paths import is_there
from imageworks.transfer.probing import check_publishable
from imageworks.transfer.publish import publish
from imageworks.transfer.removal import move_directory, remove_owned
from imageworks.transfer.staging import About, Reuse, StagingArea
from imageworks.transfer.state import StateDatabase

if TYPE_CHECKING:
    from imageworks.reconcile.ollama_apply import OllamaHands

Describe = Callable[[Path, Iterable[ArtifactFile], Upstream], Mapping[str, object]]


class ApplyError(ImageworksError):
    """A change cannot be carried out as planned.

    Args:
        message: What is wrong, naming the path.
        remedy: What to do about it.
        reason: One word for reports, where there is one.
    """

    def __init__(self, message: str, *, remedy: str | None = None, reason: Reason | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = None if reason is None else reason.value


@dataclass(frozen=True, slots=True)
class Tools:
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
        ollama: Gives the hands that reach Ollama, where a change needs them.
        policies: Which models the registry accepts today.
    """

    engine: TransferEngine
    state: StateDatabase
    intents: Intents
    places: Places
    host: HostSettings
    progress: Progress
    owner: str
    describe: Describe
    sharing: Sharing = field(default_factory=Sharing)
    registry: Path | None = None
    ollama: "Callable[[], OllamaHands] | None" = None
    policies: Policies = NO_POLICIES


def apply_changes(
    changes: Iterable[Change], cases: Mapping[str, Case], entries: Mapping[str, Entry], tools: Tools, *, jobs: int
) -> list[Outcome]:
    """Carry out changes, several models at once, and return one outcome for each.

    Args:
        changes: What to do; blocked ones are passed over.
        cases: What is known of each declared model.
        entries: What is recorded, by name.
        tools: How the world is touched.
        jobs: Models at once.
    """
    doing = [change for change in changes if change.action is not Action.BLOCKED]
    if not doing:
        return []
    from_ollama = [change for change in doing if change.by_ollama and change.action is Action.REMOVE]
    if from_ollama:
        _hands(from_ollama[0], tools).expect(change.previous_name or change.name for change in from_ollama)
    with ThreadPoolExecutor(max(1, min(jobs, len(doing))), thread_name_prefix="model") as pool:
        futures: list[Future[Outcome]] = []
        try:
            futures = [pool.submit(_apply_one, change, cases.get(change.name), entries, tools) for change in doing]
            return [future.result() for future in futures]
        except BaseException:
            # ^C: models that have not begun do not begin, those under way end with the engine.
            for future in futures:
                future.cancel()
            tools.engine.close()
            if tools.ollama is not None and any(change.by_ollama for change in doing):
                tools.ollama().cancel()
            raise


def _apply_one(change: Change, case: Case | None, entries: Mapping[str, Entry], tools: Tools) -> Outcome:
    began = time.monotonic()
    event("apply", model=change.name, action=change.action.value, reason=change.reason.value)
    try:
        with isolated(change.name):
            entry = _carry_out(change, case, entries, tools)
            if entry is not None:
                check_recordable(entry)
    except ImageworksError as error:
        event("failed", model=change.name, error=error.message)
        reason, told = getattr(error, "reason", None), getattr(error, "entry", None)
        seconds = time.monotonic() - began
        return Outcome(
            change, entry=told, recorded=told is not None, error=error.render(), reason=reason, seconds=seconds
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        refused = system_refusal(error)
        text = refused.render() if refused else f"{where}{os.strerror(error.errno) if error.errno else error}"
        event("failed", model=change.name, error=text)
        reason = refused.reason if refused else "system"
        return Outcome(change, error=text, reason=reason, seconds=time.monotonic() - began)
    event("done", model=change.name, action=change.action.value, path=change.path[1])
    return Outcome(change, entry=entry, recorded=True, seconds=time.monotonic() - began)


def _carry_out(change: Change, case: Case | None, entries: Mapping[str, Entry], tools: Tools) -> Entry | None:
    if change.by_ollama:
        return _hands(change, tools).carry_out(change, case, entries)
    if change.action is Action.REMOVE:
        return _remove(change, entries[change.previous_name or change.name], tools)
    if change.action is Action.MOVE and case is not None and case.entry is not None and not case.entry.files:
        return emptied_entry(case.entry, change.name)
    if change.action is Action.MOVE and case is None and change.path[0] is not None:
        return _relocate(entries[change.name], Path(change.path[0]), tools)
    if case is None or not isinstance(case.place, Place):
        raise ApplyError(f"{change.name}: nothing is known of where it belongs")
    _check_present(case.place.root, tools)
    if change.action is Action.MOVE:
        return _move(change, case, case.place, tools)
    if not isinstance(case.upstream, Upstream):
        raise ApplyError(f"{change.name}: its source was not looked at")
    if change.action is Action.ADOPT:
        entry = _adopt(case, case.place, case.upstream, tools)
    else:
        entry = _bring(change, case, case.place, case.upstream, tools)
    return entry if case.ollama is None else _hands(change, tools).offer_brought(case, entry)


def _check_here(path: Path, tools: Tools) -> None:
    """Refuse to work in a recorded folder whose drive went away since the plan was made."""
    root = tools.places.locations.root_of(path)
    if root is not None:
        _check_present(root, tools)


def _check_present(root: Path, tools: Tools) -> None:
    """Refuse to work at a root whose drive went away since the plan was made: its folder may be on another disk."""
    state = tools.places.locations.look_again(root)
    if not state.present:
        remedy = state.remedy[:1].upper() + state.remedy[1:]
        raise ApplyError(state.why, remedy=f"Nothing was touched. {remedy}.", reason=Reason(state.reason))


def _hands(change: Change, tools: Tools) -> "OllamaHands":
    """Return what reaches Ollama."""
    if tools.ollama is None:
        raise ApplyError(f"{change.name}: Ollama is not to be reached here")
    return tools.ollama()


def _bring(change: Change, case: Case, place: Place, upstream: Upstream, tools: Tools) -> Entry:
    """Install, update or repair: a complete verified tree in staging, then one rename."""
    name = change.name
    place.root.mkdir(parents=True, exist_ok=True)
    key, owner = staging_key_of(name, tools.host.host, upstream), tools.owner + name
    area = StagingArea.open(place.root, key, target=place.path, owner=owner)
    check_publishable(area, place.path, upstream.files)
    area.describe(About(_source_name(case, upstream), upstream.commit or "", sum(file.size for file in upstream.files)))
    by_path = {file.path: file for file in upstream.files}
    in_place = set(by_path) - set(change.fetch) - set(change.reuse)
    sources = {path: place.path / path for path in in_place} | {path: Path(at) for path, at in change.reuse.items()}
    taken = _take(area, [(source, by_path[path]) for path, source in sorted(sources.items())], change, tools)
    if upstream.source is None:
        raise ApplyError(f"{name}: its source gives no bytes")
    tools.engine.fetch(name, upstream.source, upstream.files, area, tools.progress)
    artifacts = [_artifact(area.place(file), file) for file in upstream.files]
    _check_lock(case, artifacts)
    if change.action in BRINGS:
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
            publish(area, place.path, owned=_owned_at(case.entry, place, frozenset(by_path), tools))
        except (TransferError, OSError):
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


def _source_name(case: Case, upstream: Upstream) -> str:
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


def _owned_at(entry: Entry | None, place: Place, wanted: frozenset[str], tools: Tools) -> frozenset[str]:
    """Return which files at a place are the model's to replace or drop; what another model has there too stays."""
    if entry is None or entry.path != place.path:
        return frozenset()
    ours = {file.path for file in entry.files if file.path in wanted or _is_claimed(place.path, file, tools.state)}
    return frozenset(ours) - (frozenset(tools.sharing.owners(entry)) - wanted)


def _is_claimed(base: Path, file: ArtifactFile, state: StateDatabase) -> bool:
    """Return whether this host remembers having put a file there; an entry alone, which is in git, is no proof."""
    return state.claimed(base / file.path) == file.sha256


def _take(
    area: StagingArea, wanted: Iterable[tuple[Path, RemoteFile]], change: Change, tools: Tools
) -> dict[str, os.stat_result]:
    """Take bytes over from files on this machine; what turns out to be something else is fetched instead.

    Returns:
        How each file looked when it was taken: one with a second name may still be written to through that.
    """
    taken: dict[str, os.stat_result] = {}
    for source, file in wanted:
        if area.has(file):
            if area.place(file).lstat().st_nlink == 1:
                continue
            area.place(file).unlink()  # linked by a killed run, and possibly written to since
        try:
            known = _known(tools.state, source, file)
            before = source.stat()
            if area.link_or_copy(source, file, known=known) is Reuse.HARD_LINK:
                tools.state.relinked([before])
            taken[file.path] = area.place(file).lstat()
        except (TransferError, OSError) as error:
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
) -> None:
    """Remember what was verified, so that nobody reads it again while it looks as it did then.

    Args:
        state: The host's verified files.
        folder: Where they stand.
        artifacts: The files as recorded.
        files: The same as their source names them.
        seen: How they looked before they were verified; what was written since is not remembered.
    """
    artifacts, stats = list(artifacts), {}
    for artifact in artifacts:
        with suppress(OSError):
            found = (folder / artifact.path).stat()
            if seen is None or _looks_the_same(found, seen[artifact.path]):
                stats[artifact.path] = found
    state.remember_all(
        (folder / file.path, stats[file.path], Digest(Algorithm.SHA256, file.sha256))
        for file in artifacts
        if file.path in stats
    )
    state.remember_all(
        (folder / file.path, stats[file.path], file.digest)
        for file in files
        if file.path in stats and file.digest.algorithm is Algorithm.GIT_BLOB
    )


def _adopt(case: Case, place: Place, upstream: Upstream, tools: Tools) -> Entry:
    """Take over what was found: what still looks as it did when its bytes were compared is not read again."""
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
    _remember(tools.state, base, artifacts, upstream.files, seen=seen)
    described = tools.describe(base, artifacts, upstream)
    ours = case.published_by_us or (case.entry is not None and case.entry.installed_by_us)
    return compose_entry(case, place, artifacts, described, acquisition="installed" if ours else "adopted")


def _check_lock(case: Case, artifacts: Iterable[ArtifactFile]) -> None:
    """Refuse bytes that are not those that the model is locked to; small files' digests are known only now."""
    expected, found = lock_of(case.manifest, case.entry).digest, aggregate_sha256(artifacts)
    if expected not in {None, found}:
        raise ApplyError(
            f"{case.manifest.file}: version_lock expects {expected}, and the source offers {found}",
            remedy="Nothing was published. Declare the revision that is meant, or unlock it.",
            reason=Reason.LOCKED,
        )


def _check_bytes(case: Case, paths: Mapping[str, Path], tools: Tools) -> None:
    """Refuse files whose bytes are against a policy that their names were not against."""
    if not tools.policies.forbid_pickle:
        return
    heads = {}
    for name, path in paths.items():
        with path.open("rb") as stream:
            heads[name] = stream.read(HEAD_BYTES)
    against = unsafe_by_bytes(case.manifest, heads, tools.policies)
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


def _move(change: Change, case: Case, place: Place, tools: Tools) -> Entry:
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
        place.root.mkdir(parents=True, exist_ok=True)
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
                key=staging_key_of(change.name, tools.host.host, Upstream(files=(), commit=entry.revision)),
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


def _relocate(entry: Entry, before: Path, tools: Tools) -> Entry:
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
    place = Place(root, entry.path, CUSTOM if location.startswith("/") else location, filesystem="")
    return moved_entry(entry, entry.name, place)


def _left_behind(change: Change, entry: Entry, place: Place) -> bool:
    """Return whether a run was killed after a move's new place was complete, and ours still stands in the old one."""
    if change.reason is not Reason.LOCATION_CHANGED or not entry.installed_by_us or not is_there(entry.base):
        return False
    return not entry.base.samefile(place.path)  # one folder under two names is the model itself


def _remove(change: Change, entry: Entry, tools: Tools) -> Entry | None:
    if has_files(entry) and change.drop:
        _check_here(entry.base, tools)
    if change.drop and tools.ollama is not None and "ollama" in entry.part("metadata"):
        tools.ollama().withdraw(entry)
    if (entry.installed_by_us or change.drop) and entry.path is not None:
        # Of what several models share, the last to go takes the rest; until then owners() holds it.
        _remove_files(entry, tools, asked=change.asked)
        failpoint("apply.removed")
    return emptied_entry(entry, change.name) if change.reason is Reason.DECLARED_ABSENT else None


def _remove_files(entry: Entry, tools: Tools, *, asked: bool = False) -> None:
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


def _check_allowed(path: Path, tools: Tools) -> None:
    """Refuse to touch what a record names outside the host's own roots: records come by pull request too."""
    if not tools.host.allows(path):
        raise ApplyError(
            f"{path} is outside the folders that this host allows",
            remedy="Nothing was touched. Add its root to roots in the user's config.toml if that is meant.",
        )
    real = Path(os.path.realpath(path))
    own = [tools.host.state_dir, tools.host.cache_dir, *([tools.registry] if tools.registry else [])]
    holds = [*own, *tools.host.roots, *tools.places.existing_roots()]
    inside = any(real.is_relative_to(os.path.realpath(folder)) for folder in own)
    if inside or any(Path(os.path.realpath(folder)).is_relative_to(real) for folder in holds):
        raise ApplyError(
            f"{path} is not the folder of a model alone",
            remedy="Nothing was touched. An entry leads there: restore it with git, or correct its download_path.",
        )
