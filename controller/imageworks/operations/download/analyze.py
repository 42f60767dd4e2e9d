"""Analyze a repository without downloading weights: what it is, what would be fetched, where to, under which name."""

from dataclasses import dataclass, replace

from imageworks.detection.containers import ArtifactKind
from imageworks.detection.file_names import Container
from imageworks.detection.model_facts import ModelFacts
from imageworks.detection.problems import complete_condition
from imageworks.files.artifact import RemoteFile
from imageworks.naming.hub_identifiers import HubIdentifier
from imageworks.naming.model_names import default_variant_name
from imageworks.operations.download.fit import MemoryAnswer, MemoryQuestion, memory_answer
from imageworks.plan.facts import Blocker, TargetFolder
from imageworks.providers.locations import HostLocations
from imageworks.providers.repository import RepositoryClient, ResolvedRevision
from imageworks.providers.selection.model import QuantChoice, Selection, SelectionError, SelectionRequest
from imageworks.providers.selection.other_models import model_of
from imageworks.providers.selection.requested_files import asked_for, check_asked, describe_remote, subject_of
from imageworks.providers.selection.select import available_quantizations, select
from imageworks.registry.manifests.manifest import Manifest, RepositorySource
from imageworks.serving.compatibility import ServerVerdict, traits_of, verdicts

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a repository is, and what installing it would mean.

    Args:
        resolved: The commit and what the hub says of it.
        files: Every file of the commit.
        facts: What the chosen files are, by names, configs and headers.
        selection: The files that would be fetched; ``None`` when a choice is open.
        open_question: Why nothing is selected, with what to choose from.
        quantizations: The GGUF quantizations it offers, with sizes.
        name: The variant name that it would get.
        place: Where it would go, or why it cannot.
        renamed_from: The name that was asked for, where the hub has another by now.
        model: What the chosen one of several models of the repository is called.
    """

    resolved: ResolvedRevision
    files: tuple[RemoteFile, ...]
    facts: ModelFacts
    selection: Selection | None
    open_question: str | None
    quantizations: tuple[QuantChoice, ...]
    name: str
    place: TargetFolder | Blocker
    renamed_from: str | None = None
    model: str | None = None

    @property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size for file in self.files)

    def memory(self, question: MemoryQuestion | None = None) -> MemoryAnswer:
        """Return what each form of the model needs to run."""
        asked = question or MemoryQuestion()
        return memory_answer(asked, self.facts, self.files, self.selection, self.quantizations)

    def document(self, question: MemoryQuestion | None = None) -> dict[str, object]:
        """Return the analysis as stable, versioned JSON values."""
        resolved, chosen = self.resolved, self.selection
        return {
            "format_version": FORMAT_VERSION,
            "repository": resolved.repo,
            "renamed_from": self.renamed_from,
            "revision": resolved.commit,
            "ref": resolved.ref,
            "gated": resolved.gated,
            "private": resolved.private,
            "last_modified": resolved.last_modified,
            "kind": self.facts.kind.value,
            "formats": [
                {"format": c.container.value, "confidence": c.confidence, "evidence": c.evidence.text}
                for c in self.facts.candidates
            ],
            "quantizations": [{"label": q.label, "size": q.size, "files": q.files} for q in self.quantizations],
            "total_bytes": self.total_bytes,
            "files": len(self.files),
            "would_fetch": None
            if chosen is None
            else {"files": [file.path for file in chosen.files], "bytes": chosen.total_bytes},
            "left_out": None
            if chosen is None
            else [{"path": one.path, "why": one.why.value, "instead": one.instead or None} for one in chosen.left_out],
            "open_question": self.open_question,
            "name": self.name,
            "target": str(self.place.path) if isinstance(self.place, TargetFolder) else None,
            "target_problem": self.place.message if isinstance(self.place, Blocker) else None,
            "complete": complete_condition(self.facts.problems, self.facts.doubts)["status"],
            "problems": [problem.message for problem in self.facts.problems],
            "memory": self.memory(question).document(),
            "servers": {one.server: one.document() for one in self.servers},
            "facts": self.facts.entry_fields(),
        }

    @property
    def servers(self) -> list[ServerVerdict]:
        """What each server says to it."""
        return verdicts(traits_of(self.facts, self.resolved.repo))


def analyze(
    hub: RepositoryClient,
    wanted: HubIdentifier,
    places: HostLocations,
    *,
    container: str | None = None,
    backend: str | None = None,
    request: SelectionRequest | None = None,
    resolved: ResolvedRevision | None = None,
) -> Analysis:
    """Return what a repository is, reading small files and the beginnings of weights only.

    Who knows what its revision is says so: a branch may move between two looks.
    """
    resolved = resolved or hub.resolve(wanted.repo, wanted.revision or "main")
    listing = hub.listing(resolved.repo, resolved.commit)
    asked = replace(request or SelectionRequest(), format=container, quantization=wanted.quantization)
    source = hub.source(resolved.repo, resolved.commit)
    subject = subject_of(resolved, wanted.revision)
    selection, question, asked = _select(listing.files, asked, wanted.path)
    facts = describe_remote(selection.files if selection else listing.files, source, subject=subject)
    if selection is not None:
        try:
            check_asked(hub, resolved.repo, selection, facts)
        except SelectionError as error:
            selection, question = None, error.render()
    detected = facts.download_format or (selection.container if selection else None)
    model = model_of(resolved.repo, listing.files, selection, asked) if selection is not None else None
    name = default_variant_name(
        model or resolved.repo,
        backend or _backend(detected, facts.kind),
        revision=wanted.revision,
        download_format=detected,
        quantization=_label(selection, facts),
    )
    ref = wanted.revision or "main"
    manifest = Manifest(name, f"models/{name}.yaml", RepositorySource(resolved.repo, ref))
    return Analysis(
        resolved=resolved,
        files=listing.files,
        facts=facts,
        selection=selection,
        open_question=question,
        quantizations=available_quantizations(listing.files),
        name=name,
        place=places.place(manifest, container=detected, repo=resolved.repo),
        model=model,
        renamed_from=wanted.repo if resolved.repo.lower() != wanted.repo.lower() else None,
    )


def _select(
    files: tuple[RemoteFile, ...], request: SelectionRequest, path: str | None
) -> tuple[Selection | None, str | None, SelectionRequest]:
    try:
        request = asked_for(request, path, files)
        return select(files, request), None, request
    except SelectionError as error:
        return None, error.render(), request


def _backend(container: str | None, kind: ArtifactKind) -> str:
    if kind in (ArtifactKind.TOKENIZER, ArtifactKind.PROCESSOR):
        return "unassigned"
    return "gguf" if container == Container.GGUF else "vllm"


def _label(selection: Selection | None, facts: ModelFacts) -> str | None:
    """Return the quantization that names a model: a GGUF file's own name says by which one it is asked for."""
    if selection is not None and selection.container is Container.GGUF and selection.quantization:
        return selection.quantization
    return facts.quantization
