"""The second pass: look at verified files and say what the model is, in an entry's own fields."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from imageworks.detect.describe import describe as describe_files
from imageworks.detect.facts import ModelFacts, Subject
from imageworks.detect.pickles import HEAD_BYTES
from imageworks.reconcile.situation import Upstream
from imageworks.registry.entry import ArtifactFile

MOST_HEADERS = 64
LARGEST_READ_BYTES = 16 * 1024 * 1024


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
    listed = list(files)
    sizes = {file.path: file.size for file in listed}

    def read_small(path: str) -> bytes | None:
        if sizes.get(path, LARGEST_READ_BYTES + 1) > LARGEST_READ_BYTES:
            return None
        return (folder / path).read_bytes()

    def read_header(path: str, offset: int, length: int) -> bytes:
        with (folder / path).open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    heads = {}
    for path in sizes:
        with suppress(OSError):  # what cannot be read is judged by its name
            heads[path] = read_header(path, 0, HEAD_BYTES)
    ref = upstream.ref if upstream.ref not in {None, upstream.commit} else None
    subject = Subject(
        repo=upstream.repo or folder.name,
        revision=ref,
        task=upstream.pipeline_tag,
        license=upstream.license,
        fallback_container=upstream.container,
        fallback_quantization=upstream.quantization,
    )
    return describe_files(listed, read_small, read_header, subject=subject, most_headers=MOST_HEADERS, heads=heads)
