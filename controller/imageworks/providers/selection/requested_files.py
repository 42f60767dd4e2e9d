"""What a manifest asks of a repository's files, and whether what was chosen is the quantization that it says."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from imageworks.detection.claims.evidence import agrees
from imageworks.detection.components import Component, read_part, weight_sets
from imageworks.detection.describe import POINTER_SIZES, describe
from imageworks.detection.file_names import Container, Role, classify
from imageworks.detection.local_files import describe_places
from imageworks.detection.model_facts import ModelFacts, Subject
from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.foundation.similar_words import near_words
from imageworks.naming.quantization_labels import find_quantizations, quantization_label
from imageworks.providers.folder.local_files import LocalSource
from imageworks.providers.selection.model import Selection, SelectionError, SelectionRequest
from imageworks.providers.selection.select import select, unproven_quantization
from imageworks.registry.manifests.manifest import Manifest, RepositorySource

if TYPE_CHECKING:
    from imageworks.plan.facts import ResolvedSource
    from imageworks.providers.repository import RangeSource, RepositoryClient, ResolvedRevision
    from imageworks.registry.entries.entry import Entry

ReadHead = Callable[[RemoteFile, int], bytes | None]
"""Returns the first bytes of a file; ``None`` where they cannot be had before it comes."""
LARGEST_SMALL_BYTES: Final = 16 * 1024 * 1024
MOST_HEADERS: Final = 2
_MOST_COMPARED: Final = 2_000
_PRECISIONS: Final = frozenset({"fp16", "bf16", "fp32", "fp64"})


def request_of(manifest: Manifest) -> SelectionRequest:
    """Return what a manifest asks of its repository's files."""
    source = manifest.source
    if not isinstance(source, RepositorySource):
        return SelectionRequest()
    return SelectionRequest(
        format=manifest.text("format"),
        quantization=manifest.text("quantization"),
        include=source.include,
        exclude=source.exclude,
        weights=source.weights,
        subfolder=source.subfolder,
        optional=source.optional,
    )


def chosen_files(
    files: Sequence[RemoteFile], request: SelectionRequest, entry: "Entry | None", *, locked: bool = False
) -> Selection:
    """Return the files that are wanted: of an installed model those it has, and those that it lacks.

    What is recorded never leaves by itself: rules of choosing that are newer than an entry take nothing away.
    """
    recorded = {file.path for file in entry.files} if entry is not None else set()
    held = tuple(file for file in files if file.path in recorded)
    try:
        selection = select(files, request)
    except SelectionError:
        if not held:
            raise
        return Selection(held, None, None)
    if not recorded:
        return selection
    if locked:
        return Selection(held, selection.container, selection.quantization)
    wanted = {file.path: file for file in (*held, *selection.files)}
    return Selection(
        files=tuple(wanted[path] for path in sorted(wanted)),
        container=selection.container,
        quantization=selection.quantization,
        left_out=tuple(one for one in selection.left_out if one.path not in wanted),
        warnings=selection.warnings,
    )


def describe_remote(
    files: Iterable[RemoteFile], source: "RangeSource", *, subject: Subject, only_configs: bool = False
) -> ModelFacts:
    """Return what a repository's files are, reading small files and the beginnings of weights only."""
    by_path = {file.path: file for file in files}

    def read_small(path: str) -> bytes | None:
        file = by_path[path]
        role = classify(path).role
        if only_configs and role not in (Role.CONFIG, Role.QUANTIZATION_CONFIG):
            return None
        return source.read(file, 0, file.size) if file.size <= LARGEST_SMALL_BYTES else None

    def read_header(path: str, offset: int, length: int) -> bytes:
        return source.read(by_path[path], offset, length)

    return describe(by_path.values(), read_small, read_header, subject=subject, most_headers=MOST_HEADERS)


def lacks(upstream: "ResolvedSource", read: ReadHead) -> tuple[str, ...]:
    """Return what makes the files that a source offers incomplete, a line each, and that they are an adapter."""
    facts = _facts_of_offer(upstream, read)
    told = [f"incomplete: {problem.message}" for problem in facts.problems]
    if facts.adapter is not None and not told:
        told.append(facts.adapter.told)
    return tuple(told)


def _facts_of_offer(upstream: "ResolvedSource", read_head: ReadHead) -> ModelFacts:
    by_path = {file.path: file for file in upstream.files}
    subject = Subject(repo=upstream.repo or "", task=upstream.pipeline_tag, library=upstream.library)
    source = upstream.source
    if isinstance(source, LocalSource):
        return describe_places({path: source.place(file) for path, file in by_path.items()}, upstream.files, subject)
    numbered = any(classify(path).shards for path in by_path)  # then names say which shards there must be

    def read(path: str, offset: int, length: int) -> bytes:
        try:
            return (read_head(by_path[path], offset + length) or b"")[offset:]
        except LinkError:
            return b""  # whoever fetches it says why

    def read_small(path: str) -> bytes | None:
        size, role = by_path[path].size, classify(path).role
        telling = path in _TELLING or (role is Role.INDEX and not numbered)
        pointer = role is Role.TOKENIZER and size in POINTER_SIZES
        return (read(path, 0, size) or None) if (telling or pointer) and size <= LARGEST_SMALL_BYTES else None

    return describe(by_path.values(), read_small, read, subject=subject, most_headers=0)


_TELLING: Final = frozenset({"adapter_config.json", "model_index.json", "modules.json"})
"""What is read before it is fetched; few models have any of them, and each costs a request."""


def subject_of(resolved: "ResolvedRevision", revision: str | None) -> Subject:
    """Return what a hub says of a model besides its files."""
    return Subject(
        repo=resolved.repo,
        revision=revision,
        task=resolved.pipeline_tag,
        library=resolved.library_name,
        license=resolved.license,
    )


def check_asked(hub: "RepositoryClient", repo: str, selection: Selection, facts: ModelFacts) -> None:
    """Raise where the quantization that was asked for is said neither by a name nor by the content."""
    asked = quantization_label(selection.unproven or "")
    if selection.unproven is None or asked is None:
        return
    held = facts.quantization
    details = facts.detection.details.get("compact")
    said = [label for label in (details, held, *facts.detection.labels) if isinstance(label, str)]
    if any(agrees(asked, label) for label in said) or (held is None and asked in _PRECISIONS):
        return
    raise unproven_quantization(selection, held=held, branches=_branches(hub, repo, asked, selection.unproven))


def _branches(hub: "RepositoryClient", repo: str, label: str, asked: str) -> list[str]:
    try:
        names = hub.branches(repo)
    except LinkError:
        return []
    wanted = asked.strip().lower()
    return [
        name
        for name in names
        if name.lower() == wanted or label in {found.label for found in find_quantizations(name.replace("/", "-"))}
    ]


def asked_for(request: SelectionRequest, path: str | None, files: Sequence[RemoteFile]) -> SelectionRequest:
    """Return a request for the file or the folder that a URL pointed at, with what belongs to it."""
    if path is None:
        return request
    if path in {file.path for file in files}:
        part = next(part for file in files if file.path == path for part in [read_part(file, frozenset())])
        if part is None:
            return replace(request, include=(*request.include, path))
        return _naming(request, part, files)
    if any(file.path.startswith(f"{path}/") for file in files):
        return replace(request, subfolder=path)
    near = near_words(path, [file.path for file in files][:_MOST_COMPARED], count=3, cutoff=0.4)
    raise SelectionError(
        f"the repository has neither a file nor a folder {path!r}",
        remedy=f"Near misses: {', '.join(near)}." if near else "Open its page and copy the address of the file.",
        reason="no-matching-files",
    )


def _naming(request: SelectionRequest, part: Component, files: Sequence[RemoteFile]) -> SelectionRequest:
    """Return a request for one file of weights with all its shards, by its quantization where that says it all."""
    paths = frozenset(file.path for file in files)
    every = [other for file in files if (other := read_part(file, paths)) is not None]
    own = next(one for one in weight_sets(every) if any(other.path == part.path for other in one.parts))
    names = tuple(other.path for other in own.parts)
    if part.container is Container.GGUF and part.says.quantization and request.quantization is None:
        labelled = replace(request, format=Container.GGUF.value, quantization=part.says.quantization)
        try:
            chosen = {file.path for file in select(files, labelled).files}
        except SelectionError:
            chosen = set()
        if chosen & {other.path for other in every if other.says.role is Role.WEIGHTS} == set(names):
            return replace(labelled, format=request.format)
    return replace(request, weights=names)
