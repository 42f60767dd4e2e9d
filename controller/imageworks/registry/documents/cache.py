"""A cache of documents that were parsed and found valid, by git blob id: what cannot change is not looked at twice."""

import hashlib
import json
import os
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import chain, dropwhile, islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple
from zlib import crc32

from imageworks import __version__
from imageworks.foundation.json_values import with_shared_parts
from imageworks.foundation.plain_files import open_plain_file
from imageworks.foundation.private_files import ForeignFolderError, make_private_folder
from imageworks.registry.documents.schema_files import schema_dir

_GATE_FILES: Final = (
    "documents/yaml_reader.py",
    "documents/schema.py",
    "documents/schema_shortcut.py",
    "validate.py",
    "cross_checks.py",
    "entries/entry.py",
    "entries/packed.py",
)
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imageworks.registry.documents.document import JsonValue

LARGEST_BYTES: Final = 512 << 20
"""Of the whole cache; 10,000 models have 28 MB."""
DOCUMENTS_A_LINE: Final = 256
_UNUSABLE: Final = (OSError, ValueError, TypeError, RecursionError)
_SCHEMAS: Final = ("manifest.schema.json", "registry.schema.json")


class KeptText(NamedTuple):
    """A document that is kept as its text.

    Args:
        summary: What is asked of it most.
        text: Its bytes, packed by whoever reads them.
    """

    summary: "JsonValue"
    text: bytes


class ParsedDocuments:
    """Values of valid manifests and settings, and texts of entries, by blob id, in one file of the cache folder.

    Args:
        file: Where they are kept.
        host: Whose entries are kept; everybody's when absent. Of fifty hosts they would fill the memory.
        kept: Whether any are: who looks at one host after the other, and writes nothing, lets them go.
        texts_alone: Whether entries are read for what they say alone, of one host after the other, and nobody's kept.
    """

    def __init__(self, file: Path, *, host: str | None = None, kept: bool = True, texts_alone: bool = False) -> None:
        self._file = file
        self._host = host
        self._kept = kept and not texts_alone
        self.texts_alone = texts_alone
        self.in_memory: dict[str, object] = {}
        self.read_last: tuple[object, object] = (None, None)
        self._used: dict[str, JsonValue | KeptText] = {}
        self._let_go = False
        self._outdated = False

    def get(self, blob: str) -> "JsonValue":
        """Return the value of a valid document, or ``None`` when it is not known."""
        value = self._used.get(blob) or self._values.get(blob)
        if value is None or isinstance(value, KeptText):
            return None
        self._used[blob] = value
        return value

    def text(self, blob: str) -> KeptText | None:
        """Return a valid document as its text, or ``None`` when it is not known."""
        value = self._texts.get(blob) or self._used.get(blob)
        if not isinstance(value, KeptText):
            return None
        self._used[blob] = value
        return value

    def keeps(self, host: str) -> bool:
        """Return whether a host's entries are kept."""
        return self._kept and self._host in {None, host}

    def for_texts(self) -> "ParsedDocuments":
        """Return the same, for who asks of entries what they say alone."""
        return ParsedDocuments(self._file, host=self._host, texts_alone=True)

    def keep_entries(self, entries: object) -> None:
        """Let go of those that were read last all but some."""
        key, read = self.read_last
        if isinstance(read, tuple):
            self.read_last = (key, (entries, *read[1:]))

    def put(self, blob: str, value: "JsonValue | KeptText") -> None:
        """Remember a valid document."""
        self._used[blob] = value

    def let_go(self) -> None:
        """Keep no documents in the memory: who still works with one has it, and who asks for another reads the file.

        Settings and what else is small stay, for they are asked for each time that a registry is read.
        """
        self._let_go = True
        self._used = {key: value for key, value in self._used.items() if ":" in key and not isinstance(value, KeptText)}
        for read in ("_values", "_texts"):
            vars(self).pop(read, None)

    def let_unused_go(self) -> None:
        """Keep in the memory no more of the file than was asked for: an earlier commit's may be as much again."""
        for name in ("_values", "_texts"):
            read = vars(self).get(name, {})
            used = {key: value for key, value in read.items() if key in self._used}
            if len(used) < len(read):
                vars(self)[name] = used
                self._outdated = True

    def save(self) -> None:
        """Write what was used, when it is not what was read; a cache that cannot be written is none."""
        if not self._let_go and (self._outdated or self._used.keys() != self._values.keys() | self._texts.keys()):
            self._write(self._lines())

    def replace_values(self, values: "Iterator[tuple[str, JsonValue]]") -> None:
        """Write others than the file has, with its texts, which nobody reads for that: also what let them go may."""
        self._write(self._with_texts(values))

    def _write(self, lines: "Iterator[bytes]") -> None:
        import tempfile

        with suppress(OSError, ForeignFolderError):
            make_private_folder(self._file.parent, top=self._file.parent.parent)
            descriptor, draft = tempfile.mkstemp(dir=self._file.parent, prefix=self._file.name)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.writelines(lines)
                Path(draft).replace(self._file)
            except OSError:
                Path(draft).unlink(missing_ok=True)

    @cached_property
    def _format(self) -> str:
        return _rules_fingerprint()

    @cached_property
    def _values(self) -> "Mapping[str, JsonValue]":
        """What the file holds as values; those who ask for no more do without all that follows them."""
        documents: dict[str, JsonValue] = {}
        try:
            # Its documents were read with bounds before they were kept: a second look at their depth is half the time.
            with self._opened() as stream:
                for line in takewhile(_holds_values, stream):
                    documents |= {key: with_shared_parts(value) for key, value in json.loads(line).items()}
        except _UNUSABLE:
            return {}
        return documents

    @cached_property
    def _texts(self) -> "Mapping[str, KeptText]":
        """What the file holds as texts."""
        documents: dict[str, KeptText] = {}
        try:
            with self._opened() as stream:
                for line in dropwhile(_holds_values, iter(stream.readline, b"")):
                    summaries, checksum = json.loads(line)
                    texts = stream.read(sum(size for _, size, _ in summaries))
                    if crc32(texts) != checksum:
                        return {}  # texts are parsed long after this, where nobody expects them broken
                    place = 0
                    for key, size, summary in summaries:
                        documents[key] = KeptText(summary, texts[place : place + size])
                        place += size
        except _UNUSABLE:
            return {}
        return documents

    @contextmanager
    def _opened(self) -> "Iterator[BinaryIO]":
        """Yield the file at where what it keeps begins; it is read in pieces, as the whole would stay in the memory."""
        with open_plain_file(self._file) as stream:
            if os.fstat(stream.fileno()).st_size > LARGEST_BYTES or json.loads(stream.readline()) != self._format:
                raise ValueError(self._file)
            yield stream

    def _used_values(self) -> "Iterator[tuple[str, JsonValue]]":
        return ((key, value) for key, value in self._used.items() if not isinstance(value, KeptText))

    def _lines_of(self, values: "Iterator[tuple[str, JsonValue]]") -> "Iterator[bytes]":
        yield json.dumps(self._format).encode() + b"\n"
        while some := dict(islice(values, DOCUMENTS_A_LINE)):
            yield json.dumps(some, separators=(",", ":")).encode() + b"\n"

    def _with_texts(self, values: "Iterator[tuple[str, JsonValue]]") -> "Iterator[bytes]":
        """Yield values as the file holds them, and what follows its own as it stands there."""
        yield from self._lines_of(chain(self._used_values(), values))
        with suppress(*_UNUSABLE), self._opened() as stream:
            yield from dropwhile(_holds_values, iter(stream.readline, b""))

    def _lines(self) -> "Iterator[bytes]":
        """Yield the file in pieces: written or read at once, its text would take as much memory as its documents.

        Some values a line; then some summaries a line, each followed by the texts that they are of.
        """
        yield from self._lines_of(self._used_values())
        kept = ((key, value) for key, value in self._used.items() if isinstance(value, KeptText))
        while few := list(islice(kept, DOCUMENTS_A_LINE)):
            summaries = [(key, len(one.text), one.summary) for key, one in few]
            texts = b"".join(one.text for _, one in few)
            yield json.dumps([summaries, crc32(texts)], separators=(",", ":")).encode() + b"\n" + texts


def _holds_values(line: bytes) -> bool:
    return line.startswith(b"{")


def _rules_fingerprint() -> str:
    """Return a digest of everything that decides whether a document is valid, so that new rules empty the cache."""
    digest = hashlib.sha256(__version__.encode())
    for name in _SCHEMAS:
        digest.update((schema_dir() / name).read_bytes())
    for name in _GATE_FILES:
        digest.update((Path(__file__).parents[1] / name).read_bytes())
    return digest.hexdigest()


def cache_file(cache_dir: Path, registry: Path) -> Path:
    """Return where a registry's parsed documents are kept."""
    return cache_dir / "manifests" / f"{registry_key(registry)}.json"


def registry_key(registry: Path) -> str:
    """Return what names a registry in this host's own folders, so that two registries never mix there."""
    return hashlib.sha256(os.fsencode(registry.resolve())).hexdigest()[:16]
