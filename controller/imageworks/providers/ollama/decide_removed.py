"""Decide what leaves Ollama, and what of ours is given to it and leaves it again. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from typing import Final

from imageworks.plan.facts import Blocker, DeclaredModel
from imageworks.plan.plan import Action, Change, Reason
from imageworks.providers.ollama.changes import bare, blocked_case, change_of, stays
from imageworks.providers.ollama.facts import (
    PROVIDER,
    OllamaFacts,
    blobs_of,
    is_as_recorded,
    obstacle_of,
    offerable,
    offered,
    offered_name,
    recorded_name,
    same,
    section,
    sight_in,
)
from imageworks.providers.ollama.model import OllamaModel
from imageworks.providers.ollama.reasons import OllamaReason
from imageworks.registry.entries.entry import Entry, aggregate_sha256, stands_in_store
from imageworks.registry.manifests.manifest import State

_BRINGING: Final = frozenset({Action.INSTALL, Action.UPDATE, Action.ADOPT, Action.REPAIR})


def decide_absent(case: DeclaredModel, sight: OllamaFacts) -> Change | None:
    """Return what a model needs that is declared absent."""
    entry = case.entry
    if entry is None or not stands_in_store(entry):
        if case.previous_name is None:
            return None
        message = f"{case.previous_name} is now {case.manifest.name}"
        return change_of(case, Action.MOVE, Reason.RENAMED, message)
    message = "declared absent: the entry stays, the model goes"
    if not entry.installed_by_us:
        message = "declared absent: the entry stays; the model was in Ollama before us and stays"
    change = ollama_removal(entry, Reason.DECLARED_ABSENT, message, sight)
    return replace(change, name=case.manifest.name, previous_name=case.previous_name)


def ollama_removal(
    entry: Entry, reason: StrEnum, message: str, sight: OllamaFacts | None, *, asked: bool = False
) -> Change:
    """Return the removal of a model from Ollama: only what we brought, and only while it is as recorded (I5)."""
    change = Change(
        name=entry.name,
        action=Action.REMOVE,
        reason=reason,
        message=message,
        source=f"ollama:{recorded_name(entry)}",
        backend=entry.text("backend") or "",
        revision=(bare(entry.revision), None),
        path=(entry.text("download_path"), None),
        keep=len(entry.files) or 1,
        daemon=PROVIDER,
        asked=asked,
    )
    if not (entry.installed_by_us or asked):
        return change
    if sight is None or sight.seen.origin == "nothing":
        return stays(change, obstacle_of(sight.seen, message) if sight else Blocker(OllamaReason.UNREACHABLE, message))
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
        return stays(change, obstacle_of(sight.seen, f"{message}, and only the daemon can remove it"))
    if sight.is_in_use(model.name):
        told = f"{message}, and {model.name} is loaded now; `ollama stop {model.name}` unloads it"
        return stays(change, Blocker(OllamaReason.IN_USE, told))
    return replace(change, drop=(model.name,), keep=0, bytes_freed=freed_by(model, sight))


def freed_by(model: OllamaModel, sight: OllamaFacts) -> int:
    """Return what the filesystem gets back when a model goes: blobs that another model has too give nothing."""
    others = [other for other in sight.seen.models if other is not model]
    if any(other.digest == model.digest for other in others):
        return 0
    elsewhere = {digest for other in others for digest in other.content}
    blobs = blobs_of(model.config_digest, model.layers, model.size)
    return sum(blob.size for blob in blobs if blob.digest not in elsewhere) if blobs else model.size


def withdrawn(change: Change, entry: Entry, sight: OllamaFacts) -> Change:
    """Return the removal of files of ours, where what Ollama was given of them goes too."""
    name = offered(entry)
    if name is None or (change.keep and not change.drop):
        return change
    if not sight.reachable and (sight.recorded is not None or sight.seen.origin == "nothing"):
        return stays(change, obstacle_of(sight.seen, f"{name} in Ollama goes with it"))
    model = sight.recorded
    if model is None or not sight.claimed or not is_as_recorded(entry, model):
        return change
    if sight.is_in_use(model.name):
        told = f"{model.name} is loaded now and goes with it; `ollama stop {model.name}` unloads it"
        return stays(change, Blocker(OllamaReason.IN_USE, told))
    told = f"{model.name}, which was made of it, goes from Ollama too"
    return replace(change, warnings=(*change.warnings, told), bytes_freed=change.bytes_freed + freed_by(model, sight))


def with_offer(case: DeclaredModel, change: Change | None) -> Change | None:
    """Return a change of a GGUF of ours, with the change that Ollama needs of it where its manifest asks for that."""
    sight, entry = sight_in(case), case.entry
    name = offered_name(case.manifest) if case.manifest.state is State.PRESENT else None
    if change is not None and change.action is Action.REMOVE and entry is not None and sight is not None:
        return withdrawn(change, entry, sight)
    if sight is not None and name is not None and change is not None and change.action in _BRINGING:
        return _brought_and_offered(case, sight, name, change)
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
    if _is_taken(entry, sight, name):
        return blocked_case(case, Blocker(Reason.UNOWNED_FILES, _taken(sight)))
    if model is not None and sight.is_in_use(model.name):
        told = f"{model.name} is loaded now; `ollama stop {model.name}` unloads it"
        return blocked_case(case, Blocker(OllamaReason.IN_USE, told))
    message = f"backend is ollama: offered there as {sight.name}"
    return replace(change_of(case, Action.UPDATE, Reason.NOT_OFFERED, message), keep=len(entry.files))


def _brought_and_offered(case: DeclaredModel, sight: OllamaFacts, name: str, change: Change) -> Change:
    """Return a change that brings files, with what is known beforehand of giving them to Ollama."""
    if case.entry is not None and case.entry.files and not offerable(case.entry) and change.action is Action.REPAIR:
        return change
    if _is_taken(case.entry, sight, name):
        if change.action is Action.REPAIR:  # the files are ours, whatever has the name in Ollama
            return replace(change, warnings=(*change.warnings, f"not given to Ollama: {_taken(sight)}"))
        return blocked_case(case, Blocker(Reason.UNOWNED_FILES, _taken(sight)))
    if not sight.reachable:
        why = obstacle_of(sight.seen, f"it is given to Ollama as {sight.name} by a later run").message
        return replace(change, warnings=(*change.warnings, why))
    return replace(change, message=f"{change.message}; then given to Ollama as {sight.name}")


def _is_taken(entry: Entry | None, sight: OllamaFacts, name: str) -> bool:
    """Return whether a model that is not ours has the name under which Ollama is to have a GGUF."""
    known = offered(entry)
    return sight.installed is not None and not same(known, name) and not sight.ours


def _taken(sight: OllamaFacts) -> str:
    name = sight.name if sight.installed is None else sight.installed.name
    return f"a model called {name} is in Ollama already, made by someone else; declare another `served_model_id`"


def not_offered(cases: Iterable[DeclaredModel]) -> tuple[str, ...]:
    """Return which models are asked to be in Ollama and cannot be given to it."""
    notes = []
    for case in cases:
        wanted = case.manifest.state is State.PRESENT and offered_name(case.manifest) is not None
        if not wanted or case.entry is None or not case.entry.files:
            continue
        told = f"{case.manifest.file}: backend is ollama, and {case.manifest.name} is not offered to Ollama"
        if not offerable(case.entry):
            remedy = "declare one quantization that is not split"
            notes.append(f"{told}, which takes one GGUF file and its projector: {remedy}")
        elif (sight := sight_in(case)) is not None and not sight.reachable and offered(case.entry) is None:
            notes.append(obstacle_of(sight.seen, told).message)
    return tuple(notes)
