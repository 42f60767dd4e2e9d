"""Decide what one model of Ollama needs. Pure: a case with what Ollama has in, a change or nothing out."""

from dataclasses import replace

from imageworks.plan.facts import Blocker, DeclaredModel
from imageworks.plan.plan import Action, Change, Reason
from imageworks.providers.ollama.changes import SHOWN, blocked_case, change_of
from imageworks.providers.ollama.decide_built import decide_made
from imageworks.providers.ollama.decide_damaged import decide_damaged, in_the_way, not_ours, unusable_of_others
from imageworks.providers.ollama.decide_removed import decide_absent
from imageworks.providers.ollama.facts import (
    DIGEST_PREFIX,
    OllamaFacts,
    artifacts_of,
    blobs_of,
    is_as_recorded,
    obstacle_of,
    recorded_name,
    same,
    same_content,
    section,
    sight_in,
    stalled_on,
)
from imageworks.providers.ollama.model import OllamaModel, UpstreamOllama
from imageworks.providers.ollama.reasons import OllamaReason
from imageworks.registry.entries.entry import Entry, aggregate_sha256, is_in_store, stands_in_store
from imageworks.registry.manifests.manifest import OllamaSource, State
from imageworks.registry.version_lock import lock_of


def needs_registry(case: DeclaredModel) -> bool:
    """Return whether the registry that Ollama pulls from must be asked before this case can be decided.

    A model that is as recorded and as declared asks nobody (I4).
    """
    source, sight, entry = case.manifest.source, sight_in(case), case.entry
    if not isinstance(source, OllamaSource) or sight is None or case.manifest.state is not State.PRESENT:
        return False
    if source.modelfile is not None or (entry is not None and stalled_on(entry, source, sight.seen.version)):
        return False
    model = sight.installed
    if entry is None or not stands_in_store(entry) or not same(recorded_name(entry), source.name):
        if model is None or not model.complete:
            return sight.reachable
        return source.digest not in {None, model.digest}
    if source.digest is not None and entry.revision != DIGEST_PREFIX + source.digest:
        return model is not None or sight.reachable
    if model is not None and model.complete and not sight.bad:
        return (source.digest is not None or case.restore_locked) and not is_as_recorded(entry, model)
    return sight.reachable


def decide_ollama(case: DeclaredModel) -> Change | None:
    """Return what one declared model of Ollama needs, or ``None`` when it is as declared."""
    source, sight, entry = case.manifest.source, sight_in(case), case.entry
    if isinstance(case.place, Blocker):
        return blocked_case(case, case.place)
    if not isinstance(source, OllamaSource) or sight is None:
        return blocked_case(case, Blocker(Reason.PROVIDER_UNAVAILABLE, "Ollama was not looked at"))
    if case.manifest.state is State.ABSENT:
        return decide_absent(case, sight)
    if entry is not None and has_other_files(entry):
        message = f"{entry.name} is recorded with files at {entry.path}, which did not come from Ollama"
        return blocked_case(case, Blocker(Reason.SOURCE_CHANGED, f"{message}; remove it first, or choose another name"))
    if (kept := unusable_of_others(case, sight)) is not None:
        return kept
    why = stalled_on(entry, source, sight.seen.version)
    if why is not None:
        return blocked_case(case, Blocker(OllamaReason.NEEDS_NEWER, f"{why}; it is tried again with another version"))
    change = decide_made(case, sight) if source.modelfile is not None else _decide_pulled(case, source, sight)
    if change is None and case.previous_name is not None:
        message = f"{case.previous_name} is now {case.manifest.name}"
        return change_of(case, Action.MOVE, Reason.RENAMED, message)
    return change


def has_other_files(entry: Entry) -> bool:
    """Return whether an entry records files that are not Ollama's."""
    return bool(entry.files) and entry.path is not None and not is_in_store(entry)


def _decide_pulled(case: DeclaredModel, source: OllamaSource, sight: OllamaFacts) -> Change | None:
    entry, model = case.entry, sight.installed
    if entry is None or not stands_in_store(entry):
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
    if not model.complete or sight.bad:
        return _bring_back(case, source, sight)
    if not entry.files and (model.content or not section(entry).get("digest")):
        return _adopt(case, model, Reason.FOUND, "recorded by its name alone; what Ollama has of it is recorded now")
    return _held(case, entry)


def _held(case: DeclaredModel, entry: Entry) -> Change | None:
    """Return why what stands is not what it is locked to, or ``None``."""
    expected = lock_of(case.manifest, entry).digest
    if expected is None or not entry.files or expected == (found := aggregate_sha256(entry.files)):
        return None
    message = f"{case.manifest.file}: version_lock expects {expected}, and what is installed is {found}"
    return blocked_case(case, Blocker(Reason.LOCKED, f"{message}; declare the tag that is meant, or unlock it"))


def _arrive(case: DeclaredModel, source: OllamaSource, sight: OllamaFacts) -> Change:
    model = sight.installed
    if model is None:
        return _pull(case, source, sight, Action.INSTALL, Reason.MISSING, f"{sight.name} is not in Ollama")
    if not model.complete or sight.bad:
        message = f"{sight.name} is not whole in Ollama"
        return not_ours(case, sight, message) or _pull(case, source, sight, Action.INSTALL, Reason.MISSING, message)
    if source.digest is not None and (wrong := _not_pinned(source.digest, sight, model)) is not None:
        if sight.ours and wrong.reason is Reason.UNOWNED_FILES:
            message = f"an interrupted run left {model.digest[:SHOWN]}, pinned is {source.digest[:SHOWN]}"
            return _pull(case, source, sight, Action.INSTALL, Reason.DIGEST_MISMATCH, message)
        return blocked_case(case, wrong)
    return _adopt(case, model, Reason.FOUND, "found in Ollama; nothing is downloaded")


def _adopt(case: DeclaredModel, model: OllamaModel, reason: Reason, message: str) -> Change:
    sight = sight_in(case)
    change = change_of(case, Action.ADOPT, reason, message)
    return replace(
        change,
        path=(str(case.entry.path) if case.entry and case.entry.path else None, str(model.store or "") or None),
        keep=len(artifacts_of(model)) or 1,
        revision=(change.revision[0], model.digest),
        filesystem=sight.filesystem if sight else None,
    )


def _not_pinned(pin: str, sight: OllamaFacts, model: OllamaModel) -> Blocker | None:
    """Return why an installed model is not the pinned one, or cannot be said to be; ``None`` when it is."""
    if model.digest == pin:
        return None
    upstream = sight.upstream
    if isinstance(upstream, UpstreamOllama) and upstream.digest == pin and same_content(model, upstream):
        return None
    if isinstance(upstream, Blocker):
        message = f"{model.name} is in Ollama with manifest {model.digest[:SHOWN]}, pinned is {pin[:SHOWN]}"
        return Blocker(
            upstream.reason,
            f"{message}, and the registry cannot be asked whether they are the same: {upstream.message}",
        )
    message = f"{model.name} is in Ollama with other layers ({model.digest[:SHOWN]}) than pinned ({pin[:SHOWN]})"
    return Blocker(
        Reason.UNOWNED_FILES,
        f"{message}, put there by someone else; `ollama cp` it to another name and `ollama rm` it, or take the pin out",
    )


def _renew(case: DeclaredModel, source: OllamaSource, sight: OllamaFacts, reason: Reason, message: str) -> Change:
    """Return what makes another name or pin stand: by a pull, or by the record alone where Ollama has it already."""
    model, entry = sight.installed, case.entry
    lock = lock_of(case.manifest, entry)
    if entry is not None and lock.locked and lock.digest in {None, aggregate_sha256(entry.files)}:
        told = f"{case.manifest.file}: version_lock holds what is installed, but {reason.value}"
        return blocked_case(case, Blocker(Reason.LOCKED, f"{told}; unlock it, or take the change back"))
    if model is not None and model.complete and not sight.bad:
        wrong = None if source.digest is None else _not_pinned(source.digest, sight, model)
        if wrong is None:
            return _adopt(case, model, reason, f"{message}; Ollama has it already")
        ours = entry is not None and same(recorded_name(entry), sight.name)
        if not ours:
            return blocked_case(case, wrong)
    return _pull(case, source, sight, Action.UPDATE, reason, message)


def _bring_back(case: DeclaredModel, source: OllamaSource, sight: OllamaFacts) -> Change:
    """Return what brings a model back that is recorded and gone or broken: the same content where that can be had."""
    entry, upstream = case.entry, sight.upstream
    broken = sight.installed is not None
    message = f"{sight.name}: blobs are missing or damaged" if broken else sight.gone
    if broken and (blocked := not_ours(case, sight, message)) is not None:
        return blocked
    if sight.bad:
        return decide_damaged(case, sight)
    reason = Reason.FILE_MISSING
    moved = entry is not None and isinstance(upstream, UpstreamOllama) and _has_moved(entry, upstream)
    if not moved or source.digest is not None:
        return _pull(case, source, sight, Action.REPAIR, reason, message)
    if lock_of(case.manifest, entry).locked:
        told = f"{message}, version_lock holds it, and its tag has moved since, so that it is no longer offered"
        return blocked_case(case, Blocker(Reason.UPSTREAM_GONE, f"{told}; unlock it"))
    message += "; its tag has moved since it was installed, so that what is pulled is newer"
    return _pull(case, source, sight, Action.UPDATE if broken else Action.INSTALL, reason, message)


def _has_moved(entry: Entry, upstream: UpstreamOllama) -> bool:
    """Return whether a registry has something else under the tag than what an entry records."""
    recorded = {file.sha256 for file in entry.files}
    if recorded and upstream.content:
        return recorded != set(upstream.content)
    return entry.revision != DIGEST_PREFIX + upstream.digest


def _changed(case: DeclaredModel, source: OllamaSource, sight: OllamaFacts, model: OllamaModel) -> Change:
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
        return blocked_case(
            case, Blocker(Reason.LOCKED, f"{told}; unlock it, or pin it by `digest:` to have it put back")
        )
    if not model.complete or sight.bad:
        told = f"{message}, and blobs of it are missing"
        pull = _pull(case, source, sight, Action.REPAIR, Reason.FILE_MISSING, told)
        return not_ours(case, sight, told, changed=True) or pull
    return _adopt(case, model, Reason.DIGEST_MISMATCH, f"{message}; recorded as it is now")


def _pull(
    case: DeclaredModel, source: OllamaSource, sight: OllamaFacts, action: Action, reason: Reason, message: str
) -> Change:
    """Return a change that pulls, unless something is known to be in its way before anything is fetched."""
    if not sight.reachable:
        return blocked_case(case, obstacle_of(sight.seen, message))
    if sight.offline:
        return blocked_case(case, Blocker(Reason.OFFLINE, f"{message}, and it cannot be pulled: --offline was given"))
    if sight.installed is not None and sight.is_in_use(sight.installed.name):
        told = f"{message}, and {sight.installed.name} is loaded now; `ollama stop {sight.installed.name}` unloads it"
        return blocked_case(case, Blocker(OllamaReason.IN_USE, told))
    upstream = sight.upstream
    stays = upstream.content if isinstance(upstream, UpstreamOllama) else None
    if (blocked := in_the_way(case, sight, message, stays)) is not None:
        return blocked
    if isinstance(upstream, Blocker) and upstream.reason in {OllamaReason.NOT_FOUND, OllamaReason.NAME}:
        return blocked_case(case, Blocker(upstream.reason, f"{message}: {upstream.message}"))
    if isinstance(upstream, UpstreamOllama) and source.digest not in {None, upstream.digest}:
        told = f"{message}, and the registry has {upstream.digest[:SHOWN]} under that tag now"
        gone = f"pinned is {str(source.digest)[:SHOWN]}, which is no longer offered; move the pin"
        return blocked_case(case, Blocker(Reason.UPSTREAM_GONE, f"{told}; {gone}"))
    return _sized(change_of(case, action, reason, message), case, sight)


def _sized(change: Change, case: DeclaredModel, sight: OllamaFacts) -> Change:
    """Return a pull with what it costs, as far as the registry says it before."""
    upstream, entry = sight.upstream, case.entry
    change = replace(
        change, path=(str(entry.path) if entry and entry.path else None, None), filesystem=sight.filesystem
    )
    if not isinstance(upstream, UpstreamOllama):
        why = upstream.message if isinstance(upstream, Blocker) else "the registry was not asked"
        warning = f"how much comes is not known before: {why}"
        return replace(change, fetch=(sight.name,), size_known=False, warnings=(*change.warnings, warning))
    blobs = blobs_of(upstream.config_digest, upstream.layers, upstream.size)
    here = sight.here - sight.bad
    coming = [blob for blob in blobs if blob.digest not in here and blob.digest not in sight.reuse]
    reused = [blob for blob in blobs if blob.digest not in here and blob.digest in sight.reuse]
    return replace(
        change,
        revision=(change.revision[0], upstream.digest),
        fetch=tuple(f"blobs/sha256-{blob.digest}" for blob in coming),
        reuse={f"blobs/sha256-{blob.digest}": str(sight.reuse[blob.digest]) for blob in reused},
        keep=len(blobs) - len(coming) - len(reused),
        bytes_to_fetch=sum(blob.size for blob in coming),
        bytes_staged=sum(min(blob.size, sight.begun.get(blob.digest, 0)) for blob in coming),
        bytes_reused=sum(blob.size for blob in reused),
    )
