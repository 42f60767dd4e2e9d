"""Read the predecessor's ``configs/``: which files count, when they were written, and what is wrong in them."""

import hashlib
import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Final

from imageworks.migration.model import LegacyFile, LegacyFolder, LegacyLayer, MigrationError, Record
from imageworks.registry.documents.diagnostic import Diagnostic, at, from_error, whole_file
from imageworks.registry.documents.document import Document, DocumentError, JsonValue
from imageworks.registry.documents.json_reader import MAX_BYTES, parse_json

_FILE: Final = re.compile(r"model_registry(?:\.(?P<layer>curated|discovered))?(?P<rest>\..*)?\.json", re.IGNORECASE)
_BACKUP: Final = re.compile(r"(?:^|\.)(?:bak|backup)(?:\.|$)", re.IGNORECASE)
_STAMP: Final = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?:[-_T.]?(\d\d)[-:]?(\d\d)[-:]?(\d\d))?(?!\d)")
_REMEDY: Final = "correct it, or move it out of the folder"
MAX_RECORD_BYTES: Final = 2 * 1024 * 1024  # half of what an entry may be, for what is added to it
MAX_NAME: Final = 1000


def read_folder(folder: Path) -> LegacyFolder:
    """Return what the predecessor left in a folder."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise MigrationError(
            f"{folder}: {error.strerror or error}", remedy="Name the predecessor's configs/."
        ) from None
    files: list[LegacyFile] = []
    passed: list[tuple[str, str]] = []
    problems: list[Diagnostic] = []
    unreadable: list[Diagnostic] = []
    known: dict[bytes, Record] = {}
    for name in reversed(names):  # the merged snapshot first: few models of its layers are others, and need no room
        kind = _kind(name)
        if isinstance(kind, str):
            passed.append((name, kind))
        elif kind is not None:
            layer, backup = kind
            read, wrong = _read(folder / name, layer, known, backup=backup)
            if read is not None:
                files.append(read)
            if not backup:
                problems += wrong
                continue
            # A backup is an earlier state: what is wrong in it stops neither the others nor what is valid now.
            passed += [(name, f"{one.line}:{one.column}: {one.message}") for one in wrong]
            unreadable += wrong if read is None else []
    if problems or (not files and unreadable):
        raise MigrationError(
            "", sorted(problems or unreadable), remedy="Nothing was written. Correct each, or move the file away."
        )
    if not files:
        raise MigrationError(
            f"{folder}: holds no model_registry*.json", remedy="Name the predecessor's configs/ folder."
        )
    return LegacyFolder(tuple(sorted(files, key=_order)), tuple(sorted(passed, key=itemgetter(0))))


def read_file(path: Path) -> tuple[LegacyFile, tuple[str, ...]]:
    """Return one file of the predecessor, whatever it is called, and what in it is passed over."""
    read, wrong = _read(path, LegacyLayer.DISCOVERED, {}, backup=True)
    if read is None:
        raise MigrationError("", sorted(wrong), remedy="Name a model_registry*.json of the predecessor.")
    return read, tuple(one.render() for one in wrong)


def _order(file: LegacyFile) -> tuple[bool, datetime, int, str]:
    return (not file.backup, file.when, list(LegacyLayer).index(file.layer), file.name)


def _kind(name: str) -> tuple[LegacyLayer, bool] | str | None:
    """Return a file's layer and whether it is a backup; or why it is passed over, if that is worth telling."""
    match = _FILE.fullmatch(name)
    if match is None:
        related = name.lower().startswith("model_registry") or _BACKUP.search(name.lower().removesuffix(".json"))
        return "not a name that the predecessor gave a registry" if related else None
    layer = LegacyLayer((match["layer"] or LegacyLayer.SNAPSHOT).lower())
    rest = match["rest"]
    if rest is None:
        return layer, False
    if _BACKUP.search(rest):
        return layer, True
    return "neither a layer of the registry nor a backup of one"


def _read(
    path: Path, layer: LegacyLayer, known: dict[bytes, Record], *, backup: bool
) -> tuple[LegacyFile | None, list[Diagnostic]]:
    """Return a file with the models in it that can be used, and what is wrong; no file where nothing can be used."""
    try:
        status = path.stat()
        if not path.is_file():
            return None, [whole_file(str(path), "not a file", _REMEDY)]
        if status.st_size > MAX_BYTES:
            what = f"the file is {status.st_size} bytes long; at most {MAX_BYTES} are allowed"
            return None, [whole_file(str(path), what, _REMEDY)]
        data = path.read_bytes()
    except OSError as error:
        return None, [whole_file(str(path), error.strerror or str(error), _REMEDY)]
    try:
        document = parse_json(data.removeprefix(BOM_UTF8), str(path))  # an editor of Windows may have written it
    except DocumentError as error:
        return None, [from_error(error)]
    if not isinstance(document.value, list):
        return None, [at(document, (), "not a list of models", _REMEDY)]
    records: dict[str, Record] = {}
    problems = list(_check(document, document.value, records, known))
    if problems and not records:
        return None, problems
    stamped = _stamp(path.name)
    file = LegacyFile(
        name=path.name,
        layer=layer,
        sha256=hashlib.sha256(data).hexdigest(),
        when=stamped or datetime.fromtimestamp(int(status.st_mtime), UTC),
        dated_by="name" if stamped else "mtime",
        backup=backup,
        records=tuple(records.values()),
    )
    return file, problems


def _check(
    document: Document, models: Sequence[JsonValue], records: dict[str, Record], known: dict[bytes, Record]
) -> Iterator[Diagnostic]:
    """Yield what is wrong with a file's models; the good ones are added, of two with one name the last.

    One that another file has letter by letter, ``known`` by its digest, is not kept twice.
    """
    seen: dict[str, int] = {}
    document = document.located((index,) for index in range(len(models)))  # one look, however much is wrong
    for index, fields in enumerate(models):
        if not isinstance(fields, dict):
            yield at(document, (index,), "not a model: a mapping of fields was expected", _REMEDY)
            continue
        name = fields.get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME:
            yield at(document, (index,), f"a model needs a name of at most {MAX_NAME} characters", _REMEDY)
            continue
        text, problem = _text(fields)
        if problem:
            yield at(document, (index,), f"{name[:100]!a} {problem}", _REMEDY)
            continue
        if name in seen:
            first = document.locate((seen[name],)).line
            what = f"{name[:100]!a} stands here twice, first in line {first}; the last one counts in a backup"
            yield at(document, (index,), what, _REMEDY)
        seen[name] = index
        records[name] = known.setdefault(hashlib.sha256(text.encode()).digest(), Record(name, fields))


def _text(fields: object) -> tuple[str, str | None]:
    """Return a model's text, and why it is too much."""
    try:
        text = json.dumps(fields, allow_nan=False)
    except ValueError:
        return "", "holds a number that is too large"
    size = len(text)
    return text, f"is {size} bytes long; at most {MAX_RECORD_BYTES} are allowed" if size > MAX_RECORD_BYTES else None


def _stamp(name: str) -> datetime | None:
    """Return the date in a file's name.

    Read as UTC: the stamps that the predecessor wrote are those of the UTC times in the same files, and so the same
    folder gives the same commits on every machine.
    """
    for match in _STAMP.finditer(name):
        parts = [int(part) for part in match.groups() if part is not None]
        try:
            return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc] # three or six numbers
        except ValueError:
            continue
    return None
