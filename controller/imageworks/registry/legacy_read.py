"""Read the predecessor's ``configs/``: which files count, when they were written, and what is wrong in them."""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from imageworks.registry.diagnostic import Diagnostic, at, from_error, whole_file
from imageworks.registry.document import Document, DocumentError
from imageworks.registry.json_gate import MAX_BYTES, parse_json
from imageworks.registry.legacy_values import Layer, LegacyFile, LegacyFolder, MigrationError, Record

_FILE: Final = re.compile(r"model_registry(?:\.(?P<layer>curated|discovered))?(?P<rest>\..*)?\.json", re.IGNORECASE)
_BACKUP: Final = re.compile(r"(?:^|\.)(?:bak|backup)(?:\.|$)", re.IGNORECASE)
_STAMP: Final = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?:[-_T.]?(\d\d)[-:]?(\d\d)[-:]?(\d\d))?(?!\d)")
_REMEDY: Final = "correct it, or move it out of the folder"
MAX_RECORD_BYTES: Final = 2 * 1024 * 1024  # half of what an entry may be, for what is added to it
MAX_NAME: Final = 1000


def read_folder(folder: Path) -> LegacyFolder:
    """Return what the predecessor left in a folder.

    Args:
        folder: Its ``configs/``, or any folder with its files.

    Raises:
        MigrationError: There is nothing of it, or something cannot be read; all that is wrong is told at once.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise MigrationError(
            f"{folder}: {error.strerror or error}", remedy="Name the predecessor's configs/."
        ) from None
    files: list[LegacyFile] = []
    passed: list[tuple[str, str]] = []
    problems: list[Diagnostic] = []
    for name in names:
        kind = _kind(name)
        if isinstance(kind, str):
            passed.append((name, kind))
        elif kind is not None:
            read = _read(folder / name, *kind)
            if isinstance(read, LegacyFile):
                files.append(read)
            else:
                problems.extend(read)
    if problems:
        raise MigrationError("", sorted(problems), remedy="Nothing was written. Correct each, or move the file away.")
    if not files:
        raise MigrationError(
            f"{folder}: holds no model_registry*.json", remedy="Name the predecessor's configs/ folder."
        )
    return LegacyFolder(tuple(sorted(files, key=_order)), tuple(passed))


def read_file(path: Path) -> LegacyFile:
    """Return one file of the predecessor, whatever it is called: a list of models.

    Args:
        path: The file.

    Raises:
        MigrationError: It cannot be read, or is no such list.
    """
    read = _read(path, Layer.DISCOVERED, backup=True)
    if isinstance(read, LegacyFile):
        return read
    raise MigrationError("", sorted(read), remedy="Name a model_registry*.json of the predecessor.")


def _order(file: LegacyFile) -> tuple[bool, datetime, int, str]:
    return (not file.backup, file.when, list(Layer).index(file.layer), file.name)


def _kind(name: str) -> tuple[Layer, bool] | str | None:
    """Return a file's layer and whether it is a backup; or why it is passed over, if that is worth telling."""
    match = _FILE.fullmatch(name)
    if match is None:
        related = name.lower().startswith("model_registry") or _BACKUP.search(name.lower().removesuffix(".json"))
        return "not a name that the predecessor gave a registry" if related else None
    layer = Layer((match["layer"] or Layer.SNAPSHOT).lower())
    rest = match["rest"]
    if rest is None:
        return layer, False
    if _BACKUP.search(rest):
        return layer, True
    return "neither a layer of the registry nor a backup of one"


def _read(path: Path, layer: Layer, backup: bool) -> LegacyFile | list[Diagnostic]:  # noqa: FBT001 # from `_kind`
    try:
        status = path.stat()
        if not path.is_file():
            return [whole_file(str(path), "not a file", _REMEDY)]
        if status.st_size > MAX_BYTES:
            what = f"the file is {status.st_size} bytes long; at most {MAX_BYTES} are allowed"
            return [whole_file(str(path), what, _REMEDY)]
        data = path.read_bytes()
    except OSError as error:
        return [whole_file(str(path), error.strerror or str(error), _REMEDY)]
    try:
        document = parse_json(data, str(path))
    except DocumentError as error:
        return [from_error(error)]
    records: list[Record] = []
    problems = list(_check(document, records))
    if problems:
        return problems
    stamped = _stamp(path.name)
    return LegacyFile(
        name=path.name,
        layer=layer,
        sha256=hashlib.sha256(data).hexdigest(),
        when=stamped or datetime.fromtimestamp(int(status.st_mtime), UTC),
        dated_by="name" if stamped else "mtime",
        backup=backup,
        records=tuple(records),
    )


def _check(document: Document, records: list[Record]) -> Iterator[Diagnostic]:
    """Yield what is wrong with a file's shape; its models are added to a list."""
    models = document.value
    if not isinstance(models, list):
        yield at(document, (), "not a list of models", _REMEDY)
        return
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
        if name in seen:
            first = document.locate((seen[name],)).line
            yield at(document, (index,), f"{name[:100]!a} stands here twice, first in line {first}", _REMEDY)
            continue
        seen[name] = index
        problem = _too_much(fields)
        if problem:
            yield at(document, (index,), f"{name[:100]!a} {problem}", _REMEDY)
        else:
            records.append(Record(name, fields))


def _too_much(fields: object) -> str | None:
    try:
        size = len(json.dumps(fields, allow_nan=False))
    except ValueError:
        return "holds a number that is too large"
    return f"is {size} bytes long; at most {MAX_RECORD_BYTES} are allowed" if size > MAX_RECORD_BYTES else None


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
