"""The second pass: look at verified files and say what the model is, in an entry's own fields."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from imageworks.detection.formats.pickles import HEAD_BYTES
from imageworks.detection.local_files import describe_files
from imageworks.detection.model_facts import ModelFacts, Subject
from imageworks.plan.facts import ResolvedSource
from imageworks.registry.entries.entry import ArtifactFile


def describe(folder: Path, files: Iterable[ArtifactFile], upstream: ResolvedSource) -> Mapping[str, object]:
    """Return what verified files say of their model, by an entry's own keys."""
    return look_at(folder, files, upstream).entry_fields()


def look_at(folder: Path, files: Iterable[ArtifactFile], upstream: ResolvedSource) -> ModelFacts:
    """Return what files are; configs, headers and first bytes are read, weights are not."""
    listed, heads = list(files), {}
    for file in listed:
        with suppress(OSError), (folder / file.path).open("rb") as stream:  # what cannot be read is judged by its name
            heads[file.path] = stream.read(HEAD_BYTES)
    ref = upstream.ref if upstream.ref not in {None, upstream.commit} else None
    subject = Subject(
        repo=upstream.repo or folder.name,
        revision=ref,
        task=upstream.pipeline_tag,
        library=upstream.library,
        license=upstream.license,
        fallback_container=upstream.container,
        fallback_quantization=upstream.quantization,
    )
    return describe_files(folder, listed, subject, heads=heads)
