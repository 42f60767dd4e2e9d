"""Validate documents: each by itself, then all of them together; used by the command, by CI and by reconcile alike.

A document that is wrong blocks only itself. What is right with the others is returned beside what is wrong, so that the
caller can go on with them and still knows the names that a broken manifest holds.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple
from zlib import crc32

from imageworks.foundation.errors import ImageworksError
from imageworks.registry.cross_checks import (
    NONE_DECLARED,
    Declared,
    all_locations,
    check_modelfiles,
    check_names,
    check_previously,
    check_references,
    check_settings,
    check_targets,
    check_twins,
    declare,
)
from imageworks.registry.documents.diagnostic import Diagnostic, Refusal, at, from_error, from_problems, whole_file
from imageworks.registry.documents.document import Document, DocumentError
from imageworks.registry.documents.json_reader import parse_json
from imageworks.registry.documents.schema import (
    MAX_PROBLEMS,
    SCHEMA_FOLDER,
    SCHEMA_NAMES,
    SCHEMA_SUFFIX,
    check,
    schema_text,
)
from imageworks.registry.documents.yaml_reader import parse_yaml
from imageworks.registry.entries import entry as entries
from imageworks.registry.entries.merge import SNAPSHOT_FOLDER
from imageworks.registry.entries.packed import PackedObject
from imageworks.registry.find_registries import concerns_models, registry_of, repository_around
from imageworks.registry.manifests import manifest as manifests
from imageworks.registry.place_checks import check_manifest_places, check_settings_places
from imageworks.registry.reader import RegistryReader, WorkTreeReader, read_plain_file
from imageworks.registry.related import PartialReader, partial_reader
from imageworks.registry.settings import settings as registry_settings
from imageworks.registry.settings.licenses import contradiction
from imageworks.registry.settings.policies import check_policies
from imageworks.registry.special_files import check_bare, filter_notes

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._()-]{0,78}[A-Za-z0-9_)])?", re.ASCII)
_WINDOWS_NAMES: Final = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_MANY_REMEDY: Final = "mend these first, then validate again"
_NAME_REMEDY: Final = "use up to 80 letters, digits and `. _ - ( )`, starting with a letter or digit"


class CheckedDocument(NamedTuple):
    """One file after its own checks.

    Args:
        document: The parsed document; ``None`` when it is not usable.
        diagnostics: What is wrong in it.
    """

    document: Document | None
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Validation:
    """A registry after all checks.

    Args:
        settings: registry.yaml, when it is valid.
        manifests: The valid manifests, by model name.
        entries: Checksums of the valid entries, by host and model name; :func:`valid_entries` reads them once more.
        blocked: Names of models whose manifest is wrong, with what is wrong; such a model is not deleted, only broken.
        diagnostics: Everything that is wrong, sorted by place.
        files: How many files were looked at.
        notes: What is not wrong and should be known.
    """

    settings: Document | None = None
    manifests: Mapping[str, Declared] = field(default_factory=dict)
    entries: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    blocked: Mapping[str, tuple[Diagnostic, ...]] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    files: int = 0
    notes: tuple[str, ...] = ()


def is_manifest_path(path: str) -> bool:
    """Return whether a path within the registry is one that holds, or was meant to hold, a manifest."""
    # Text, not PurePosixPath: asked three times for each of ten thousand files, which made it a tenth of a dry run.
    inside = path.startswith(f"{manifests.FOLDER}/") and path.lower().endswith(manifests.SUFFIXES)
    return inside and not any(part.startswith(".") for part in path.split("/"))


def check_manifest(file: str, content: bytes | Refusal) -> CheckedDocument:
    """Check one manifest by itself; depends on nothing but its arguments, so the result may be cached by content."""
    if isinstance(content, Refusal):
        return CheckedDocument(None, (_refused(file, content),))
    if problem := name_problem(file):
        return CheckedDocument(None, (problem,))
    return _check_yaml(file, content, "manifest")


def check_settings_file(file: str, content: bytes | Refusal) -> CheckedDocument:
    """Check a registry.yaml by itself."""
    if isinstance(content, Refusal):
        return CheckedDocument(None, (_refused(file, content),))
    checked = _check_yaml(file, content, "registry")
    if checked.document is None:
        return checked
    problems = tuple(check_settings(checked.document))
    return CheckedDocument(None if problems else checked.document, problems)


def check_entry(file: str, content: bytes | Refusal) -> CheckedDocument:
    """Check one entry by itself."""
    if isinstance(content, bytes) and len(content) > entries.LARGEST_BYTES:
        return CheckedDocument(None, (whole_file(file, entries.TOO_LARGE, entries.take_out(PurePosixPath(file).stem)),))
    checked = _check_json(file, content, "entry")
    if checked.document is None or not isinstance(checked.document.value, dict):
        return checked
    stem, name = PurePosixPath(file).stem, checked.document.value.get("name")
    if name != stem:
        message = f'the name "{name}" is not that of the file, "{stem}"'
        return CheckedDocument(None, (at(checked.document, ("name",), message, "restore the file from git"),))
    return checked


class UnrecordableError(ImageworksError):
    """What was found of a model would make an entry that nobody could read again."""

    reason = "invalid-entry"


def check_recordable(entry: entries.Entry) -> None:
    """Raise unless an entry, read back from its own bytes, is valid (I2).

    What detection says comes out of strangers' files; what is wrong with it is not to be committed with the others.
    """
    for problem in check_entry(f"{entry.name}{entries.SUFFIX}", entries.render_entry(entry.fields)).diagnostics:
        raise UnrecordableError(
            f"{entry.name}: what was found of it cannot be recorded: {problem.message}",
            remedy="Look at its config.json and README.md: what they say is not what such files say.",
        )


def _check_yaml(file: str, content: bytes, schema: str) -> CheckedDocument:
    try:
        document = parse_yaml(content, file)
    except DocumentError as error:
        return CheckedDocument(None, (from_error(error),))
    return _check_schema(document, schema)


def _check_json(file: str, content: bytes | Refusal, schema: str) -> CheckedDocument:
    if isinstance(content, Refusal):
        return CheckedDocument(None, (_refused(file, content),))
    try:
        document = parse_json(content, file)
    except DocumentError as error:
        return CheckedDocument(None, (from_error(error),))
    return _check_schema(document, schema)


def _check_schema(document: Document, schema: str) -> CheckedDocument:
    problems = check(schema, document.value, written=document.written)
    if problems:
        found = from_problems(document, problems)
        if len(problems) >= MAX_PROBLEMS:
            found.append(whole_file(document.file, f"only {len(problems)} of its problems are shown", _MANY_REMEDY))
        return CheckedDocument(None, tuple(sorted(found)))
    return CheckedDocument(document)


def _refused(file: str, refusal: Refusal) -> Diagnostic:
    return whole_file(file, f"the file is {refusal.reason}", refusal.remedy)


def _bad_name(name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return f"the file name gives a model name that is not allowed: {name[:100]!r}"
    if _WINDOWS_NAMES.fullmatch(name):
        return f"the name {name!r} is reserved on Windows"
    return None


def validate_documents(
    checked: Mapping[str, CheckedDocument],
    settings: Document | None,
    hosts: Iterable[str],
    same: Mapping[str, Declared] = NONE_DECLARED,
) -> tuple[dict[str, Declared], dict[str, list[Diagnostic]]]:
    """Check manifests against each other; return the valid ones by name, and all problems by file.

    Of another commit's, ``same``, those that are of the same documents are taken.
    """
    problems: dict[str, list[Diagnostic]] = defaultdict(list)
    for file, one in checked.items():
        problems[file].extend(one.diagnostics)
    declared = [declare(one.document, same) for _file, one in sorted(checked.items()) if one.document is not None]
    for diagnostic in (
        *check_names(checked),
        *check_references(declared, settings, set(hosts)),
        *check_previously(declared, checked),
        *check_targets(declared, settings),
        *check_modelfiles(declared),
    ):
        problems[diagnostic.file].append(diagnostic)
    valid = {item.manifest.name: item for item in declared if not problems[item.manifest.file]}
    return valid, {file: sorted(set(found)) for file, found in problems.items() if found}


def validate_registry(
    reader: RegistryReader, *, entries_of: str | None = None, today: date | None = None
) -> Validation:
    """Validate a whole registry."""
    content = reader.file(registry_settings.FILE)
    if content is None:
        missing = whole_file(registry_settings.FILE, "the file is missing", "make it with `imageworks-models init`")
        own = CheckedDocument(None, (missing,))
    else:
        own = check_settings_file(registry_settings.FILE, content)
    checked, nested = _check_manifests(reader)
    folder = entries.FOLDER if entries_of is None else f"{entries.FOLDER}/{entries_of}"
    recorded = _check_entries(reader.files(folder))
    partial = reader if isinstance(reader, PartialReader) else None
    hosts = partial.hosts if partial is not None else recorded.valid
    valid, problems = validate_documents(checked, own.document, hosts)
    settings = own.document.value if own.document is not None else None
    policies = registry_settings.read_settings(settings if isinstance(settings, dict) else {}, "").policies
    policies = policies.on(today or datetime.now(UTC).date())
    root = reader.root if isinstance(reader, WorkTreeReader) else None
    diagnostics = [
        *own.diagnostics,
        *(check_settings_places(own.document, root) if own.document is not None else ()),
        *check_manifest_places(valid.values(), own.document, root),
        *nested,
        *check_policies(valid.values(), policies, recorded.licenses),
        *check_bare(reader),
        *check_twins(recorded.files),
        *(diagnostic for found in problems.values() for diagnostic in found),
        *recorded.diagnostics,
    ]
    return Validation(
        settings=own.document,
        manifests=valid,
        entries=recorded.valid,
        blocked={manifests.manifest_name(file): tuple(found) for file, found in sorted(problems.items())},
        diagnostics=tuple(sorted(diagnostics)),
        files=1 + len(checked) + len(nested) + len(recorded.files),
        notes=(
            *policies.told(),
            *policies.idle(partial.names if partial is not None else map(manifests.manifest_name, checked)),
            *_contradictions(valid.values(), recorded.licenses),
            *filter_notes(reader),
            *_other_schemas(reader),
        ),
    )


def _other_schemas(reader: RegistryReader) -> Iterator[str]:
    """Yield the schemas in a registry by which editors check its files, where they are not this program's."""
    for name in SCHEMA_NAMES:
        file = f"{SCHEMA_FOLDER}/{name}{SCHEMA_SUFFIX}"
        content = reader.file(file)
        if isinstance(content, bytes) and content.replace(b"\r\n", b"\n") != schema_text(name).encode():
            yield f"{file}: is of another version than this program; `imageworks-models init --refresh` renews it"


class _Recorded(NamedTuple):
    """What was found of the entries of a registry.

    Args:
        valid: Checksums of the valid ones, by host and model name.
        files: The files that were looked at.
        diagnostics: What is wrong in them.
        licenses: Which licences hosts found at models' sources, by the models' names.
    """

    valid: dict[str, dict[str, int]]
    files: list[str]
    diagnostics: list[Diagnostic]
    licenses: dict[str, set[str]]


def _check_entries(contents: Mapping[str, bytes | Refusal]) -> _Recorded:
    """Check each entry by itself; only one at a time is there as values."""
    found = _Recorded({}, [], [], defaultdict(set))
    for file in sorted(contents):
        content = contents[file]
        if not _is_looked_at(file, content):
            continue
        found.files.append(file)
        checked = check_entry(file, content)
        found.diagnostics.extend(checked.diagnostics)
        fields = checked.document.value if checked.document is not None else None
        if isinstance(fields, dict) and isinstance(content, bytes):
            host, name = PurePosixPath(file).parts[1], sys.intern(PurePosixPath(file).stem)  # many hosts have it
            found.valid.setdefault(host, {})[name] = crc32(content)
            if isinstance(license_ := fields.get("license"), str):
                found.licenses[name].add(license_)
    return found


def valid_entries(reader: RegistryReader, validation: Validation, host: str) -> Iterator[tuple[str, PackedObject]]:
    """Yield the fields of a host's valid entries by name, read once more: fifty thousand would fill the memory.

    Raises:
        InvalidEntryError: One is not what was found valid.
    """
    contents = reader.files(f"{entries.FOLDER}/{host}")
    for name, checksum in validation.entries.get(host, {}).items():
        file = entries.entry_file(host, name)
        content = contents.get(file)
        if not isinstance(content, bytes) or crc32(content) != checksum:
            raise entries.InvalidEntryError(file, "changed while it was looked at", "run this again")
        yield name, PackedObject(content)


def _contradictions(declared: Iterable[Declared], licenses: Mapping[str, Collection[str]]) -> Iterator[str]:
    for item in sorted(declared, key=lambda one: one.manifest.name):
        found = (contradiction(item.manifest, one) for one in sorted(licenses.get(item.manifest.name, ())))
        yield from (told for told in found if told is not None)


def misplaced(file: str, refusal: Refusal | None = None) -> Diagnostic | None:
    """Return what is wrong with a file's being where it is below models/; ``None`` when a manifest may stand there."""
    if not is_manifest_path(file):
        return _refused(file, refusal) if refusal is not None else None
    if file.count("/") > 1:
        remedy = f"move it to {manifests.FOLDER}/{PurePosixPath(file).name}"
        return whole_file(file, "manifests stand directly in the models folder", remedy)
    if not file.endswith(manifests.SUFFIXES):
        return whole_file(file, "the suffix must be lower-case", f"rename it to {PurePosixPath(file).stem}.yaml")
    return None


def name_problem(file: str) -> Diagnostic | None:
    """Return what is wrong with the model name that a manifest's file name gives."""
    problem = _bad_name(manifests.manifest_name(file))
    return None if problem is None else whole_file(file, problem, _NAME_REMEDY)


def _check_manifests(reader: RegistryReader) -> tuple[dict[str, CheckedDocument], list[Diagnostic]]:
    """Return each manifest after its own checks, and what stands where no manifest is looked for."""
    checked: dict[str, CheckedDocument] = {}
    out_of_place: list[Diagnostic] = []
    contents = reader.files(manifests.FOLDER)
    for file in sorted(contents):
        content = contents[file]
        problem = misplaced(file, content if isinstance(content, Refusal) else None)
        if problem is not None:
            out_of_place.append(problem)
        elif is_manifest_path(file):
            checked[file] = check_manifest(file, content)
    return checked, out_of_place


def _is_looked_at(file: str, content: bytes | Refusal) -> bool:
    """Return whether a file below the entries' folder is an entry, or might hide some."""
    return _is_entry(file) or isinstance(content, Refusal)


def _is_entry(file: str) -> bool:
    return file.endswith(entries.SUFFIX) and len(PurePosixPath(file).parts) == 3  # noqa: PLR2004 # folder, host, file


def validate_files(paths: Iterable[Path]) -> Validation:
    """Validate single files; those that belong to a registry are also checked against the rest of it."""
    found: list[Diagnostic] = []
    notes: dict[str, None] = {}
    wanted = list(dict.fromkeys(paths))
    registries: dict[Path, dict[str, Path]] = defaultdict(dict)
    alone: list[Path] = []
    for path in wanted:
        root = registry_of(_absolute(path)) if path.exists() else None
        member = "" if root is None else _absolute(path).relative_to(root).as_posix()
        if root is not None:
            registries[root][member] = path
        if root is None or not _is_covered(member):
            alone.append(path)
    for path in alone:
        if _is_of_something_else(path):
            notes[f"{path}: is in no registry of models, and was passed over"] = None
        else:
            found.extend(_check_alone(path))
    for root, members in registries.items():
        whole = validate_registry(_enough(root, members))
        notes |= dict.fromkeys(whole.notes)
        found.extend(
            _renamed(found_in, members[found_in.file]) for found_in in whole.diagnostics if found_in.file in members
        )
    return Validation(diagnostics=tuple(sorted(set(found))), files=len(wanted), notes=tuple(notes))


def _enough(root: Path, members: Iterable[str]) -> WorkTreeReader:
    """Return a reader of as much of a registry as can say something of some of its files."""
    reader = WorkTreeReader(root)
    if not all(is_manifest_path(member) for member in members):
        return reader
    settings = reader.file(registry_settings.FILE)
    own = check_settings_file(registry_settings.FILE, settings) if isinstance(settings, bytes) else None
    if own is None or own.document is None:
        return reader
    contents = {member: reader.file(member) for member in members}
    checked = {file: check_manifest(file, data) for file, data in contents.items() if data is not None}
    declared = {file: None if one.document is None else declare(one.document) for file, one in checked.items()}
    return partial_reader(root, declared, [place.path for place in all_locations(own.document).values()]) or reader


def _is_of_something_else(path: Path) -> bool:
    """Return whether a file in a git repository is another program's: `models/` is a folder of many."""
    absolute = _absolute(path)
    if path.suffix not in manifests.SUFFIXES or repository_around(absolute.parent) is None:
        return False
    content = read_plain_file(path)
    return isinstance(content, bytes) and not concerns_models(content)


def _is_covered(member: str) -> bool:
    """Return whether validating the registry looks at this file."""
    return member == registry_settings.FILE or is_manifest_path(member) or _is_discovered(member)


def _is_discovered(member: str) -> bool:
    return member.startswith(f"{entries.FOLDER}/") and _is_entry(member)


def _check_alone(path: Path) -> tuple[Diagnostic, ...]:
    """Check a file by what its name and folder say it is."""
    name, content = str(path), read_plain_file(path)
    if content is None and path.is_dir():
        return (whole_file(name, "is a folder", "name files, or none for the whole registry (`-C DIR` for another)"),)
    if content is None:
        return (whole_file(name, "there is no such file", "check the spelling of the path"),)
    if path.name == registry_settings.FILE:
        checked = check_settings_file(name, content)
    elif path.suffix in manifests.SUFFIXES:
        checked = check_manifest(name, content)
    elif path.suffix == entries.SUFFIX:
        checked = (
            _check_json(name, content, "snapshot")
            if _absolute(path).parent.name == SNAPSHOT_FOLDER
            else check_entry(name, content)
        )
    else:
        return (whole_file(name, "not a kind of file that can be validated", "give .yaml or .json files"),)
    return checked.diagnostics or _misplaced_alone(path, checked.document)


def _misplaced_alone(path: Path, document: Document | None) -> tuple[Diagnostic, ...]:
    """Return what a file that belongs to no registry says of places."""
    if document is None or path.suffix not in manifests.SUFFIXES:
        return ()
    if path.name == registry_settings.FILE:
        return tuple(check_settings_places(document, None))
    return tuple(check_manifest_places([declare(document)], None, None))


def _absolute(path: Path) -> Path:
    """Return an absolute path without `..`, with the links of its folder resolved but not its own."""
    return path.parent.resolve() / path.name


def _renamed(diagnostic: Diagnostic, path: Path) -> Diagnostic:
    return Diagnostic(str(path), diagnostic.line, diagnostic.column, diagnostic.message, diagnostic.remedy)
