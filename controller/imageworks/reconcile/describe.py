"""The second pass: look at verified files and say what the model is, in an entry's own fields."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from imageworks.detect.facts import ModelFacts, Subject
from imageworks.detect.local import describe_files
from imageworks.detect.pickles import HEAD_BYTES
from imageworks.reconcile.situation import Upstream
from imageworks.registry.entry import ArtifactFile


def describe(folder: Path, files: Iterable[ArtifactFile], upstream: Upstream) -> Mapping[str, object]:
    """Return what verified files say of their model, by an entry's own keys.

    Args:
        folder: Where the files stand.
        files: The verified files.
        upstream: What the source says of the model.
    """
    return look_at(folder, files, upstream).entry_fields()


def look_at(folder: Path, files: Iterable[ArtifactFile], upstream: Upstream) -> ModelFacts:
    """Return what files are; configs, headers and first bytes are read, weights are not.

    Args:
        folder: Where the files stand.
        files: Their paths and sizes.
        upstream: What is known of the model besides.
    """
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
