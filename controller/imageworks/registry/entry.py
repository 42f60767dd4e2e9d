"""An entry as a value: what the controller found and did for one model on one host."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, cast

from imageworks.errors import ImageworksError
from imageworks.foundation.json_reading import read_json

FOLDER: Final = "discovered"
SUFFIX: Final = ".json"


def bring_back(file: str) -> str:
    """Return the git command that brings back what a file was before the last commit that changed it.

    Args:
        file: Its path in the registry.
    """
    return f"git checkout $(git log -1 --skip=1 --format=%h -- {file}) -- {file}"


class InvalidEntryError(ImageworksError):
    """An entry's file cannot be used; it names the file and what is wrong in it."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(
            f"{file}: {problem}",
            remedy=f"Only the controller writes entries: restore it with `{bring_back(file)}` and commit.",
        )
        self.file = file
        self.problem = problem


class ArtifactFile(NamedTuple):
    """One file of a model as it was verified; a tuple, because a plan over 10,000 models builds 50,000 of them.

    Args:
        path: Relative path, ``/``-separated.
        size: Bytes.
        sha256: Lower-case hex digest of the content.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What is recorded of one model on one host.

    Args:
        name: The variant name, which is the file's stem.
        fields: The whole document as written.
        files: The verified files, sorted by path.
    """

    name: str
    fields: Mapping[str, object]
    files: tuple[ArtifactFile, ...] = ()
    path: Path | None = field(init=False, compare=False, repr=False)
    """The folder (or single file) of the model's bytes; ``None`` when it has none."""

    def __post_init__(self) -> None:
        # Once for each entry: a plan asks for it a dozen times, and making a Path costs 12 microseconds.
        value = self.text("download_path")
        object.__setattr__(self, "path", Path(value) if value and value.startswith("/") else None)

    def text(self, key: str) -> str | None:
        """Return a text field, or ``None`` when it is absent."""
        value = self.fields.get(key)
        return value if isinstance(value, str) else None

    def part(self, key: str) -> Mapping[str, object]:
        """Return an object field, empty when it is absent."""
        value = self.fields.get(key)
        return value if isinstance(value, Mapping) else {}

    @property
    def managed(self) -> bool:
        """Whether a manifest stands behind it."""
        return self.fields.get("managed") is True

    @property
    def base(self) -> Path:
        """The folder that the files' relative paths start from; a single file's is its parent."""
        if self.path is None:
            raise ValueError(f"{self.name} has no files")
        single = len(self.files) == 1 and self.part("metadata").get("single_file") is True
        return self.path.parent if single else self.path

    @property
    def revision(self) -> str | None:
        """The commit that was installed."""
        value = self.part("resolved").get("revision")
        return value if isinstance(value, str) else None

    @property
    def ref(self) -> str | None:
        """The branch, tag or commit that was asked for at install."""
        value = self.part("resolved").get("ref")
        return value if isinstance(value, str) else None

    @property
    def repo(self) -> str | None:
        """The repository that it came from."""
        value = self.part("resolved").get("repo")
        return value if isinstance(value, str) else None

    @property
    def installed_by_us(self) -> bool:
        """Whether the controller put the bytes there, rather than finding them."""
        return self.part("metadata").get("acquisition") == "installed"

    @property
    def selection(self) -> Mapping[str, object]:
        """What had decided which files were wanted."""
        value = self.part("metadata").get("selection")
        return value if isinstance(value, Mapping) else {}

    @property
    def size(self) -> int:
        """Bytes of all verified files."""
        return sum(file.size for file in self.files)


def aggregate_sha256(files: Iterable[ArtifactFile]) -> str:
    """Return one digest for a set of files: sha256 of the sorted lines ``<sha256>  <relative path>``."""
    lines = sorted(f"{file.sha256}  {file.path}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def directory_checksum(files: Iterable[ArtifactFile]) -> str:
    """Return 16 hex digits over relative paths and sizes: a quick sign that something changed, not a proof."""
    lines = sorted(f"{file.path}:{file.size}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def entry_file(host: str, name: str) -> str:
    """Return an entry's path within the registry."""
    return f"{FOLDER}/{host}/{name}{SUFFIX}"


def read_entry(file: str, data: bytes) -> Entry:
    """Return the entry in a file's bytes, having checked what the controller will act on.

    Args:
        file: The entry's path within the registry, for messages.
        data: The file's content.

    Raises:
        InvalidEntryError: It is not JSON, or a field that leads to files has the wrong form.
    """
    try:
        fields = read_json(data)
    except ValueError as error:
        raise InvalidEntryError(file, f"not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidEntryError(file, "not a JSON object")
    base = file.rpartition("/")[2]
    name = base.removesuffix(SUFFIX) or base
    if fields.get("name") != name:
        raise InvalidEntryError(file, f"its name is {fields.get('name')!r}, not {name!r} as its file says")
    place = fields.get("download_path")
    if isinstance(place, str) and place.startswith("/") and _unusable(place[1:]):
        raise InvalidEntryError(file, f"download_path is not a plain absolute path: {place!a}")
    return Entry(name=name, fields=fields, files=_files(file, fields))


def known_entry(fields: Mapping[str, object]) -> Entry:
    """Return the entry of fields that :func:`read_entry` has accepted before.

    Args:
        fields: The entry's fields.
    """
    artifacts = cast("Mapping[str, object]", fields.get("artifacts") or {})
    listed = cast("list[Mapping[str, object]]", artifacts.get("files") or [])
    files = tuple(ArtifactFile(str(item["path"]), cast("int", item["size"]), str(item["sha256"])) for item in listed)
    return Entry(name=str(fields["name"]), fields=fields, files=files)


def _unusable(path: str) -> bool:
    """Whether a path is not as the controller writes it: empty or dotted parts, or what no file system takes.

    One folder is to have one spelling, or what another model owns in it would not be recognised.
    """
    if "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        return True
    return not path.isascii() and any("\ud800" <= character <= "\udfff" for character in path)


def has_recorded_files(file: str, data: bytes | None) -> bool:
    """Return whether the bytes of an entry's file record files on its host; what cannot be read may.

    Args:
        file: The entry's path within the registry.
        data: The file's content; ``None`` when it is not plain.
    """
    if data is None:
        return True
    try:
        return bool(read_entry(file, data).files)
    except InvalidEntryError:
        return True


def _files(file: str, fields: Mapping[str, object]) -> tuple[ArtifactFile, ...]:
    artifacts = fields.get("artifacts")
    listed = artifacts.get("files") if isinstance(artifacts, Mapping) else None
    if not isinstance(listed, list):
        return ()
    files = []
    for item in listed:
        if not isinstance(item, Mapping):
            raise InvalidEntryError(file, "artifacts.files must hold objects")
        path, size, digest = item.get("path"), item.get("size"), item.get("sha256")
        if not (isinstance(path, str) and type(size) is int and isinstance(digest, str)) or size < 0:
            raise InvalidEntryError(file, "artifacts.files must hold path, size and sha256")
        if "\\" in path or _unusable(path):
            raise InvalidEntryError(file, f"artifacts.files does not lead into the model's folder: {path!a}")
        files.append(ArtifactFile(path, size, digest))
    return tuple(files)


def render_entry(fields: Mapping[str, object]) -> bytes:
    """Return an entry's bytes: sorted, indented JSON, so that a diff shows one line a field."""
    return (json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
