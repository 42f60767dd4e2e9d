"""Decide what a model of Ollama needs that is made from a modelfile. Pure."""

from dataclasses import replace

from imageworks.plan.facts import Blocker, DeclaredModel
from imageworks.plan.plan import Action, Change, Reason
from imageworks.providers.ollama.changes import blocked_case, change_of
from imageworks.providers.ollama.decide_damaged import in_the_way, is_ours, whose_damage
from imageworks.providers.ollama.facts import (
    BuildInputs,
    OllamaFacts,
    is_as_recorded,
    obstacle_of,
    recorded_name,
    same,
    section,
    sight_in,
)
from imageworks.providers.ollama.model import OllamaModel, UpstreamOllama
from imageworks.providers.ollama.reasons import OllamaReason
from imageworks.registry.entries.entry import Entry, stands_in_store
from imageworks.registry.manifests.manifest import OllamaSource


def decide_made(case: DeclaredModel, sight: OllamaFacts) -> Change | None:
    """Return what a model needs that is made from a modelfile."""
    made, entry, model = sight.made, case.entry, sight.installed
    source = case.manifest.source
    if made is None or isinstance(made, Blocker):
        return blocked_case(case, made or Blocker(Reason.SOURCE_MISSING, "its modelfile was not looked at"))
    if isinstance(source, OllamaSource) and source.digest is not None:
        message = "`digest:` pins what is pulled, and this model is made; declare its base by a manifest of its own"
        return blocked_case(case, Blocker(Reason.INVALID_MANIFEST, f"{case.manifest.file}: {message}, and pin that"))
    if entry is None or not stands_in_store(entry):
        if model is not None and not sight.ours:
            message = f"a model called {model.name} is in Ollama already, made by someone else"
            told = f"{message}; `ollama cp` it to another name and `ollama rm` it, or choose another name"
            return blocked_case(case, Blocker(Reason.UNOWNED_FILES, told))
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


def _remade(entry: Entry, model: OllamaModel, made: BuildInputs) -> tuple[Reason, str] | None:
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
    """Return whether a base is still what a model was made of."""
    known = {str(item) for item in recorded} if isinstance(recorded, list) else set()
    return base.digest in known or (bool(base.content) and known == set(base.content))


def _make(
    case: DeclaredModel, sight: OllamaFacts, made: BuildInputs, action: Action, reason: Reason, message: str
) -> Change:
    if not sight.reachable:
        return blocked_case(case, obstacle_of(sight.seen, message))
    if sight.installed is not None and sight.is_in_use(sight.installed.name):
        told = f"{message}, and {sight.installed.name} is loaded now; `ollama stop {sight.installed.name}` unloads it"
        return blocked_case(case, Blocker(OllamaReason.IN_USE, told))
    if (blocked := in_the_way(case, sight, message)) is not None:
        return blocked
    change = replace(change_of(case, action, reason, message), filesystem=sight.filesystem)
    if made.base_name is not None and made.base is None and not made.base_follows:
        if sight.offline:
            told = f"{message}; its base {made.base_name} is not in Ollama either, and --offline was given"
            return blocked_case(case, Blocker(Reason.OFFLINE, told))
        warning = f"its base {made.base_name} is not in Ollama, which pulls it; declare it too, to see what it costs"
        return replace(change, fetch=(made.base_name,), size_known=False, warnings=(*change.warnings, warning))
    return change


def rebuilt(decided: list[tuple[DeclaredModel, Change | None]]) -> list[tuple[DeclaredModel, Change | None]]:
    """Return what was decided, with the models made anew whose base the same plan changes."""
    sights = [(case, sight_in(case), change) for case, change in decided]
    coming = {sight.name: (case, change) for case, sight, change in sights if sight is not None and change}
    after: list[tuple[DeclaredModel, Change | None]] = []
    for case, sight, change in sights:
        made = sight.made if sight is not None else None
        if change is not None and change.action is not Action.BLOCKED and isinstance(made, BuildInputs):
            change = _without_base(case, change, coming.get(str(made.base_name)))  # noqa: PLW2901
        follows = change is None and isinstance(made, BuildInputs) and made.base_name in coming
        if follows and isinstance(made, BuildInputs) and sight is not None and case.entry is not None:
            base, what = coming[str(made.base_name)]
            if _changes_base(base, what, section(case.entry).get("base")):
                told = f"its base {made.base_name} changes"
                after.append((case, _make(case, sight, made, Action.UPDATE, Reason.BASE_CHANGED, told)))
                continue
        after.append((case, change))
    return after if after == decided else rebuilt(after)


def _without_base(case: DeclaredModel, change: Change, base: tuple[DeclaredModel, Change] | None) -> Change:
    """Block what would be made of a base that may not come, or of another than the pinned one: Ollama pulls by name."""
    if base is None or base[1].action is not Action.BLOCKED:
        return change
    source = base[0].manifest.source
    held = isinstance(source, OllamaSource) and source.digest is not None
    if not held and base[1].reason not in {Reason.LICENSE_DENIED, Reason.POLICY_VIOLATED}:
        return change
    told = f"its base {base[0].manifest.name} does not come: {base[1].message}"
    return blocked_case(case, Blocker(base[1].reason, told))


def _changes_base(base: DeclaredModel, change: Change | None, recorded: object) -> bool:
    """Return whether a change of a base makes it another than a model was made of, as far as that is known before."""
    sight = sight_in(base)
    if change is None or change.action not in {Action.INSTALL, Action.UPDATE} or sight is None:
        return False
    upstream = sight.upstream
    if not isinstance(upstream, UpstreamOllama):
        return change.action is Action.UPDATE
    return not isinstance(recorded, list) or set(upstream.content) != {str(item) for item in recorded}
