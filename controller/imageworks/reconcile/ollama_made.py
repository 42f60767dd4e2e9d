"""Decide what a model of Ollama needs that is made from a modelfile. Pure."""

from dataclasses import replace

from imageworks.providers.ollama_values import OllamaModel, UpstreamOllama
from imageworks.reconcile.decide import stands_in_ollama
from imageworks.reconcile.ollama_changes import blocked_case, change_of
from imageworks.reconcile.ollama_damage import in_the_way, is_ours, whose_damage
from imageworks.reconcile.ollama_sight import (
    MadeOf,
    OllamaSight,
    is_as_recorded,
    obstacle_of,
    recorded_name,
    same,
    section,
)
from imageworks.reconcile.plan import Action, Change, Reason
from imageworks.reconcile.situation import Case, Obstacle
from imageworks.registry.entry import Entry
from imageworks.registry.manifest import OllamaSource


def decide_made(case: Case, sight: OllamaSight) -> Change | None:
    """Return what a model needs that is made from a modelfile.

    Args:
        case: Everything known of it.
        sight: What Ollama has of it.
    """
    made, entry, model = sight.made, case.entry, sight.installed
    source = case.manifest.source
    if made is None or isinstance(made, Obstacle):
        return blocked_case(case, made or Obstacle(Reason.SOURCE_MISSING, "its modelfile was not looked at"))
    if isinstance(source, OllamaSource) and source.digest is not None:
        message = "`digest:` pins what is pulled, and this model is made; declare its base by a manifest of its own"
        return blocked_case(case, Obstacle(Reason.INVALID_MANIFEST, f"{case.manifest.file}: {message}, and pin that"))
    if entry is None or not stands_in_ollama(entry):
        if model is not None and not sight.ours:
            message = f"a model called {model.name} is in Ollama already, made by someone else"
            told = f"{message}; `ollama cp` it to another name and `ollama rm` it, or choose another name"
            return blocked_case(case, Obstacle(Reason.UNOWNED_FILES, told))
        return _make(case, sight, made, Action.INSTALL, Reason.MISSING, f"{sight.name} is not in Ollama")
    if not same(recorded_name(entry), sight.name):
        return _make(case, sight, made, Action.UPDATE, Reason.SOURCE_CHANGED, f"{recorded_name(entry)} -> {sight.name}")
    if model is None:
        return _make(case, sight, made, Action.REPAIR, Reason.FILE_MISSING, sight.gone)
    if sight.bad or not model.complete:
        if not is_ours(case):
            return whose_damage(case, sight, f"{sight.name}: blobs are missing or damaged")
        reason = Reason.DIGEST_MISMATCH if sight.bad else Reason.FILE_MISSING
        return _make(case, sight, made, Action.REPAIR, reason, f"{sight.name}: blobs are missing or damaged")
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
        return blocked_case(case, obstacle_of(sight.seen, message))
    if sight.installed is not None and sight.is_in_use(sight.installed.name):
        told = f"{message}, and {sight.installed.name} is loaded now; `ollama stop {sight.installed.name}` unloads it"
        return blocked_case(case, Obstacle(Reason.OLLAMA_IN_USE, told))
    if (blocked := in_the_way(case, sight, message)) is not None:
        return blocked
    change = replace(change_of(case, action, reason, message), filesystem=sight.filesystem)
    if made.base_name is not None and made.base is None and not made.base_follows:
        if sight.offline:
            told = f"{message}; its base {made.base_name} is not in Ollama either, and --offline was given"
            return blocked_case(case, Obstacle(Reason.OFFLINE, told))
        warning = f"its base {made.base_name} is not in Ollama, which pulls it; declare it too, to see what it costs"
        return replace(change, fetch=(made.base_name,), size_known=False, warnings=(*change.warnings, warning))
    return change


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
