"""Decide what one model of Ollama needs. Pure: a case with what Ollama has in, a change or nothing out."""

from dataclasses import replace
from typing import Final

from imageworks.providers.ollama_values import OllamaModel, UpstreamOllama
from imageworks.reconcile.decide import is_ollamas, stands_in_ollama
from imageworks.reconcile.ollama_sight import (
    DIGEST_PREFIX,
    MadeOf,
    OllamaSight,
    artifacts_of,
    blobs_of,
    is_as_recorded,
    obstacle_of,
    offerable,
    offered,
    offered_name,
    recorded_name,
    same,
    same_content,
    section,
    stalled_on,
)
from imageworks.reconcile.plan import Action, Change, Reason
from imageworks.reconcile.situation import Case, Obstacle
from imageworks.registry.entry import Entry, aggregate_sha256
from imageworks.registry.manifest import OllamaSource, State
from imageworks.registry.version_lock import lock_of

SHOWN: Final = 12


def needs_registry(case: Case) -> bool:
    """Return whether the registry that Ollama pulls from must be asked before this case can be decided.

    A model that is as recorded and as declared asks nobody (I4).

    Args:
        case: The case as Ollama has it, without upstream.
    """
    source, sight, entry = case.manifest.source, case.ollama, case.entry
    if not isinstance(source, OllamaSource) or sight is None or case.manifest.state is not State.PRESENT:
        return False
    if source.modelfile is not None or (entry is not None and stalled_on(entry, source, sight.seen.version)):
        return False
    model = sight.installed
    if entry is None or not stands_in_ollama(entry) or not same(recorded_name(entry), source.name):
        if model is None or not model.complete:
            return sight.reachable
        return source.digest not in {None, model.digest}
    if source.digest is not None and entry.revision != DIGEST_PREFIX + source.digest:
        return model is not None or sight.reachable
    if model is not None and model.complete and not sight.distrusted:
        return (source.digest is not None or case.restore_locked) and not is_as_recorded(entry, model)
    return sight.reachable


def decide_ollama(case: Case) -> Change | None:
    """Return what one declared model of Ollama needs, or ``None`` when it is as declared.

    Args:
        case: Everything known of it.
    """
    source, sight, entry = case.manifest.source, case.ollama, case.entry
    if isinstance(case.place, Obstacle):
        return _blocked(case, case.place)
    if not isinstance(source, OllamaSource) or sight is None:
        return _blocked(case, Obstacle(Reason.PROVIDER_UNAVAILABLE, "Ollama was not looked at"))
    if case.manifest.state is State.ABSENT:
        return _absent(case, sight)
    if entry is not None and has_other_files(entry):
        message = f"{entry.name} is recorded with files at {entry.path}, which did not come from Ollama"
        return _blocked(case, Obstacle(Reason.SOURCE_CHANGED, f"{message}; remove it first, or choose another name"))
    why = stalled_on(entry, source, sight.seen.version)
    if why is not None:
        return _blocked(case, Obstacle(Reason.OLLAMA_NEEDS_NEWER, f"{why}; it is tried again with another version"))
    change = _decide_made(case, sight) if source.modelfile is not None else _decide_pulled(case, source, sight)
    if change is None and case.previous_name is not None:
        message = f"{case.previous_name} is now {case.manifest.name}"
        return _change(case, Action.MOVE, Reason.RENAMED, message)
    return change


def has_other_files(entry: Entry) -> bool:
    """Return whether an entry records files that are not Ollama's."""
    return bool(entry.files) and entry.path is not None and not is_ollamas(entry)


def _decide_pulled(case: Case, source: OllamaSource, sight: OllamaSight) -> Change | None:
    entry, model = case.entry, sight.installed
    if entry is None or not stands_in_ollama(entry):
        return _arrive(case, source, sight)
    if not same(recorded_name(entry), source.name):
        return _renew(case, source, sight, Reason.SOURCE_CHANGED, f"{recorded_name(entry)} -> {sight.name}")
    repinned = source.digest is not None and entry.revision != DIGEST_PREFIX + source.digest
    if repinned and source.digest is not None:
        before = (entry.revision or "").removeprefix(DIGEST_PREFIX)[:SHOWN]
        message = f"{before} -> {source.digest[:SHOWN]}" if before else f"pinned to {source.digest[:SHOWN]}"
        return _renew(case, source, sight, Reason.REVISION_CHANGED, message)
    if model is None:
        return _bring_back(case, source, sight)
    if not is_as_recorded(entry, model):
        return _changed(case, source, sight, model)
    if not model.complete or sight.distrusted:
        return _bring_back(case, source, sight)
    return _held(case, entry)


def _held(case: Case, entry: Entry) -> Change | None:
    """Return why what stands is not what it is locked to, or ``None``."""
    expected = lock_of(case.manifest, entry).digest
    if expected is None or not entry.files or expected == (found := aggregate_sha256(entry.files)):
        return None
    message = f"{case.manifest.file}: version_lock expects {expected}, and what is installed is {found}"
    return _blocked(case, Obstacle(Reason.LOCKED, f"{message}; declare the tag that is meant, or unlock it"))


def _arrive(case: Case, source: OllamaSource, sight: OllamaSight) -> Change:
    model = sight.installed
    if model is None or not model.complete:
        return _pull(case, source, sight, Action.INSTALL, Reason.MISSING, f"{sight.name} is not in Ollama")
    if source.digest is not None and (wrong := _not_pinned(source.digest, sight, model)) is not None:
        if sight.ours and wrong.reason is Reason.UNOWNED_FILES:
            message = f"an interrupted run left {model.digest[:SHOWN]}, pinned is {source.digest[:SHOWN]}"
            return _pull(case, source, sight, Action.INSTALL, Reason.DIGEST_MISMATCH, message)
        return _blocked(case, wrong)
    return _adopt(case, model, Reason.FOUND, "found in Ollama; nothing is downloaded")


def _adopt(case: Case, model: OllamaModel, reason: Reason, message: str) -> Change:
    sight = case.ollama
    change = _change(case, Action.ADOPT, reason, message)
    return replace(
        change,
        path=(str(case.entry.path) if case.entry and case.entry.path else None, str(model.store or "") or None),
        keep=len(artifacts_of(model)) or 1,
        revision=(change.revision[0], model.digest),
        filesystem=sight.filesystem if sight else None,
    )


def _not_pinned(pin: str, sight: OllamaSight, model: OllamaModel) -> Obstacle | None:
    """Return why an installed model is not the pinned one, or cannot be said to be; ``None`` when it is."""
    if model.digest == pin:
        return None
    upstream = sight.upstream
    if isinstance(upstream, UpstreamOllama) and upstream.digest == pin and same_content(model, upstream):
        return None
    if isinstance(upstream, Obstacle):
        message = f"{model.name} is in Ollama with manifest {model.digest[:SHOWN]}, pinned is {pin[:SHOWN]}"
        return Obstacle(
            upstream.reason,
            f"{message}, and the registry cannot be asked whether they are the same: {upstream.message}",
        )
    message = f"{model.name} is in Ollama with other layers ({model.digest[:SHOWN]}) than pinned ({pin[:SHOWN]})"
    return Obstacle(
        Reason.UNOWNED_FILES,
        f"{message}, put there by someone else; `ollama cp` it to another name and `ollama rm` it, or take the pin out",
    )


def _renew(case: Case, source: OllamaSource, sight: OllamaSight, reason: Reason, message: str) -> Change:
    """Return what makes another name or pin stand: by a pull, or by the record alone where Ollama has it already."""
    model, entry = sight.installed, case.entry
    lock = lock_of(case.manifest, entry)
    if entry is not None and lock.locked and lock.digest in {None, aggregate_sha256(entry.files)}:
        told = f"{case.manifest.file}: version_lock holds what is installed, but {reason.value}"
        return _blocked(case, Obstacle(Reason.LOCKED, f"{told}; unlock it, or take the change back"))
    if model is not None and model.complete:
        wrong = None if source.digest is None else _not_pinned(source.digest, sight, model)
        if wrong is None:
            return _adopt(case, model, reason, f"{message}; Ollama has it already")
        ours = entry is not None and same(recorded_name(entry), sight.name)
        if not ours or wrong.reason is not Reason.UNOWNED_FILES:
            return _blocked(case, wrong)
    return _pull(case, source, sight, Action.UPDATE, reason, message)


def _bring_back(case: Case, source: OllamaSource, sight: OllamaSight) -> Change:
    """Return what brings a model back that is recorded and gone or broken: the same content where that can be had."""
    entry, upstream = case.entry, sight.upstream
    broken = sight.installed is not None
    message = f"{sight.name}: blobs are missing or damaged" if broken else f"{sight.name} is gone from Ollama"
    reason = Reason.DIGEST_MISMATCH if sight.distrusted else Reason.FILE_MISSING
    moved = entry is not None and isinstance(upstream, UpstreamOllama) and _has_moved(entry, upstream)
    if not moved or source.digest is not None:
        return _pull(case, source, sight, Action.REPAIR, reason, message)
    if lock_of(case.manifest, entry).locked:
        told = f"{message}, version_lock holds it, and its tag has moved since, so that it is no longer offered"
        return _blocked(case, Obstacle(Reason.UPSTREAM_GONE, f"{told}; unlock it"))
    message += "; its tag has moved since it was installed, so that what is pulled is newer"
    return _pull(case, source, sight, Action.UPDATE if broken else Action.INSTALL, reason, message)


def _has_moved(entry: Entry, upstream: UpstreamOllama) -> bool:
    """Return whether a registry has something else under the tag than what an entry records."""
    recorded = {file.sha256 for file in entry.files}
    if recorded and upstream.content:
        return recorded != set(upstream.content)
    return entry.revision != DIGEST_PREFIX + upstream.digest


def _changed(case: Case, source: OllamaSource, sight: OllamaSight, model: OllamaModel) -> Change:
    """Return what to do about a model that somebody pulled or made anew under its name."""
    entry = case.entry
    before = ((entry.revision if entry else None) or "").removeprefix(DIGEST_PREFIX)[:SHOWN]
    message = f"{sight.name} changed in Ollama: {before or 'what was recorded'} -> {model.digest[:SHOWN]}"
    if source.digest is not None:
        if model.complete and _not_pinned(source.digest, sight, model) is None:
            return _adopt(case, model, Reason.DIGEST_MISMATCH, f"{message}, which is the pinned one; recorded as it is")
        return _pull(
            case, source, sight, Action.UPDATE, Reason.DIGEST_MISMATCH, f"{message}; the pinned one comes back"
        )
    if lock_of(case.manifest, entry).locked:
        upstream = sight.upstream
        if case.restore_locked and entry and isinstance(upstream, UpstreamOllama) and not _has_moved(entry, upstream):
            told = f"{message}; the locked one comes back"
            return _pull(case, source, sight, Action.REPAIR, Reason.DIGEST_MISMATCH, told)
        told = f"{case.manifest.file}: version_lock holds {case.manifest.name}, but {message}"
        return _blocked(case, Obstacle(Reason.LOCKED, f"{told}; unlock it, or pin it by `digest:` to have it put back"))
    if not model.complete:
        return _pull(case, source, sight, Action.REPAIR, Reason.FILE_MISSING, f"{message}, and blobs of it are missing")
    return _adopt(case, model, Reason.DIGEST_MISMATCH, f"{message}; recorded as it is now")


def _pull(case: Case, source: OllamaSource, sight: OllamaSight, action: Action, reason: Reason, message: str) -> Change:
    """Return a change that pulls, unless something is known to be in its way before anything is fetched."""
    if not sight.reachable:
        return _blocked(case, obstacle_of(sight.seen, message))
    if sight.offline:
        return _blocked(case, Obstacle(Reason.OFFLINE, f"{message}, and it cannot be pulled: --offline was given"))
    if sight.installed is not None and sight.is_in_use(sight.installed.name):
        told = f"{message}, and {sight.installed.name} is loaded now; `ollama stop {sight.installed.name}` unloads it"
        return _blocked(case, Obstacle(Reason.OLLAMA_IN_USE, told))
    upstream = sight.upstream
    if isinstance(upstream, Obstacle) and upstream.reason in {Reason.OLLAMA_NOT_FOUND, Reason.OLLAMA_NAME}:
        return _blocked(case, Obstacle(upstream.reason, f"{message}: {upstream.message}"))
    if isinstance(upstream, UpstreamOllama) and source.digest not in {None, upstream.digest}:
        told = f"{message}, and the registry has {upstream.digest[:SHOWN]} under that tag now"
        gone = f"pinned is {str(source.digest)[:SHOWN]}, which is no longer offered; move the pin"
        return _blocked(case, Obstacle(Reason.UPSTREAM_GONE, f"{told}; {gone}"))
    return _sized(_change(case, action, reason, message), case, sight)


def _sized(change: Change, case: Case, sight: OllamaSight) -> Change:
    """Return a pull with what it costs, as far as the registry says it before."""
    upstream, entry = sight.upstream, case.entry
    change = replace(
        change, path=(str(entry.path) if entry and entry.path else None, None), filesystem=sight.filesystem
    )
    if not isinstance(upstream, UpstreamOllama):
        why = upstream.message if isinstance(upstream, Obstacle) else "the registry was not asked"
        warning = f"how much comes is not known before: {why}"
        return replace(change, fetch=(sight.name,), size_known=False, warnings=(*change.warnings, warning))
    blobs = blobs_of(upstream.config_digest, upstream.layers, upstream.size)
    broken = {blob.digest for blob in blobs} if sight.distrusted else frozenset()
    here = sight.here - broken
    coming = [blob for blob in blobs if blob.digest not in here and blob.digest not in sight.reuse]
    reused = [blob for blob in blobs if blob.digest not in here and blob.digest in sight.reuse]
    return replace(
        change,
        revision=(change.revision[0], upstream.digest),
        fetch=tuple(f"blobs/sha256-{blob.digest}" for blob in coming),
        reuse={f"blobs/sha256-{blob.digest}": str(sight.reuse[blob.digest]) for blob in reused},
        keep=len(blobs) - len(coming) - len(reused),
        bytes_to_fetch=sum(blob.size for blob in coming),
        bytes_reused=sum(blob.size for blob in reused),
    )


def _decide_made(case: Case, sight: OllamaSight) -> Change | None:
    """Return what a model needs that is made from a modelfile."""
    made, entry, model = sight.made, case.entry, sight.installed
    source = case.manifest.source
    if made is None or isinstance(made, Obstacle):
        return _blocked(case, made or Obstacle(Reason.SOURCE_MISSING, "its modelfile was not looked at"))
    if isinstance(source, OllamaSource) and source.digest is not None:
        message = "`digest:` pins what is pulled, and this model is made; declare its base by a manifest of its own"
        return _blocked(case, Obstacle(Reason.INVALID_MANIFEST, f"{case.manifest.file}: {message}, and pin that"))
    if entry is None or not stands_in_ollama(entry):
        if model is not None and not sight.ours:
            message = f"a model called {model.name} is in Ollama already, made by someone else"
            told = f"{message}; `ollama cp` it to another name and `ollama rm` it, or choose another name"
            return _blocked(case, Obstacle(Reason.UNOWNED_FILES, told))
        return _make(case, sight, made, Action.INSTALL, Reason.MISSING, f"{sight.name} is not in Ollama")
    if not same(recorded_name(entry), sight.name):
        return _make(case, sight, made, Action.UPDATE, Reason.SOURCE_CHANGED, f"{recorded_name(entry)} -> {sight.name}")
    if model is None or not model.complete:
        return _make(case, sight, made, Action.REPAIR, Reason.FILE_MISSING, f"{sight.name} is gone from Ollama")
    why = _remade(entry, model, made)
    return None if why is None else _make(case, sight, made, Action.UPDATE, *why)


def _remade(entry: Entry, model: OllamaModel, made: MadeOf) -> tuple[Reason, str] | None:
    """Return why a model that stands must be made anew, or ``None`` when it is what its modelfile gives."""
    recorded = section(entry)
    if recorded.get("spec") != made.spec:
        return Reason.MODELFILE_CHANGED, "its modelfile changed"
    if not is_as_recorded(entry, model):
        return Reason.DIGEST_MISMATCH, f"{model.name} was changed in Ollama since it was made; it is made anew"
    before = recorded.get("base")
    if made.base is not None and before is not None and not is_base(before, made.base):
        return Reason.BASE_CHANGED, f"its base {made.base_name} changed"
    return None


def is_base(recorded: object, base: OllamaModel) -> bool:
    """Return whether a base is still what a model was made of.

    Args:
        recorded: What the entry says of it: the digests of config and layers, or of the manifest alone.
        base: The base as it is installed.
    """
    known = {str(item) for item in recorded} if isinstance(recorded, list) else set()
    return base.digest in known or (bool(base.content) and known == set(base.content))


def _make(case: Case, sight: OllamaSight, made: MadeOf, action: Action, reason: Reason, message: str) -> Change:
    if not sight.reachable:
        return _blocked(case, obstacle_of(sight.seen, message))
    if sight.installed is not None and sight.is_in_use(sight.installed.name):
        told = f"{message}, and {sight.installed.name} is loaded now; `ollama stop {sight.installed.name}` unloads it"
        return _blocked(case, Obstacle(Reason.OLLAMA_IN_USE, told))
    change = replace(_change(case, action, reason, message), filesystem=sight.filesystem)
    if made.base_name is not None and made.base is None and not made.base_follows:
        if sight.offline:
            told = f"{message}; its base {made.base_name} is not in Ollama either, and --offline was given"
            return _blocked(case, Obstacle(Reason.OFFLINE, told))
        warning = f"its base {made.base_name} is not in Ollama, which pulls it; declare it too, to see what it costs"
        return replace(change, fetch=(made.base_name,), size_known=False, warnings=(*change.warnings, warning))
    return change


def _absent(case: Case, sight: OllamaSight) -> Change | None:
    entry = case.entry
    if entry is None or not stands_in_ollama(entry):
        if case.previous_name is None:
            return None
        message = f"{case.previous_name} is now {case.manifest.name}"
        return _change(case, Action.MOVE, Reason.RENAMED, message)
    message = "declared absent: the entry stays, the model goes"
    if not entry.installed_by_us:
        message = "declared absent: the entry stays; the model was in Ollama before us and stays"
    change = ollama_removal(entry, Reason.DECLARED_ABSENT, message, sight)
    return replace(change, name=case.manifest.name, previous_name=case.previous_name)


def ollama_removal(
    entry: Entry, reason: Reason, message: str, sight: OllamaSight | None, *, asked: bool = False
) -> Change:
    """Return the removal of a model from Ollama: only what we brought, and only while it is as recorded (I5).

    Args:
        entry: What is recorded.
        reason: Why it goes.
        message: Why, as a sentence.
        sight: What Ollama has of it.
        asked: Whether a person named the model and asked for its bytes to go.
    """
    change = Change(
        name=entry.name,
        action=Action.REMOVE,
        reason=reason,
        message=message,
        source=f"ollama:{recorded_name(entry)}",
        backend=entry.text("backend") or "",
        revision=(_bare(entry.revision), None),
        path=(entry.text("download_path"), None),
        keep=len(entry.files) or 1,
        by_ollama=True,
        asked=asked,
    )
    if not (entry.installed_by_us or asked):
        return change
    if sight is None or sight.seen.origin == "nothing":
        return _stays(
            change, obstacle_of(sight.seen, message) if sight else Obstacle(Reason.OLLAMA_UNREACHABLE, message)
        )
    model = sight.recorded
    if model is None:
        return replace(change, keep=0, warnings=("Ollama has it no more",))
    if not is_as_recorded(entry, model):
        return replace(change, warnings=(f"{model.name} is not as recorded, so it stays in Ollama",))
    if sight.others:
        return replace(change, warnings=(f"{model.name} stays in Ollama: {', '.join(sight.others)} has it too",))
    if not (sight.claimed or asked):
        told = f"{model.name} stays: this host does not remember having pulled it; `ollama rm {model.name}` removes it"
        return replace(change, warnings=(told,))
    if not sight.reachable:
        return _stays(change, obstacle_of(sight.seen, f"{message}, and only the daemon can remove it"))
    if sight.is_in_use(model.name):
        told = f"{message}, and {model.name} is loaded now; `ollama stop {model.name}` unloads it"
        return _stays(change, Obstacle(Reason.OLLAMA_IN_USE, told))
    return replace(change, drop=(model.name,), keep=0, bytes_freed=freed_by(model, sight))


def freed_by(model: OllamaModel, sight: OllamaSight) -> int:
    """Return what the filesystem gets back when a model goes: blobs that another model has too give nothing."""
    others = [other for other in sight.seen.models if other is not model]
    if any(other.digest == model.digest for other in others):
        return 0
    elsewhere = {digest for other in others for digest in other.content}
    blobs = blobs_of(model.config_digest, model.layers, model.size)
    return sum(blob.size for blob in blobs if blob.digest not in elsewhere) if blobs else model.size


def _stays(change: Change, obstacle: Obstacle) -> Change:
    return replace(
        change, action=Action.BLOCKED, reason=obstacle.reason, message=obstacle.message, path=(change.path[0],) * 2
    )


def with_offer(case: Case, change: Change | None) -> Change | None:
    """Return a change of a GGUF of ours, with the change that Ollama needs of it where its manifest asks for that.

    Args:
        case: A model of the Hub.
        change: What its files need.
    """
    sight, entry = case.ollama, case.entry
    name = offered_name(case.manifest) if case.manifest.state is State.PRESENT else None
    if change is not None and change.action is Action.REMOVE and entry is not None and sight is not None:
        return withdrawn(change, entry, sight)
    if sight is None or change is not None or entry is None or not entry.files:
        return change
    known = offered(entry)
    if name is None or not offerable(entry):
        return None
    if not sight.reachable:
        return None  # its files are as declared; it is offered as soon as a daemon answers
    model, recorded = sight.installed, section(entry)
    current = recorded.get("files") == aggregate_sha256(entry.files)
    if known is not None and same(known, name) and model is not None and current and is_as_recorded(entry, model):
        return None
    if model is not None and not (known is not None and same(known, name)) and not sight.ours:
        message = f"a model called {model.name} is in Ollama already, made by someone else; declare another"
        return _blocked(case, Obstacle(Reason.UNOWNED_FILES, f"{message} `served_model_id`"))
    if model is not None and sight.is_in_use(model.name):
        told = f"{model.name} is loaded now; `ollama stop {model.name}` unloads it"
        return _blocked(case, Obstacle(Reason.OLLAMA_IN_USE, told))
    message = f"backend is ollama: offered there as {sight.name}"
    return replace(_change(case, Action.UPDATE, Reason.NOT_OFFERED, message), keep=len(entry.files))


def withdrawn(change: Change, entry: Entry, sight: OllamaSight) -> Change:
    """Return the removal of files of ours, where what Ollama was given of them goes too.

    Args:
        change: The removal.
        entry: What is recorded.
        sight: What Ollama has of it.
    """
    name = offered(entry)
    if name is None or (change.keep and not change.drop):
        return change
    if not sight.reachable and (sight.recorded is not None or sight.seen.origin == "nothing"):
        return _stays(change, obstacle_of(sight.seen, f"{name} in Ollama goes with it"))
    model = sight.recorded
    if model is None or not sight.claimed or not is_as_recorded(entry, model):
        return change
    if sight.is_in_use(model.name):
        told = f"{model.name} is loaded now and goes with it; `ollama stop {model.name}` unloads it"
        return _stays(change, Obstacle(Reason.OLLAMA_IN_USE, told))
    told = f"{model.name}, which was made of it, goes from Ollama too"
    return replace(change, warnings=(*change.warnings, told), bytes_freed=change.bytes_freed + freed_by(model, sight))


def rebuilt(decided: list[tuple[Case, Change | None]]) -> list[tuple[Case, Change | None]]:
    """Return what was decided, with the models made anew whose base the same plan changes.

    Args:
        decided: Every case with its change.
    """
    coming = {case.ollama.name: (case, change) for case, change in decided if case.ollama is not None and change}
    after: list[tuple[Case, Change | None]] = []
    for case, change in decided:
        made = case.ollama.made if case.ollama is not None else None
        follows = change is None and isinstance(made, MadeOf) and made.base_name in coming
        if follows and isinstance(made, MadeOf) and case.ollama is not None and case.entry is not None:
            base, what = coming[str(made.base_name)]
            if _changes_base(base, what, section(case.entry).get("base")):
                told = f"its base {made.base_name} changes"
                after.append((case, _make(case, case.ollama, made, Action.UPDATE, Reason.BASE_CHANGED, told)))
                continue
        after.append((case, change))
    return after if after == decided else rebuilt(after)


def _changes_base(base: Case, change: Change | None, recorded: object) -> bool:
    """Return whether a change of a base makes it another than a model was made of, as far as that is known before."""
    if change is None or change.action not in {Action.INSTALL, Action.UPDATE} or base.ollama is None:
        return False
    upstream = base.ollama.upstream
    if not isinstance(upstream, UpstreamOllama):
        return change.action is Action.UPDATE
    return not isinstance(recorded, list) or set(upstream.content) != {str(item) for item in recorded}


def _blocked(case: Case, obstacle: Obstacle) -> Change:
    path = case.entry.text("download_path") if case.entry else None
    return replace(_change(case, Action.BLOCKED, obstacle.reason, obstacle.message), path=(path, path))


def _change(case: Case, action: Action, reason: Reason, message: str) -> Change:
    entry = case.entry
    revision = _bare(entry.revision) if entry else None
    return Change(
        name=case.manifest.name,
        action=action,
        reason=reason,
        message=message,
        source=case.manifest.source.label if case.manifest.source else "",
        backend=case.manifest.text("backend") or "",
        revision=(revision, revision),
        previous_name=case.previous_name,
        by_ollama=True,
    )


def _bare(revision: str | None) -> str | None:
    """Return a recorded revision without what says which digest it is."""
    return revision.removeprefix(DIGEST_PREFIX) if revision else None
