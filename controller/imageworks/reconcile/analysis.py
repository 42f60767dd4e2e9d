"""Analyze a repository without downloading weights: what it is, what would be fetched, where to, under which name."""

from dataclasses import dataclass

from imageworks.detect.describe import describe
from imageworks.detect.facts import ModelFacts, Subject
from imageworks.detect.filenames import Container
from imageworks.identifiers import HubIdentifier
from imageworks.naming import default_variant_name
from imageworks.providers.hub_records import ResolvedRevision
from imageworks.providers.huggingface import HubClient
from imageworks.providers.select import available_quantizations, select_files
from imageworks.providers.select_values import QuantChoice, Selection, SelectionError
from imageworks.reconcile.places import Places
from imageworks.reconcile.situation import Obstacle, Place
from imageworks.registry.manifest import HuggingFaceSource, Manifest
from imageworks.transfer.files import RemoteFile

FORMAT_VERSION = 1
LARGEST_SMALL_BYTES = 16 * 1024 * 1024
MOST_HEADERS = 2


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
    """

    resolved: ResolvedRevision
    files: tuple[RemoteFile, ...]
    facts: ModelFacts
    selection: Selection | None
    open_question: str | None
    quantizations: tuple[QuantChoice, ...]
    name: str
    place: Place | Obstacle

    @property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size for file in self.files)

    def document(self) -> dict[str, object]:
        """Return the analysis as stable, versioned JSON values."""
        resolved, chosen = self.resolved, self.selection
        return {
            "format_version": FORMAT_VERSION,
            "repository": resolved.repo,
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
            else {"files": [file.path for file in chosen.files], "bytes": sum(file.size for file in chosen.files)},
            "open_question": self.open_question,
            "name": self.name,
            "target": str(self.place.path) if isinstance(self.place, Place) else None,
            "target_problem": self.place.message if isinstance(self.place, Obstacle) else None,
            "problems": [problem.message for problem in self.facts.problems],
            "facts": self.facts.entry_fields(),
        }


def analyze(
    hub: HubClient, wanted: HubIdentifier, places: Places, *, container: str | None = None, backend: str | None = None
) -> Analysis:
    """Return what a repository is, reading small files and the beginnings of weights only.

    Args:
        hub: The hub.
        wanted: Which repository, and which revision and quantization of it.
        places: Locations on this host.
        container: The format that is preferred.
        backend: The serving backend, for the name.

    Raises:
        HubError: It does not exist, may not be seen, or the hub cannot be reached.
        UnsafeNameError: A file's name leads outside its folder.
    """
    resolved = hub.resolve(wanted.repo, wanted.revision or "main")
    listing = hub.listing(resolved.repo, resolved.commit)
    selection, question = _select(listing.files, container, wanted.quantization)
    chosen = selection.files if selection is not None else listing.files
    by_path = {file.path: file for file in listing.files}
    source = hub.source(resolved.repo, resolved.commit)

    def read_small(path: str) -> bytes | None:
        file = by_path[path]
        return source.read(file, 0, file.size) if file.size <= LARGEST_SMALL_BYTES else None

    def read_header(path: str, offset: int, length: int) -> bytes:
        return source.read(by_path[path], offset, length)

    subject = Subject(
        repo=resolved.repo,
        revision=wanted.revision,
        task=resolved.pipeline_tag,
        library=resolved.library_name,
        license=resolved.license,
    )
    facts = describe(chosen, read_small, read_header, subject=subject, most_headers=MOST_HEADERS)
    detected = facts.download_format or (selection.container if selection else None)
    name = default_variant_name(
        resolved.repo,
        backend or ("gguf" if detected == Container.GGUF else "vllm"),
        revision=wanted.revision,
        download_format=detected,
        quantization=facts.quantization,
    )
    ref = wanted.revision or "main"
    manifest = Manifest(name, f"models/{name}.yaml", HuggingFaceSource(resolved.repo, ref))
    return Analysis(
        resolved=resolved,
        files=listing.files,
        facts=facts,
        selection=selection,
        open_question=question,
        quantizations=available_quantizations(listing.files),
        name=name,
        place=places.place(manifest, container=detected, repo=resolved.repo),
    )


def _select(
    files: tuple[RemoteFile, ...], container: str | None, quantization: str | None
) -> tuple[Selection | None, str | None]:
    try:
        return select_files(files, format=container, quantization=quantization), None
    except SelectionError as error:
        return None, error.render()
