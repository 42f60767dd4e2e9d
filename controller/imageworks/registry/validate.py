"""Validate documents: each by itself, then all of them together; used by the command, by CI and by reconcile alike.

A document that is wrong blocks only itself. What is right with the others is returned beside what is wrong, so that the
caller can go on with them and still knows the names that a broken manifest holds.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from imageworks.errors import ImageworksError
from imageworks.registry import entry as entries
from imageworks.registry import manifest as manifests
from imageworks.registry import settings as registry_settings
from imageworks.registry.crosscheck import (
    Declared,
    check_modelfiles,
    check_names,
    check_previously,
    check_references,
    check_settings,
    check_targets,
    declare,
)
from imageworks.registry.diagnostic import Diagnostic, at, from_error, from_problems, whole_file
from imageworks.registry.document import Document, DocumentError
from imageworks.registry.git_oddities import check_bare, filter_notes
from imageworks.registry.json_gate import parse_json
from imageworks.registry.licenses import contradiction
from imageworks.registry.merge import SNAPSHOT_FOLDER
from imageworks.registry.policies import check_policies
from imageworks.registry.reader import Refusal, RegistryReader, WorkTreeReader, read_plain_file
from imageworks.registry.schema import MAX_PROBLEMS, check
from imageworks.registry.yaml_gate import parse_yaml

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._()-]{0,78}[A-Za-z0-9_)])?", re.ASCII)
_WINDOWS_NAMES: Final = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_MANY_REMEDY: Final = "mend these first, then validate again"
_NAME_REMEDY: Final = "use up to 80 letters, digits and `. _ - ( )`, starting with a letter or digit"


@dataclass(frozen=True, slots=True)
class Checked:
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
        entries: The valid entries, by host and model name.
        blocked: Names of models whose manifest is wrong, with what is wrong; such a model is not deleted, only broken.
        diagnostics: Everything that is wrong, sorted by place.
        files: How many files were looked at.
        notes: What is not wrong and should be known.
    """

    settings: Document | None = None
    manifests: Mapping[str, Declared] = field(default_factory=dict)
    entries: Mapping[str, Mapping[str, Document]] = field(default_factory=dict)
    blocked: Mapping[str, tuple[Diagnostic, ...]] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    files: int = 0
    notes: tuple[str, ...] = ()


def is_manifest_path(path: str) -> bool:
    """Return whether a path within the registry is one that holds, or was meant to hold, a manifest."""
    # Text, not PurePosixPath: asked three times for each of ten thousand files, which made it a tenth of a dry run.
    inside = path.startswith(f"{manifests.FOLDER}/") and path.lower().endswith(manifests.SUFFIXES)
    return inside and not any(part.startswith(".") for part in path.split("/"))


def check_manifest(file: str, content: bytes | Refusal) -> Checked:
    """Check one manifest by itself; depends on nothing but its arguments, so the result may be cached by content.

    Args:
        file: Its path, which gives the model's name.
        content: Its bytes, or why they were not read.
    """
    if isinstance(content, Refusal):
        return Checked(None, (_refused(file, content),))
    if problem := name_problem(file):
        return Checked(None, (problem,))
    return _check_yaml(file, content, "manifest")


def check_settings_file(file: str, content: bytes | Refusal) -> Checked:
    """Check a registry.yaml by itself.

    Args:
        file: Its path.
        content: Its bytes, or why they were not read.
    """
    if isinstance(content, Refusal):
        return Checked(None, (_refused(file, content),))
    checked = _check_yaml(file, content, "registry")
    if checked.document is None:
        return checked
    problems = tuple(check_settings(checked.document))
    return Checked(None if problems else checked.document, problems)


def check_entry(file: str, content: bytes | Refusal) -> Checked:
    """Check one entry by itself.

    Args:
        file: Its path, which gives the model's name.
        content: Its bytes, or why they were not read.
    """
    checked = _check_json(file, content, "entry")
    if checked.document is None or not isinstance(checked.document.value, dict):
        return checked
    stem, name = PurePosixPath(file).stem, checked.document.value.get("name")
    if name != stem:
        message = f'the name "{name}" is not that of the file, "{stem}"'
        return Checked(None, (at(checked.document, ("name",), message, "restore the file from git"),))
    return checked


class UnrecordableError(ImageworksError):
    """What was found of a model would make an entry that nobody could read again."""

    reason = "invalid-entry"


def check_recordable(entry: entries.Entry) -> None:
    """Raise unless an entry, read back from its own bytes, is valid (I2).

    What detection says comes out of strangers' files; what is wrong with it is not to be committed with the others.

    Args:
        entry: What is about to be recorded.

    Raises:
        UnrecordableError: It is not, with the first thing that is wrong.
    """
    for problem in check_entry(f"{entry.name}{entries.SUFFIX}", entries.render_entry(entry.fields)).diagnostics:
        raise UnrecordableError(
            f"{entry.name}: what was found of it cannot be recorded: {problem.message}",
            remedy="Look at its config.json and README.md: what they say is not what such files say.",
        )


def _check_yaml(file: str, content: bytes, schema: str) -> Checked:
    try:
        document = parse_yaml(content, file)
    except DocumentError as error:
        return Checked(None, (from_error(error),))
    return _check_schema(document, schema)


def _check_json(file: str, content: bytes | Refusal, schema: str) -> Checked:
    if isinstance(content, Refusal):
        return Checked(None, (_refused(file, content),))
    try:
        document = parse_json(content, file)
    except DocumentError as error:
        return Checked(None, (from_error(error),))
    return _check_schema(document, schema)


def _check_schema(document: Document, schema: str) -> Checked:
    problems = check(schema, document.value, written=document.written)
    if problems:
        found = from_problems(document, problems)
        if len(problems) >= MAX_PROBLEMS:
            found.append(whole_file(document.file, f"only {len(problems)} of its problems are shown", _MANY_REMEDY))
        return Checked(None, tuple(sorted(found)))
    return Checked(document)


def _refused(file: str, refusal: Refusal) -> Diagnostic:
    return whole_file(file, f"the file is {refusal.reason}", refusal.remedy)


def _bad_name(name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return f"the file name gives a model name that is not allowed: {name[:100]!r}"
    if _WINDOWS_NAMES.fullmatch(name):
        return f"the name {name!r} is reserved on Windows"
    return None


def validate_documents(
    checked: Mapping[str, Checked],
    settings: Document | None,
    entries_by_host: Mapping[str, Mapping[str, Document]],
) -> tuple[dict[str, Declared], dict[str, list[Diagnostic]]]:
    """Check manifests against each other; return the valid ones by name, and all problems by file.

    Args:
        checked: Every manifest by its path within the registry, after `check_manifest`.
        settings: The valid registry.yaml, if there is one.
        entries_by_host: Valid entries; their hosts are known hosts.
    """
    problems: dict[str, list[Diagnostic]] = defaultdict(list)
    for file, one in checked.items():
        problems[file].extend(one.diagnostics)
    declared = [declare(one.document) for _file, one in sorted(checked.items()) if one.document is not None]
    for diagnostic in (
        *check_names(checked),
        *check_references(declared, settings, set(entries_by_host)),
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
    """Validate a whole registry.

    Args:
        reader: The state of the registry to look at.
        entries_of: The one host whose entries are wanted; every host's when absent.
        today: The day on which exceptions from policies must count; today in UTC when absent.
    """
    content = reader.file(registry_settings.FILE)
    if content is None:
        missing = whole_file(registry_settings.FILE, "the file is missing", "make it with `imageworks-models init`")
        own = Checked(None, (missing,))
    else:
        own = check_settings_file(registry_settings.FILE, content)
    checked, nested = _check_manifests(reader)
    folder = entries.FOLDER if entries_of is None else f"{entries.FOLDER}/{entries_of}"
    found_entries = {
        file: check_entry(file, data) for file, data in reader.files(folder).items() if _is_looked_at(file, data)
    }
    by_host: dict[str, dict[str, Document]] = defaultdict(dict)
    for file, one in sorted(found_entries.items()):
        if one.document is not None:
            by_host[PurePosixPath(file).parts[1]][PurePosixPath(file).stem] = one.document
    valid, problems = validate_documents(checked, own.document, by_host)
    settings = own.document.value if own.document is not None else None
    policies = registry_settings.read_settings(settings if isinstance(settings, dict) else {}, "").policies
    policies = policies.on(today or datetime.now(UTC).date())
    licenses = _recorded_licenses(by_host.values())
    diagnostics = [
        *own.diagnostics,
        *nested,
        *check_policies(valid.values(), policies, licenses),
        *check_bare(reader),
        *(diagnostic for found in problems.values() for diagnostic in found),
        *(diagnostic for one in found_entries.values() for diagnostic in one.diagnostics),
    ]
    return Validation(
        settings=own.document,
        manifests=valid,
        entries=dict(by_host),
        blocked={manifests.manifest_name(file): tuple(found) for file, found in sorted(problems.items())},
        diagnostics=tuple(sorted(diagnostics)),
        files=1 + len(checked) + len(nested) + len(found_entries),
        notes=(
            *policies.told(),
            *policies.idle(manifests.manifest_name(file) for file in checked),
            *_contradictions(valid.values(), licenses),
            *filter_notes(reader),
        ),
    )


def _recorded_licenses(by_host: Iterable[Mapping[str, Document]]) -> dict[str, set[str]]:
    """Return the licences that hosts found at models' sources, by the models' names."""
    found: dict[str, set[str]] = defaultdict(set)
    for recorded in by_host:
        for name, document in recorded.items():
            license_ = document.value.get("license") if isinstance(document.value, dict) else None
            if isinstance(license_, str):
                found[name].add(license_)
    return found


def _contradictions(declared: Iterable[Declared], licenses: Mapping[str, Collection[str]]) -> Iterator[str]:
    for item in sorted(declared, key=lambda one: one.manifest.name):
        found = (contradiction(item.manifest, one) for one in sorted(licenses.get(item.manifest.name, ())))
        yield from (told for told in found if told is not None)


def misplaced(file: str, refusal: Refusal | None = None) -> Diagnostic | None:
    """Return what is wrong with a file's being where it is below models/; ``None`` when a manifest may stand there.

    Args:
        file: Its path within the registry.
        refusal: Why it is not read, if so.
    """
    if not is_manifest_path(file):
        return _refused(file, refusal) if refusal is not None else None
    if file.count("/") > 1:
        remedy = f"move it to {manifests.FOLDER}/{PurePosixPath(file).name}"
        return whole_file(file, "manifests stand directly in the models folder", remedy)
    if not file.endswith(manifests.SUFFIXES):
        return whole_file(file, "the suffix must be lower-case", f"rename it to {PurePosixPath(file).stem}.yaml")
    return None


def name_problem(file: str) -> Diagnostic | None:
    """Return what is wrong with the model name that a manifest's file name gives.

    Args:
        file: Its path within the registry.
    """
    problem = _bad_name(manifests.manifest_name(file))
    return None if problem is None else whole_file(file, problem, _NAME_REMEDY)


def _check_manifests(reader: RegistryReader) -> tuple[dict[str, Checked], list[Diagnostic]]:
    """Return each manifest after its own checks, and what stands where no manifest is looked for."""
    checked: dict[str, Checked] = {}
    out_of_place: list[Diagnostic] = []
    for file, content in sorted(reader.files(manifests.FOLDER).items()):
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
    """Validate single files; those that belong to a registry are also checked against the rest of it.

    Args:
        paths: Manifests, registry.yaml files, entries or snapshots. Diagnostics name them as given here.
    """
    found: list[Diagnostic] = []
    notes: dict[str, None] = {}
    wanted = list(dict.fromkeys(paths))
    registries: dict[Path, dict[str, Path]] = defaultdict(dict)
    for path in wanted:
        root = _registry_of(path)
        if root is not None and path.exists():
            registries[root][_absolute(path).relative_to(root).as_posix()] = path
        else:
            found.extend(_check_alone(path))
    for root, members in registries.items():
        whole = validate_registry(WorkTreeReader(root))
        notes |= dict.fromkeys(whole.notes)
        found.extend(
            _renamed(found_in, members[found_in.file]) for found_in in whole.diagnostics if found_in.file in members
        )
        for member, path in members.items():
            if not _is_covered(member):
                found.extend(_check_alone(path))
    return Validation(diagnostics=tuple(sorted(set(found))), files=len(wanted), notes=tuple(notes))


def _is_covered(member: str) -> bool:
    """Return whether validating the registry looks at this file."""
    return member == registry_settings.FILE or is_manifest_path(member) or _is_discovered(member)


def _is_discovered(member: str) -> bool:
    return member.startswith(f"{entries.FOLDER}/") and _is_entry(member)


def _check_alone(path: Path) -> tuple[Diagnostic, ...]:
    """Check a file by what its name and folder say it is."""
    name, content = str(path), read_plain_file(path)
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
    return checked.diagnostics


def _registry_of(path: Path) -> Path | None:
    """Return the nearest folder above a file that holds a registry.yaml."""
    for folder in _absolute(path).parents:
        if (folder / registry_settings.FILE).is_file():
            return folder
    return None


def _absolute(path: Path) -> Path:
    """Return an absolute path without `..`, with the links of its folder resolved but not its own."""
    return path.parent.resolve() / path.name


def _renamed(diagnostic: Diagnostic, path: Path) -> Diagnostic:
    return Diagnostic(str(path), diagnostic.line, diagnostic.column, diagnostic.message, diagnostic.remedy)
