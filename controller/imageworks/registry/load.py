"""Load a registry as one commit has it: manifests, this host's entries, settings, and what is wrong in any of them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

from imageworks.registry import entry as entries
from imageworks.registry import manifest as manifests
from imageworks.registry import settings as registry_settings
from imageworks.registry.crosscheck import Declared, declare
from imageworks.registry.diagnostic import Diagnostic, whole_file
from imageworks.registry.document import Document, Places, Pointer
from imageworks.registry.entry import Entry, InvalidEntryError
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_values import BlobReference
from imageworks.registry.manifest import Manifest
from imageworks.registry.parsed import ParsedDocuments
from imageworks.registry.reader import Refusal
from imageworks.registry.settings import RegistrySettings, read_settings
from imageworks.registry.validate import (
    Checked,
    check_manifest,
    check_settings_file,
    is_manifest_path,
    misplaced,
    name_problem,
    validate_documents,
)
from imageworks.registry.yaml_gate import MAX_BYTES, parse_yaml

if TYPE_CHECKING:
    from imageworks.registry.document import JsonValue

ENTRY_DEPTH: Final = 2  # discovered/<host>/<name>.json
ENTRY_LIMIT_BYTES: Final = 4 * 1024 * 1024
NOTHING_DECLARED: Final[Mapping[str, bytes | None]] = MappingProxyType({})
_TOO_LARGE: Final = Refusal("larger than 64 KiB", "split it: a manifest describes one model")


@dataclass(frozen=True, slots=True)
class RegistryState:
    """A registry at one commit, as one host sees it.

    Args:
        revision: The commit; ``None`` on an unborn branch.
        host: The host whose entries these are.
        settings: registry.yaml's settings for the host.
        manifests: The valid manifests by name.
        entries: The host's valid entries by name.
        blocked: Names that cannot be looked at, with what is wrong.
        settings_invalid: What is wrong with registry.yaml; then no location is known and nothing can be placed.
        diagnostics: Everything that is wrong, sorted.
        declared: How many manifest files there are, valid or not.
        documents: The valid manifests as documents, by name, which know the places of what they say.
        recorded: The commit that the entries are of; another than ``revision`` where they have a branch of their own.
        branch: The branch that this host's entries go to; ``None`` for the checked-out one.
    """

    revision: str | None
    host: str
    settings: RegistrySettings = field(default_factory=RegistrySettings)
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    blocked: Mapping[str, tuple[Diagnostic, ...]] = field(default_factory=dict)
    settings_invalid: tuple[Diagnostic, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    declared: int = 0
    documents: Mapping[str, Document] = field(default_factory=dict, repr=False, compare=False)
    recorded: str | None = None
    branch: str | None = None

    def applies(self, manifest: Manifest) -> bool:
        """Return whether a manifest is meant for this host.

        While registry.yaml is invalid no label is known, so one that selects by labels is not taken for excluded.

        Args:
            manifest: One of the registry's manifests.
        """
        by_label = any("=" in wanted for wanted in manifest.hosts)
        return manifest.applies_to(self.host, self.settings.labels) or (bool(self.settings_invalid) and by_label)

    @property
    def settings_problem(self) -> str | None:
        """What is wrong with registry.yaml first of all; ``None`` when nothing is."""
        return next((item.render() for item in self.settings_invalid), None)

    @property
    def applied(self) -> list[Manifest]:
        """The manifests that are meant for this host."""
        return [manifest for manifest in self.manifests.values() if self.applies(manifest)]


def records_branch(repository: RegistryRepository, settings: RegistrySettings, host: str) -> str | None:
    """Return the short name of the branch that a host's entries go to; ``None`` for the checked-out one.

    Args:
        repository: The registry.
        settings: The registry's settings.
        host: The host.
    """
    branch = settings.branch.replace("{host}", host) if settings.branch else None
    return None if branch == repository.branch() else branch


def records_tip(repository: RegistryRepository, branch: str) -> str | None:
    """Return the newest commit of a branch of entries, here or as a remote was last seen to have it.

    Args:
        repository: The registry.
        branch: The branch's short name.
    """
    return repository.tip(branch) or repository.branches.tip_elsewhere(branch)


def load_registry(
    repository: RegistryRepository,
    host: str,
    *,
    revision: str | None,
    cache: ParsedDocuments,
    declared: Mapping[str, bytes | None] = NOTHING_DECLARED,
    recorded: str | None = None,
) -> RegistryState:
    """Return the registry's state at a commit; one bad document blocks only itself (I9).

    Args:
        repository: The registry.
        host: The host whose entries are wanted.
        revision: The commit; ``None`` gives an empty registry.
        cache: Parsed documents by blob id.
        declared: Manifests that are about to be committed, by registry path; they stand in for those of the commit,
            and ``None`` stands for one that is deleted.
        recorded: The commit to read entries from; by default where registry.yaml says that they are.
    """
    settings = _settings(repository, revision, cache)
    checked, out_of_place = _manifests(repository, revision, cache)
    for file, content in declared.items():
        checked.pop(file, None)
        if content is not None:
            checked[file] = check_manifest(file, content)
    document = settings.document.value if settings.document else None
    said = read_settings(document if isinstance(document, dict) else {}, host)
    branch = records_branch(repository, said, host)
    recorded = recorded or (records_tip(repository, branch) if branch else None) or revision
    listed = repository.list_files(recorded, entries.FOLDER)
    hosts = {file.split("/")[1] for file in listed if file.count("/") == ENTRY_DEPTH}
    key = None if declared else _agreement(repository, revision, hosts)
    valid, problems = _validate(checked, settings, hosts, key, cache)
    own = f"{entries.FOLDER}/{host}/"
    found, broken = _entries(repository, {file: ref for file, ref in listed.items() if file.startswith(own)}, cache)
    diagnostics = [
        *settings.diagnostics,
        *out_of_place,
        *(item for items in problems.values() for item in items),
        *broken.values(),
    ]
    blocked = {manifests.manifest_name(file): tuple(items) for file, items in problems.items()}
    blocked |= {name: (item,) for name, item in broken.items() if name not in blocked}
    return RegistryState(
        revision=revision,
        host=host,
        settings=said,
        manifests={name: item.manifest for name, item in valid.items() if name not in broken},
        entries=found,
        blocked=blocked,
        settings_invalid=settings.diagnostics,
        diagnostics=tuple(sorted(diagnostics)),
        declared=len(checked),
        documents={name: item.document for name, item in valid.items()},
        recorded=recorded,
        branch=branch,
    )


def _agreement(repository: RegistryRepository, revision: str | None, hosts: Iterable[str]) -> str:
    """Return what names everything that manifests are held against each other by: themselves, settings and hosts."""
    trees = [repository.tree_id(revision, path) or "" for path in (manifests.FOLDER, registry_settings.FILE)]
    return ":".join(("agreement", *trees, *sorted(hosts)))


def _validate(
    checked: Mapping[str, Checked], settings: Checked, hosts: Iterable[str], key: str | None, cache: ParsedDocuments
) -> tuple[dict[str, Declared], dict[str, list[Diagnostic]]]:
    """Hold manifests against each other, unless just these were found to agree before."""
    documents = [one.document for _, one in sorted(checked.items()) if one.document is not None and not one.diagnostics]
    if key is not None and len(documents) == len(checked) and cache.get(key) is True:
        declared = [declare(document) for document in documents]
        return {item.manifest.name: item for item in declared}, {}
    valid, problems = validate_documents(checked, settings.document, {name: {} for name in hosts})
    if key is not None and not problems:
        cache.put(key, value=True)
    return valid, problems


def _settings(repository: RegistryRepository, revision: str | None, cache: ParsedDocuments) -> Checked:
    file = registry_settings.FILE
    reference = repository.find_file(revision, file)
    if reference is None:
        return Checked(None)
    key = f"{file}:{reference.id}"  # a manifest of the same bytes is not valid for that
    value = None if reference.refusal else cache.get(key)
    if value is not None:
        return Checked(Document(file, value, _Places(repository, reference, file)))
    checked = check_settings_file(file, _content(repository, reference))
    if checked.document is not None:
        cache.put(key, checked.document.value)
    return checked


def _manifests(
    repository: RegistryRepository, revision: str | None, cache: ParsedDocuments
) -> tuple[dict[str, Checked], list[Diagnostic]]:
    """Return each manifest after its own checks, from the cache where its bytes were valid before."""
    checked: dict[str, Checked] = {}
    out_of_place: list[Diagnostic] = []
    for file, reference in repository.list_files(revision, manifests.FOLDER).items():
        refusal = Refusal(reference.refusal) if reference.refusal else None
        problem = misplaced(file, refusal)
        if problem is not None:
            out_of_place.append(problem)
        elif is_manifest_path(file):
            value = None if refusal or name_problem(file) else cache.get(reference.id)
            if value is not None:
                checked[file] = Checked(Document(file, value, _Places(repository, reference, file)))
                continue
            checked[file] = one = check_manifest(file, _content(repository, reference))
            if one.document is not None:
                cache.put(reference.id, one.document.value)
    return checked, out_of_place


@dataclass(frozen=True, slots=True)
class _Places:
    """Finds the places in a manifest whose value came from the cache, by parsing it after all."""

    repository: RegistryRepository
    reference: BlobReference
    file: str

    def __call__(self, wanted: Collection[Pointer] = ()) -> Places:
        data = self.repository.read_blob(self.reference.id, limit=MAX_BYTES)
        return parse_yaml(data, self.file).find_places(wanted)


def _content(repository: RegistryRepository, reference: BlobReference) -> bytes | Refusal:
    if reference.refusal:
        return Refusal(reference.refusal)
    if reference.size > MAX_BYTES:
        return _TOO_LARGE
    return repository.read_blob(reference.id, limit=MAX_BYTES)


def _entries(
    repository: RegistryRepository, references: Mapping[str, BlobReference], cache: ParsedDocuments
) -> tuple[dict[str, Entry], dict[str, Diagnostic]]:
    found: dict[str, Entry] = {}
    broken: dict[str, Diagnostic] = {}
    readable: dict[str, BlobReference] = {}
    for file, reference in references.items():
        if reference.refusal or reference.size > ENTRY_LIMIT_BYTES:
            problem = reference.refusal or "larger than 4 MiB"
            remedy = "restore it from an earlier commit"
            broken[PurePosixPath(file).stem] = whole_file(file, f"the entry is {problem}", remedy)
        elif file.endswith(entries.SUFFIX):
            known = cache.get(f"{file}:{reference.id}")
            if isinstance(known, dict):
                found[PurePosixPath(file).stem] = entries.known_entry(known)
            else:
                readable[file] = reference
    contents = repository.read_blobs(readable.values(), limit=ENTRY_LIMIT_BYTES)
    for file, (reference, data) in zip(readable, contents, strict=True):
        try:
            entry = entries.read_entry(file, data)
            found[entry.name] = entry
            cache.put(f"{file}:{reference.id}", cast("JsonValue", entry.fields))
        except InvalidEntryError as error:
            broken[PurePosixPath(file).stem] = whole_file(file, error.problem, error.remedy or "")
    return found, broken
