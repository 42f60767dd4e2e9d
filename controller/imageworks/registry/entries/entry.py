"""An entry as a value: what the controller found and did for one model on one host."""

import hashlib
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.json_values import indented, shared, text
from imageworks.registry.documents.git_leftovers import (
    CONFLICT,
    CONFLICT_REMEDY,
    LFS_POINTER,
    POINTER,
    POINTER_REMEDY,
    conflict_line,
)
from imageworks.registry.entries.packed import SET_ASIDE, PackedFields, PackedObject, as_text

FOLDER: Final = "discovered"
SUFFIX: Final = ".json"
STORE_PROVIDERS: Final = frozenset({"ollama"})
"""Providers that keep the bytes of models in a store of their own program, which alone changes it."""
NOTED: Final = STORE_PROVIDERS | {"acquisition", "selection", "single_file", "source_path", "source_repo"}
"""What a plan asks of each entry's metadata, whatever is to be done."""
LARGEST_BYTES: Final = 4 * 1024 * 1024
TOO_LARGE: Final = "the entry is larger than 4 MiB"
"""What no entry is: it lists each file of a model, and no loader takes a model of so many."""


def take_out(name: str) -> str:
    """Return how the record of a model is taken out that nobody can read."""
    return f"`imageworks-models remove {shlex.quote(name)} --purge` takes the record out; its files stay"


def bring_back(file: str) -> str:
    """Return the git command that brings back what a file was before the last commit that changed it."""
    quoted = shlex.quote(file)
    return f"git checkout $(git log -1 --skip=1 --format=%h -- {quoted}) -- {quoted}"


class InvalidEntryError(ImageworksError):
    """An entry's file cannot be used; it names the file and what is wrong in it."""

    def __init__(self, file: str, problem: str, remedy: str = "") -> None:
        back = f"Only the controller writes entries: restore it with `{bring_back(file)}` and commit."
        super().__init__(f"{file}: {problem}", remedy=remedy or back)
        self.file = file
        self.problem = problem


class TooLargeEntryError(ImageworksError):
    """An entry would be larger than any that is read."""

    reason = "invalid-entry"

    def __init__(self, name: str, files: int) -> None:
        super().__init__(
            f"{name}: has {files:,} files; an entry that lists them would be larger than 4 MiB, which nothing reads",
            remedy="Leave files out (`exclude` in its manifest), or name the folder of a single model.",
        )


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
    noted: Mapping[str, object] = field(init=False, compare=False, repr=False)
    """What its metadata says of `NOTED`, where it says that; else perhaps more."""

    def __post_init__(self) -> None:
        if type(self.fields) is PackedObject:  # kept for what it says alone: nobody asks where its files are
            object.__setattr__(self, "path", None)
            object.__setattr__(self, "noted", {})
            return
        # Once for each entry: a plan asks for it a dozen times, and making a Path costs 12 microseconds.
        value = self.text("download_path")
        object.__setattr__(self, "path", Path(value) if value and value.startswith("/") else None)
        noted = self.fields.noted if isinstance(self.fields, PackedFields) else self.part("metadata")
        object.__setattr__(self, "noted", noted)

    def text(self, key: str) -> str | None:
        """Return a text field, or ``None`` when it is absent."""
        value = self.fields.get(key)
        return value if isinstance(value, str) else None

    def part(self, key: str) -> Mapping[str, object]:
        """Return an object field, empty when it is absent."""
        value = self.fields.get(key)
        return value if isinstance(value, dict) or isinstance(value, Mapping) else {}  # noqa: SIM101 # in this order

    @property
    def managed(self) -> bool:
        """Whether a manifest stands behind it."""
        return self.fields.get("managed") is True

    @property
    def base(self) -> Path:
        """The folder that the files' relative paths start from; a single file's is its parent."""
        if self.path is None:
            raise ValueError(f"{self.name} has no files")
        single = len(self.files) == 1 and self.noted.get("single_file") is True
        return self.path.parent if single else self.path

    @property
    def revision(self) -> str | None:
        """The commit that was installed."""
        return text(self.part("resolved"), "revision")

    @property
    def ref(self) -> str | None:
        """The branch, tag or commit that was asked for at install."""
        return text(self.part("resolved"), "ref")

    @property
    def repo(self) -> str | None:
        """The repository that it came from."""
        return text(self.part("resolved"), "repo")

    @property
    def installed_by_us(self) -> bool:
        """Whether the controller put the bytes there, rather than finding them."""
        return self.noted.get("acquisition") == "installed"

    @property
    def selection(self) -> Mapping[str, object]:
        """What had decided which files were wanted."""
        value = self.noted.get("selection")
        return value if isinstance(value, Mapping) else {}

    @property
    def size(self) -> int:
        """Bytes of all verified files."""
        return sum(file.size for file in self.files)


def has_files(entry: Entry | None) -> bool:
    """Return whether an entry records bytes on disk."""
    return entry is not None and bool(entry.files) and entry.path is not None


def is_in_store(entry: Entry | None) -> bool:
    """Return whether an entry's bytes are in another program's store, which only that program changes."""
    return entry is not None and entry.fields.get("source_provider") in STORE_PROVIDERS


def stands_in_store(entry: Entry | None) -> bool:
    """Return whether an entry records that a model is in another program's store."""
    return entry is not None and is_in_store(entry) and entry.text("download_path") is not None


def aggregate_sha256(files: Iterable[ArtifactFile]) -> str:
    """Return one digest for a set of files: sha256 of the sorted lines ``<sha256>  <relative path>``."""
    lines = sorted(f"{file.sha256}  {file.path}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def directory_checksum(files: Iterable[ArtifactFile]) -> str:
    """Return 16 hex digits over relative paths and sizes: a quick sign that something changed, not a proof."""
    lines = sorted(f"{file.path}:{file.size}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def is_too_many(paths: Collection[str]) -> bool:
    """Return whether an entry that lists these files would surely be too large."""
    return sum(2 * len(path.encode()) + _BYTES_A_FILE for path in paths) > LARGEST_BYTES


_BYTES_A_FILE: Final = 150
"""What an entry says of a file besides its path, twice."""


def entry_file(host: str, name: str) -> str:
    """Return an entry's path within the registry."""
    return f"{FOLDER}/{host}/{name}{SUFFIX}"


def read_entry(file: str, data: bytes) -> Entry:
    """Return the entry in a file's bytes, having checked what the controller will act on."""
    if len(data) > LARGEST_BYTES:
        raise InvalidEntryError(file, TOO_LARGE, take_out(file.rpartition("/")[2].removesuffix(SUFFIX)))
    if data.startswith(LFS_POINTER):
        raise InvalidEntryError(file, POINTER, POINTER_REMEDY)
    if (line := conflict_line(data)) is not None:
        raise InvalidEntryError(file, f"{CONFLICT} (line {line})", CONFLICT_REMEDY)
    try:
        fields = read_json(data)
    except ValueError as error:
        raise InvalidEntryError(file, f"not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidEntryError(file, "not a JSON object")
    base, name = file.rpartition("/")[2], fields.get("name")
    stem = base.removesuffix(SUFFIX) or base
    if name != stem or not isinstance(name, str):
        raise InvalidEntryError(file, f"its name is {name!r}, not {stem!r} as its file says")
    place = fields.get("download_path")
    if isinstance(place, str) and place.startswith("/") and _unusable(place[1:]):
        raise InvalidEntryError(file, f"download_path is not a plain absolute path: {place!a}")
    return Entry(name=name, fields=fields, files=_files(file, fields))


def pack(fields: Mapping[str, object], text: bytes) -> PackedFields:
    """Return an entry's fields as their text, which may be packed."""
    metadata = fields.get("metadata")
    noted = {key: value for key, value in metadata.items() if key in NOTED} if isinstance(metadata, Mapping) else {}
    aside = {key: fields[key] for key in SET_ASIDE if key in fields}
    return PackedFields(text, shared(aside), shared(noted))


def packed_entry(entry: Entry, text: bytes) -> Entry:
    """Return an entry that was read from a text, with its fields as that text."""
    return Entry(entry.name, pack(entry.fields, text), entry.files)


def as_packed(entry: Entry) -> Entry:
    """Return an entry with its fields as their text, for who keeps many that were made and not read."""
    return packed_entry(entry, as_text(entry.fields).packed)


def parts_of(entry: Entry) -> tuple[list[object], bytes]:
    """Return what a plan asks of a packed entry, as JSON values with its files in one row, and the packed text."""
    fields = entry.fields
    if not isinstance(fields, PackedFields):
        raise TypeError(entry.name)
    return [fields.aside, fields.noted, [value for file in entry.files for value in file]], fields.packed


def entry_of_parts(summary: Sequence[Any], packed: bytes) -> Entry:
    """Return the entry that :func:`parts_of` took apart."""
    aside, noted, listed = summary
    files = tuple(map(ArtifactFile, map(sys.intern, listed[::3]), listed[1::3], listed[2::3]))
    return Entry(aside["name"], PackedFields(packed, aside, noted), files)


def known_entry(fields: Mapping[str, object]) -> Entry:
    """Return the entry of fields that :func:`read_entry` has accepted before."""
    artifacts = cast("Mapping[str, object]", fields.get("artifacts") or {})
    listed = cast("list[Mapping[str, Any]]", artifacts.get("files") or [])
    files = tuple([ArtifactFile(item["path"], item["size"], item["sha256"]) for item in listed])
    return Entry(name=str(fields["name"]), fields=fields, files=files)


def _unusable(path: str) -> bool:
    """Whether a path is not as the controller writes it: empty or dotted parts, or what no file system takes.

    One folder is to have one spelling, or what another model owns in it would not be recognised.
    """
    if "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        return True
    return not path.isascii() and any("\ud800" <= character <= "\udfff" for character in path)


def has_recorded_files(file: str, data: bytes | None) -> bool:
    """Return whether the bytes of an entry's file record files on its host; what cannot be read may."""
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
        files.append(ArtifactFile(sys.intern(path), size, digest))  # ten thousand models have a config.json each
    return tuple(files)


def render_entry(fields: Mapping[str, object]) -> bytes:
    """Return an entry's bytes: sorted, indented JSON, so that a diff shows one line a field."""
    data = f"{indented(dict(fields))}\n".encode()
    if len(data) > LARGEST_BYTES:
        names = fields.get("download_files")
        raise TooLargeEntryError(str(fields.get("name")), len(names) if isinstance(names, list) else 0)
    return data
