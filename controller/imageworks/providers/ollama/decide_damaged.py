"""Decide what becomes of a model of Ollama some of whose blobs are damaged. Pure.

Only what we brought is put right, blob by blob; what is only adopted is told of and left to whom it belongs.
"""

from collections.abc import Collection
from dataclasses import replace

from imageworks.plan.facts import Blocker, DeclaredModel
from imageworks.plan.plan import Action, Change, Reason
from imageworks.providers.ollama.changes import SHOWN, blocked_case, change_of
from imageworks.providers.ollama.facts import OllamaFacts, blobs_of, obstacle_of, same_content, sight_in
from imageworks.providers.ollama.model import OllamaModel, UpstreamOllama
from imageworks.providers.ollama.reasons import OllamaReason
from imageworks.registry.entries.entry import stands_in_store


def is_ours(case: DeclaredModel) -> bool:
    """Return whether a model of Ollama is one that this host brought, or was bringing when it was killed."""
    entry, sight = case.entry, sight_in(case)
    recorded = entry is not None and stands_in_store(entry) and entry.installed_by_us
    return recorded or (sight is not None and sight.ours)


def not_ours(case: DeclaredModel, sight: OllamaFacts, message: str, *, changed: bool = False) -> Change | None:
    """Return why a model that is not whole is left alone; ``None`` where it is ours, or a pull only adds to it."""
    model, upstream = sight.installed, sight.upstream
    if model is None or (is_ours(case) and not changed):
        return None
    if not sight.bad and isinstance(upstream, UpstreamOllama) and same_content(model, upstream):
        return None
    return whose_damage(case, sight, message)


def unusable_of_others(case: DeclaredModel, sight: OllamaFacts) -> Change | None:
    """Return why nothing is put in the place of a manifest that cannot be used; ``None`` where there is none, or ours.

    While it lies there, Ollama keeps the blobs of a model that perhaps nobody else has; a pull over it would end that.
    """
    if sight.unusable is None or sight.ours or is_ours(case):
        return None
    told = f"{sight.name} is not gone: {sight.unusable}; it is not ours, so nothing takes its place"
    remedy = "whoever made it makes it again with `ollama create`, or removes that file where nobody wants the model"
    return blocked_case(case, Blocker(Reason.UNOWNED_FILES, f"{told}: {remedy}"))


def whose_damage(case: DeclaredModel, sight: OllamaFacts, message: str) -> Change:
    """Return that a model which is not ours is damaged: what of it, and what its owner can do."""
    model, upstream = sight.installed, sight.upstream
    name = sight.name if model is None else model.name
    told = f"{message} ({_listed(sight, model)}), and it was in Ollama before us, so nothing of it is touched"
    if model is not None and isinstance(upstream, UpstreamOllama) and same_content(model, upstream):
        remedy = f"its registry has the same content: `ollama rm {name}`, then `ollama pull {name}`"
    else:
        remedy = "no registry is known to have this content: whoever made it makes it again with `ollama create`"
    reason = Reason.DIGEST_MISMATCH if sight.bad else Reason.FILE_MISSING
    return blocked_case(case, Blocker(reason, f"{told}; {remedy}"))


def in_the_way(
    case: DeclaredModel, sight: OllamaFacts, message: str, staying: Collection[str] | None = None
) -> Change | None:
    """Return why damaged blobs cannot be put right; ``None`` where they can be, or need not."""
    bad = sight.bad if staying is None else sight.bad.intersection(staying)
    if not bad or sight.replaceable:
        return None
    where = sight.installed.store if sight.installed is not None else None
    listed = _listed(sight, sight.installed)
    what = message if listed in message else f"{message} ({listed})"
    told = f"{what}, and this user may not write into {where or 'its store'}"
    remedy = f"run as the user of Ollama, or `ollama rm {sight.name}` and run again, which pulls all of it anew"
    return blocked_case(case, Blocker(Reason.DIGEST_MISMATCH, f"{told}; {remedy}"))


def decide_damaged(case: DeclaredModel, sight: OllamaFacts) -> Change:
    """Return what puts a pulled model of ours right: its damaged blobs alone come anew, and nothing is removed."""
    model = sight.installed
    message = f"{sight.name}: {_listed(sight, model)}"
    if model is None or not sight.reachable:
        return blocked_case(case, obstacle_of(sight.seen, message))
    if (blocked := in_the_way(case, sight, message)) is not None:
        return blocked
    if sight.is_in_use(model.name):
        told = f"{message}, and {model.name} is loaded now; `ollama stop {model.name}` unloads it"
        return blocked_case(case, Blocker(OllamaReason.IN_USE, told))
    blobs = blobs_of(model.config_digest, model.layers, model.size)
    lost = [blob for blob in blobs if blob.digest in sight.bad | sight.missing]
    coming = [blob for blob in lost if blob.digest not in sight.reuse]
    if coming and sight.offline:
        told = f"{message}, and they cannot be fetched: --offline was given"
        return blocked_case(case, Blocker(Reason.OFFLINE, told))
    if coming and isinstance(sight.upstream, Blocker) and sight.upstream.reason is OllamaReason.NAME:
        return blocked_case(case, Blocker(sight.upstream.reason, f"{message}: {sight.upstream.message}"))
    entry = case.entry
    path = str(entry.path) if entry and entry.path else None
    others = sight.also_have(sight.bad)
    notes = (f"{', '.join(others)} has them too, and is put right with it",) if others else ()
    return replace(
        change_of(case, Action.REPAIR, Reason.DIGEST_MISMATCH, message),
        path=(path, None),
        filesystem=sight.filesystem,
        fetch=tuple(f"blobs/sha256-{blob.digest}" for blob in coming),
        reuse={f"blobs/sha256-{blob.digest}": str(sight.reuse[blob.digest]) for blob in lost if blob not in coming},
        keep=len(blobs) - len(lost),
        bytes_to_fetch=sum(blob.size for blob in coming),
        bytes_reused=sum(blob.size for blob in lost if blob not in coming),
        warnings=notes,
    )


def _listed(sight: OllamaFacts, model: OllamaModel | None) -> str:
    """Return which blobs are damaged or missing, by what they are."""
    if model is None:
        return "blobs are missing or damaged"
    kinds = {layer.digest: layer.kind for layer in model.layers}
    said = [
        f"{kinds.get(blob.digest, 'config')} {blob.digest[:SHOWN]}, {blob.size} bytes, is {what}"
        for digests, what in ((sight.bad, "damaged"), (sight.missing, "missing"))
        for blob in blobs_of(model.config_digest, model.layers, model.size)
        if blob.digest in digests
    ]
    return "; ".join(said) or "blobs are missing or damaged"
