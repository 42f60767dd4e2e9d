"""The files that a manifest names, each with its address and its digest. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from imageworks.files.artifact import LinkError
from imageworks.files.safe_names import check_names
from imageworks.registry.manifests.manifest import Manifest, OtherSource


@dataclass(frozen=True, slots=True)
class AddressedFile:
    """One file that a manifest names.

    Args:
        url: Its address, ``https:`` or ``file:``.
        sha256: What its content must hash to.
        path: Its path below the model's folder.
    """

    url: str
    sha256: str
    path: str


def named_files(manifest: Manifest) -> tuple[AddressedFile, ...]:
    """Return the files that a manifest names, in their order."""
    if not isinstance(manifest.source, OtherSource):
        return ()
    fields = manifest.source.fields
    rows = fields.get("files")
    listed = tuple(_named(row, manifest.file) for row in (_rows(rows) if isinstance(rows, list) else (fields,)))
    check_names(file.path for file in listed)
    return listed


def _rows(rows: Iterable[object]) -> Iterable[Mapping[str, object]]:
    return (row for row in rows if isinstance(row, Mapping))


def _named(row: Mapping[str, object], file: str) -> AddressedFile:
    url = str(row["url"])
    try:
        path = str(row.get("path") or unquote(urlsplit(url).path.rpartition("/")[2]))
    except ValueError as error:
        raise LinkError(f"{file}: {url} is no address: {error}", reason="invalid-manifest") from None
    if not path:
        raise LinkError(
            f"{file}: {url.partition('?')[0]} ends in no file name",
            remedy="give the file's name as `path`",
            reason="invalid-manifest",
        )
    return AddressedFile(url, str(row["sha256"]).lower(), path)
