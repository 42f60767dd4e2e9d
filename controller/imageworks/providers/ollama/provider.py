"""Models that Ollama keeps in its store: how plans are made of them. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.files.artifact import LinkError
from imageworks.files.content_index import ollama_stores
from imageworks.plan.facts import DeclaredModel, Observation, UndeclaredModel
from imageworks.plan.plan import Action, Change, Reason
from imageworks.plan.updates import Age, Followed, ModelUpdate
from imageworks.plan.verification import Fault
from imageworks.providers.base import Decided, Store, StoreContext, StoreLeftover, StoreProvider
from imageworks.providers.named_source import NamedSource
from imageworks.providers.ollama.decide import decide_ollama
from imageworks.providers.ollama.decide_built import rebuilt
from imageworks.providers.ollama.decide_removed import not_offered, ollama_removal, with_offer, withdrawn
from imageworks.providers.ollama.facts import DIGEST_PREFIX, PROVIDER, name_key, recorded_name, same, sight_in
from imageworks.providers.ollama.names import named_source
from imageworks.providers.ollama.reasons import OllamaReason
from imageworks.registry.entries.entry import Entry, stands_in_store
from imageworks.registry.entries.queries import SYNTHETIC
from imageworks.registry.manifests.manifest import Manifest, OllamaSource, State
from imageworks.registry.manifests.writer import Line

if TYPE_CHECKING:
    from imageworks.providers.ollama.model import OllamaObservation
    from imageworks.providers.ollama.service import OllamaService
    from imageworks.providers.upstream import SourceResolver


class OllamaPlans(StoreProvider):
    """Decides about models that Ollama pulls or makes, and about files of ours that it is given."""

    name = PROVIDER
    title = "Ollama"
    unreachable = OllamaReason.UNREACHABLE

    def named(self, text: str, sha256: str | None) -> NamedSource | None:
        """Return the model of Ollama that a text names."""
        del sha256
        return named_source(text)

    def taken_over(self, wanted: Sequence[Manifest], free: Mapping[str, Entry]) -> Mapping[str, str]:
        """Return declared models that an import has recorded under another name, with that name."""
        pulled = [
            (one.name, one.source.name)
            for one in wanted
            if isinstance(one.source, OllamaSource) and one.source.modelfile is None and one.state is State.PRESENT
        ]
        imported: dict[object, list[str]] = {}
        for name, entry in sorted(free.items()) if pulled else ():
            if stands_in_store(entry) and not entry.managed:
                imported.setdefault(name_key(recorded_name(entry)), []).append(name)
        taken = {}
        for name, source_name in pulled:
            if found := imported.get(name_key(source_name)):
                taken[name] = found.pop(0)
        return taken

    def decide(self, case: DeclaredModel) -> Change | None:
        """Return what a model of Ollama needs, or ``None`` when it is as declared."""
        return decide_ollama(case)

    def source_change(self, case: DeclaredModel) -> StrEnum | None:
        """Return why what is recorded has another name or digest in Ollama than what is declared."""
        source, entry = case.manifest.source, case.entry
        if not isinstance(source, OllamaSource) or entry is None:
            return None
        if not stands_in_store(entry):
            return Reason.SOURCE_CHANGED
        pinned = source.digest is not None and not (entry.revision or "").endswith(source.digest)
        named = source.modelfile is not None or same(recorded_name(entry), source.name)
        return Reason.REVISION_CHANGED if pinned or not named else None

    def complete(self, case: DeclaredModel, change: Change | None) -> Change | None:
        """Return what the files of a GGUF need, with what Ollama needs of it where it is to be there too."""
        return with_offer(case, change)

    def adjust(self, decided: Decided) -> Decided:
        """Return what was decided, with the models made anew whose base the same plan changes."""
        made = any((sight := sight_in(case)) is not None and sight.made is not None for case, _ in decided)
        return rebuilt(list(decided)) if made else decided

    def notes(self, cases: Sequence[DeclaredModel]) -> Sequence[str]:
        """Return which models are asked to be in Ollama and cannot be given to it."""
        return not_offered(cases)

    def removal(self, orphan: UndeclaredModel, reason: StrEnum, message: str, shared: frozenset[str]) -> Change:
        """Return the removal of a model from Ollama; blobs are shared by Ollama itself."""
        del shared
        sight = sight_in(orphan)
        known = replace(sight, others=orphan.others) if sight is not None else None
        return ollama_removal(orphan.entry, reason, message, known)

    def complete_removal(self, orphan: UndeclaredModel, change: Change) -> Change:
        """Return the removal of files of ours, where what Ollama was given of them goes too."""
        sight = sight_in(orphan)
        return change if sight is None else withdrawn(change, orphan.entry, sight)

    def follows(self, manifest: Manifest, entry: Entry | None, committed: Callable[[], bytes]) -> Followed | str:
        """Return the name that a model is pulled by; one that is made follows nothing."""
        source = manifest.source
        if not isinstance(source, OllamaSource) or source.modelfile is not None:
            return super().follows(manifest, entry, committed)
        digest = source.digest
        installed = entry is not None and stands_in_store(entry) and same(recorded_name(entry), source.name)
        commit = f"{DIGEST_PREFIX}{digest}" if digest else entry.revision if entry is not None and installed else None
        pinned = digest is not None
        return Followed(manifest, source.name, "", digest or "no digest", pinned=pinned, commit=commit, entry=entry)

    def newest(self, followed: Followed, sources: "SourceResolver") -> str:
        """Return the digest that a name leads to now."""
        found = _service(sources).upstream(followed.repo)
        if found is None:
            raise LinkError(f"{followed.repo}: its registry has no such model", reason=OllamaReason.NOT_FOUND)
        return f"{DIGEST_PREFIX}{found.digest}"

    def update(self, followed: Followed, age: Age, sources: "SourceResolver") -> ModelUpdate:
        """Return how a model stands against its registry."""
        from imageworks.providers.ollama.updates import ask_update

        return ask_update(_service(sources), followed, age)

    def damage(self, entry: Entry, observation: Observation) -> tuple[StrEnum, str]:
        """Return what is said of an imported model that is not as recorded."""
        what = "changed in Ollama since it was recorded" if observation.exists else "is gone from Ollama"
        reason = Reason.DIGEST_MISMATCH if observation.exists else Reason.FILE_MISSING
        return reason, f"{entry.text('served_model_id')} {what}; never declared, and `import-ollama` records it anew"

    def source_lines(self, entry: Entry) -> Sequence[Line]:
        """Return how a manifest names a model of Ollama."""
        comment = "its name in Ollama; `pin` adds its digest"
        return [Line(PROVIDER, entry.text("served_model_id"), comment, inside=True)] if stands_in_store(entry) else ()

    def judged_elsewhere(self, change: Change, manifest: Manifest, entry: Entry | None) -> Change | str | None:
        """Return what would be pulled, as far as the record says; its size is known to the host's daemon alone."""
        source = manifest.source
        if not isinstance(source, OllamaSource) or change.reason is not Reason.PROVIDER_UNAVAILABLE:
            return change
        change = replace(change, daemon=PROVIDER, size_known=False)
        if entry is None or not stands_in_store(entry):
            message = "pulled by Ollama; its size is not known here"
            return replace(change, action=Action.INSTALL, reason=Reason.MISSING, message=message)
        pinned = source.digest is not None and entry.revision is not None and not entry.revision.endswith(source.digest)
        if pinned or not same(recorded_name(entry), source.name):
            message = "pulled anew by Ollama"
            return replace(change, action=Action.UPDATE, reason=Reason.REVISION_CHANGED, message=message)
        return None

    def keeps(self, entry: Entry) -> bool:
        """Return whether a model's bytes are Ollama's to keep."""
        return (
            entry.text("source_provider") == PROVIDER
            or (entry.text("download_path") or "").startswith(SYNTHETIC)
            or (entry.text("backend") == PROVIDER and not entry.files)
        )

    def verifier(self) -> Callable[[Entry], tuple[Fault, str] | None]:
        """Return what compares entries with the manifests of their stores."""
        from imageworks.providers.ollama.verify import StoreManifests

        return StoreManifests().problem

    def asked_removal(self, orphan: UndeclaredModel, reason: StrEnum) -> Change:
        """Return the removal of a model by Ollama's daemon."""
        entry = orphan.entry
        return ollama_removal(entry, reason, f"{entry.name} is to leave Ollama", sight_in(orphan), asked=True)

    def how_to_free(self, entry: Entry) -> str | None:
        """Return how Ollama itself removes a model."""
        served = entry.text("served_model_id")
        return f"Ollama keeps its own store: `ollama rm {served}` frees the space" if served else None

    def folder(self, environment: Mapping[str, str]) -> Path | None:
        """Return the first of Ollama's stores that is there."""
        from imageworks.providers.ollama.store import is_store

        return next(filter(is_store, ollama_stores(environment)), None)

    def installed(self, environment: Mapping[str, str]) -> Callable[[str], bool | None]:
        """Return what asks Ollama for a model, or its store where no daemon answers."""

        @cache
        def observed() -> "OllamaObservation":
            from imageworks.providers.ollama.service import OllamaService

            with OllamaService.from_environment(environment) as ollama:
                return ollama.observe()

        def has(name: str) -> bool | None:
            return observed().find(name) is not None or (False if observed().daemon_answers else None)

        return has

    def leftovers(self, environment: Mapping[str, str]) -> Sequence[StoreLeftover]:
        """Return what no model of Ollama's stores has."""
        from imageworks.providers.ollama.leftovers import leftovers_here

        return leftovers_here(environment)

    def open_store(self, context: StoreContext) -> Store:
        """Return Ollama's store on this host; the daemon is not contacted before something is asked of it."""
        from imageworks.providers.ollama.on_host import OllamaStore

        return OllamaStore(context)


def _service(sources: "SourceResolver") -> "OllamaService":
    from imageworks.providers.ollama.service import OllamaService

    return sources.shared(
        PROVIDER, lambda: OllamaService.from_environment(sources.host.environment(), offline=sources.offline)
    )


OLLAMA: Final = OllamaPlans()
