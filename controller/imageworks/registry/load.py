"""Load a registry as one commit has it: manifests, this host's entries, settings, and what is wrong in any of them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from imageworks.foundation.json_values import with_shared_parts
from imageworks.git.libgit2 import blob_id
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import BlobReference
from imageworks.registry.commit_reader import MANY, RevisionReader
from imageworks.registry.cross_checks import Declared, declare
from imageworks.registry.documents.cache import KeptText, ParsedDocuments
from imageworks.registry.documents.diagnostic import Diagnostic, Refusal, whole_file
from imageworks.registry.documents.document import Document, Pointer, SourceMap
from imageworks.registry.documents.yaml_reader import MAX_BYTES, parse_yaml
from imageworks.registry.entries import entry as entries
from imageworks.registry.entries.entry import Entry, InvalidEntryError
from imageworks.registry.entries.packed import PackedObject, pack_text
from imageworks.registry.manifests import manifest as manifests
from imageworks.registry.manifests.manifest import Manifest
from imageworks.registry.settings import settings as registry_settings
from imageworks.registry.settings.settings import RegistrySettings, read_settings
from imageworks.registry.validate import (
    CheckedDocument,
    check_manifest,
    check_settings_file,
    is_manifest_path,
    misplaced,
    name_problem,
    validate_documents,
)

if TYPE_CHECKING:
    from imageworks.registry.documents.document import JsonValue

ENTRY_DEPTH: Final = 2  # discovered/<host>/<name>.json
FEW_BYTES: Final = 4 << 20
"""Of all entries together: so few stay as they were parsed, where nothing was known of them."""
LARGE_BYTES: Final = 16 << 10
ENTRY_LIMIT_BYTES: Final = entries.LARGEST_BYTES
NOTHING_DECLARED: Final[Mapping[str, bytes | None]] = MappingProxyType({})
_MOST_IN_MEMORY: Final = 2  # a commit's manifests, and those of another that it is compared with
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
        unreadable: Names whose entry is there and cannot be read.
        declared: How many manifest files there are, valid or not.
        documents: The valid manifests as documents, by name, which know the places of what they say.
        recorded: The commit that the entries are of; another than ``revision`` where they have a branch of their own.
        branch: The branch that this host's entries go to; ``None`` for the checked-out one.
        root: The folder of the work tree, where it was read from one.
        compared: Of snapshots that were held against it, by their ids, whether it gives them.
    """

    revision: str | None
    host: str
    settings: RegistrySettings = field(default_factory=RegistrySettings)
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    blocked: Mapping[str, tuple[Diagnostic, ...]] = field(default_factory=dict)
    settings_invalid: tuple[Diagnostic, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    unreadable: frozenset[str] = frozenset()
    declared: int = 0
    documents: Mapping[str, Document] = field(default_factory=dict, repr=False, compare=False)
    recorded: str | None = None
    branch: str | None = None
    root: Path | None = field(default=None, repr=False, compare=False)
    compared: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def applies(self, manifest: Manifest) -> bool:
        """Return whether a manifest is meant for this host.

        While registry.yaml is invalid no label is known, so one that selects by labels is not taken for excluded.
        """
        if manifest.applies_to(self.host, self.settings.labels):
            return True
        return bool(self.settings_invalid) and any("=" in wanted for wanted in manifest.hosts)

    @property
    def settings_problem(self) -> str | None:
        """What is wrong with registry.yaml first of all; ``None`` when nothing is."""
        return next((item.render() for item in self.settings_invalid), None)

    @property
    def applied(self) -> list[Manifest]:
        """The manifests that are meant for this host."""
        return [manifest for manifest in self.manifests.values() if self.applies(manifest)]


def records_branch(repository: RegistryRepository, settings: RegistrySettings, host: str) -> str | None:
    """Return the short name of the branch that a host's entries go to; ``None`` for the checked-out one."""
    branch = settings.branch.replace("{host}", host) if settings.branch else None
    return None if branch == repository.branch() else branch


def records_tip(repository: RegistryRepository, branch: str) -> str | None:
    """Return the newest commit of a branch of entries, here or as a remote was last seen to have it."""
    return repository.tip(branch) or repository.branches.tip_elsewhere(branch)


def load_registry(
    repository: RegistryRepository,
    host: str,
    *,
    revision: str | None,
    cache: ParsedDocuments,
    declared: Mapping[str, bytes | Refusal | None] = NOTHING_DECLARED,
    recorded: str | None = None,
    with_entries: bool = True,
    texts_alone: bool = False,
) -> RegistryState:
    """Return the registry's state at a commit; one bad document blocks only itself (I9).

    Without its entries it is still known what is wrong in any of them. Those of a commit that stands beside another are
    read for what they say alone.
    """
    settings = _declared_settings(declared) or _settings(repository, revision, cache)
    document = settings.document.value if settings.document else None
    said = read_settings(document if isinstance(document, dict) else {}, host)
    branch = records_branch(repository, said, host)
    recorded = recorded or (records_tip(repository, branch) if branch else None) or revision
    hosts = repository.folders(recorded, entries.FOLDER)  # all files of all hosts may be a hundred thousand
    looked: _Entries = ({}, {})
    if host in hosts and not with_entries:  # first: its listing is not to stand beside another commit's manifests
        looked = {}, _own_problems(repository, host, recorded, cache)
    found_there = _declarations(repository, revision, settings, hosts, declared, cache)
    valid, problems, out_of_place = found_there.valid, found_there.problems, found_there.out_of_place
    if host in hosts and with_entries:
        looked = _own_entries(repository, host, recorded, cache, texts_alone=texts_alone)
    found, broken = looked
    diagnostics = [
        *settings.diagnostics,
        *out_of_place,
        *(item for items in problems.values() for item in items),
        *broken.values(),
    ]
    blocked = {manifests.manifest_name(file): tuple(items) for file, items in problems.items()}
    blocked |= {name: (item,) for name, item in broken.items() if name not in blocked}
    for item in out_of_place:  # a model whose manifest is not read is not taken for deleted
        name = manifests.manifest_name(item.file)
        if is_manifest_path(item.file) and name not in valid:
            blocked.setdefault(name, (item,))
    return RegistryState(
        revision=revision,
        host=host,
        settings=said,
        manifests={name: item.manifest for name, item in valid.items() if name not in broken},
        entries=found,
        blocked=blocked,
        settings_invalid=settings.diagnostics,
        diagnostics=tuple(sorted(diagnostics)),
        unreadable=frozenset(broken),
        declared=found_there.count,
        documents={name: item.document for name, item in valid.items()},
        recorded=recorded,
        branch=branch,
        root=repository.root,
    )


@dataclass(frozen=True, slots=True)
class _Declarations:
    """The manifests of a commit, held against each other; the same for every host.

    Args:
        count: How many files there are.
        valid: The valid ones by name.
        problems: What is wrong with the others, by file.
        out_of_place: What is wrong with where files are.
    """

    count: int
    valid: Mapping[str, Declared]
    problems: Mapping[str, list[Diagnostic]]
    out_of_place: Sequence[Diagnostic]


def _declarations(
    repository: RegistryRepository,
    revision: str | None,
    settings: CheckedDocument,
    hosts: Iterable[str],
    declared: Mapping[str, bytes | Refusal | None],
    cache: ParsedDocuments,
) -> _Declarations:
    key = None if declared else _agreement(repository, revision, hosts)
    known = cache.in_memory.pop(key, None) if key is not None else None
    if key is not None and isinstance(known, _Declarations):
        cache.in_memory[key] = known  # the last one to be let go
        return known
    while key is not None and len(cache.in_memory) >= _MOST_IN_MEMORY:  # before another is made
        del cache.in_memory[next(iter(cache.in_memory))]
    same: dict[str, Declared] = {}
    for other in cache.in_memory.values():
        same |= other.valid if isinstance(other, _Declarations) else {}
    if len(declared) > MANY:  # what they take the place of is not to stand beside them
        taken = {manifests.manifest_name(file): _as_committed(file, one, same) for file, one in declared.items() if one}
        same = {name: one for name, one in same.items() if name not in taken or taken[name] is not None}
        cache.in_memory.clear()
        cache.let_go()
    checked, out_of_place = _manifests(repository, revision, cache, same, but=declared)
    for file, content in declared.items():
        if (problem := misplaced(file)) is not None and content is not None:
            out_of_place.append(problem)
        elif content is not None and is_manifest_path(file):
            checked[file] = _as_committed(file, content, same) or _to_be_committed(file, content)
    valid, problems = _validate(checked, settings, hosts, key, cache, same)
    found = _Declarations(len(checked), valid, problems, out_of_place)
    if key is not None:
        cache.in_memory[key] = found
    return found


def _as_committed(file: str, content: bytes | Refusal, same: Mapping[str, Declared]) -> CheckedDocument | None:
    """Return a manifest that is to be committed as another commit has it: ten thousand may come back at once."""
    known = same.get(manifests.manifest_name(file))
    places = known.document.find_places if known is not None else None
    if known is None or not isinstance(places, _Places) or not isinstance(content, bytes):
        return None
    found = places.file == file and places.reference.id == blob_id(content)
    return CheckedDocument(known.document) if found else None


def _to_be_committed(file: str, content: bytes | Refusal) -> CheckedDocument:
    """Return a manifest that is not committed yet after its own checks, as small as those that are."""
    checked = check_manifest(file, content)
    if checked.document is None or not isinstance(content, bytes):
        return checked
    return CheckedDocument(Document(file, with_shared_parts(checked.document.value), _PlacesOf(content, file)))


def let_others_go(repository: RegistryRepository, registry: RegistryState, cache: ParsedDocuments) -> None:
    """Keep of what was read of several commits what one of them has: others were asked for once."""
    folder = f"{entries.FOLDER}/{registry.host}"
    if cache.read_last[0] != (folder, repository.tree_id(registry.recorded, folder)):
        cache.read_last = (None, None)
    own = _agreement(repository, registry.revision, repository.folders(registry.recorded, entries.FOLDER))
    for key in cache.in_memory.keys() - {own}:
        del cache.in_memory[key]


def keep_declared(registry: RegistryState, declared: Collection[str], cache: ParsedDocuments) -> None:
    """Keep all manifests for the next command, where room was made for those that were declared and are committed."""
    if len(declared) > MANY:
        cache.replace_values(_by_id(registry.documents.values()))


def _by_id(documents: Iterable[Document]) -> Iterator[tuple[str, "JsonValue"]]:
    for document in documents:
        places = document.find_places
        if isinstance(places, _Places):
            yield places.reference.id, document.value
        elif isinstance(places, _PlacesOf):
            yield blob_id(places.content), document.value


def _agreement(repository: RegistryRepository, revision: str | None, hosts: Iterable[str]) -> str:
    """Return what names everything that manifests are held against each other by: themselves, settings and hosts."""
    trees = [repository.tree_id(revision, path) or "" for path in (manifests.FOLDER, registry_settings.FILE)]
    return ":".join(("agreement", *trees, *sorted(hosts)))


def _validate(
    checked: Mapping[str, CheckedDocument],
    settings: CheckedDocument,
    hosts: Iterable[str],
    key: str | None,
    cache: ParsedDocuments,
    same: Mapping[str, Declared],
) -> tuple[dict[str, Declared], dict[str, list[Diagnostic]]]:
    """Hold manifests against each other, unless just these were found to agree before."""
    documents = [one.document for _, one in sorted(checked.items()) if one.document is not None and not one.diagnostics]
    if key is not None and len(documents) == len(checked) and cache.get(key) is True:
        declared = [declare(document, same) for document in documents]
        return {item.manifest.name: item for item in declared}, {}
    valid, problems = validate_documents(checked, settings.document, hosts, same)
    if key is not None and not problems:
        cache.put(key, value=True)
    return valid, problems


def settings_at(repository: RegistryRepository, revision: str | None, host: str) -> RegistrySettings:
    """Return what a commit's registry.yaml says for a host; the defaults where it has none that is valid."""
    content = RevisionReader(repository, revision).file(registry_settings.FILE)
    checked = check_settings_file(registry_settings.FILE, content) if isinstance(content, bytes) else None
    document = checked.document.value if checked is not None and checked.document is not None else None
    return read_settings(document if isinstance(document, dict) else {}, host)


def _declared_settings(declared: Mapping[str, bytes | Refusal | None]) -> CheckedDocument | None:
    """Return the registry.yaml that is not committed yet; ``None`` where the committed one counts."""
    if registry_settings.FILE not in declared:
        return None
    content = declared[registry_settings.FILE]
    return CheckedDocument(None) if content is None else check_settings_file(registry_settings.FILE, content)


def _settings(repository: RegistryRepository, revision: str | None, cache: ParsedDocuments) -> CheckedDocument:
    file = registry_settings.FILE
    reference = repository.find_file(revision, file)
    if reference is None:
        return CheckedDocument(None)
    key = f"{file}:{reference.id}"  # a manifest of the same bytes is not valid for that
    value = None if reference.refusal else cache.get(key)
    if value is not None:
        return CheckedDocument(Document(file, value, _Places(repository, reference, file)))
    checked = check_settings_file(file, _content(repository, reference))
    if checked.document is not None:
        cache.put(key, checked.document.value)
    return checked


def _manifests(
    repository: RegistryRepository,
    revision: str | None,
    cache: ParsedDocuments,
    same: Mapping[str, Declared],
    *,
    but: Collection[str],
) -> tuple[dict[str, CheckedDocument], list[Diagnostic]]:
    """Return each manifest ``but`` some after its own checks, from the cache where its bytes were valid before.

    Of another commit's, ``same``, those that this one has too are taken: few of ten thousand differ between two.
    """
    checked: dict[str, CheckedDocument] = {}
    out_of_place: list[Diagnostic] = []
    read = 0
    for file, reference in repository.list_files(revision, manifests.FOLDER).items():
        refusal = Refusal(reference.refusal) if reference.refusal else None
        problem = misplaced(file, refusal)
        if problem is not None:
            out_of_place.append(problem)
        elif is_manifest_path(file) and file not in but:
            other = same.get(manifests.manifest_name(file))
            if other is not None and other.document.find_places == _Places(repository, reference, file):
                checked[file] = CheckedDocument(other.document)
                continue
            value = None if refusal or name_problem(file) else cache.get(reference.id)
            if value is None:
                read += 1
                checked[file] = one = check_manifest(file, _content(repository, reference))
                if one.document is None:
                    continue
                value = with_shared_parts(one.document.value)
                cache.put(reference.id, value)
            # Also of one that was just parsed: ten thousand do not keep their texts for a problem that few have.
            checked[file] = CheckedDocument(Document(file, value, _Places(repository, reference, file)))
    if read > MANY:
        repository.let_go()
    return checked, out_of_place


class _Places(NamedTuple):
    """Finds the places in a manifest whose value came from the cache, by parsing it after all."""

    repository: RegistryRepository
    reference: BlobReference
    file: str

    def __call__(self, wanted: Collection[Pointer] = ()) -> SourceMap:
        data = self.repository.read_blob(self.reference.id, limit=MAX_BYTES)
        return parse_yaml(data, self.file).find_places(wanted)


class _PlacesOf(NamedTuple):
    """Finds the places in a manifest that no commit has yet."""

    content: bytes
    file: str

    def __call__(self, wanted: Collection[Pointer] = ()) -> SourceMap:
        return parse_yaml(self.content, self.file).find_places(wanted)


def _content(repository: RegistryRepository, reference: BlobReference) -> bytes | Refusal:
    if reference.refusal:
        return Refusal(reference.refusal)
    if reference.size > MAX_BYTES:
        return _TOO_LARGE
    return repository.read_blob(reference.id, limit=MAX_BYTES)


_Entries = tuple[dict[str, Entry], dict[str, Diagnostic]]


def _own_entries(
    repository: RegistryRepository, host: str, recorded: str | None, cache: ParsedDocuments, *, texts_alone: bool
) -> _Entries:
    """Return a host's entries; those that were read last are not read again for a commit that has the same ones."""
    folder = f"{entries.FOLDER}/{host}"
    key = (folder, repository.tree_id(recorded, folder))
    if cache.read_last[0] == key:
        return cast("_Entries", cache.read_last[1])
    if not texts_alone:
        cache.read_last = (None, None)  # a host's entries are let go before another's are read
    kept, texts = cache.keeps(host), texts_alone or cache.texts_alone
    read = _entries(repository, _listed_entries(repository, host, recorded), cache, kept=kept, texts_alone=texts)
    if not texts_alone:
        cache.read_last = (key, read)
    return read


def _own_problems(
    repository: RegistryRepository, host: str, recorded: str | None, cache: ParsedDocuments
) -> dict[str, Diagnostic]:
    """Return what is wrong in a host's entries, of which none is kept."""
    folder = f"{entries.FOLDER}/{host}"
    if cache.read_last[0] == (folder, repository.tree_id(recorded, folder)):
        return cast("_Entries", cache.read_last[1])[1]
    cache.read_last = (None, None)
    readable, broken = _readable(_listed_entries(repository, host, recorded))
    kept = cache.keeps(host)
    new = {file: one for file, one in readable.items() if not kept or cache.text(f"{file}:{one.id}") is None}
    for file, (_, data) in zip(new, repository.read_blobs(new.values(), limit=ENTRY_LIMIT_BYTES), strict=True):
        try:
            entries.read_entry(file, data)
        except InvalidEntryError as error:
            broken[PurePosixPath(file).stem] = whole_file(file, error.problem, error.remedy or "")
    if len(new) > MANY:
        repository.let_go()
    return broken


def _listed_entries(repository: RegistryRepository, host: str, recorded: str | None) -> dict[str, BlobReference]:
    listed = repository.list_files(recorded, f"{entries.FOLDER}/{host}")
    return {file: reference for file, reference in listed.items() if file.count("/") == ENTRY_DEPTH}


def _unread(file: str, reference: BlobReference) -> Diagnostic:
    if reference.refusal:
        return whole_file(file, f"the entry is {reference.refusal}", "restore it from an earlier commit")
    return whole_file(file, entries.TOO_LARGE, entries.take_out(PurePosixPath(file).stem))


def _readable(references: Mapping[str, BlobReference]) -> tuple[dict[str, BlobReference], dict[str, Diagnostic]]:
    """Return the entries among some files, and what is wrong with those that are not read."""
    readable: dict[str, BlobReference] = {}
    broken: dict[str, Diagnostic] = {}
    for file, reference in references.items():
        if reference.refusal or reference.size > ENTRY_LIMIT_BYTES:
            broken[PurePosixPath(file).stem] = _unread(file, reference)
        elif file.endswith(entries.SUFFIX):
            readable[file] = reference
    return readable, broken


def _entries(
    repository: RegistryRepository,
    references: Mapping[str, BlobReference],
    cache: ParsedDocuments,
    *,
    kept: bool,
    texts_alone: bool,
) -> _Entries:
    found: dict[str, Entry] = {}
    listed, broken = _readable(references)
    readable: dict[str, BlobReference] = {}
    for file, reference in listed.items():
        known = cache.text(f"{file}:{reference.id}") if kept else None
        if known is None:
            readable[file] = reference
            continue
        entry = entries.entry_of_parts(cast("list[Any]", known.summary), known.text)
        found[entry.name] = entry
    if kept:
        cache.let_unused_go()  # before others are parsed
    few = sum(reference.size for reference in readable.values()) <= FEW_BYTES  # need not be parsed a second time
    contents = repository.read_blobs(readable.values(), limit=ENTRY_LIMIT_BYTES)
    for file, (reference, data) in zip(readable, contents, strict=True):
        try:
            text = pack_text(data) if len(data) > LARGE_BYTES or len(readable) > MANY else data
            read = entries.read_entry(file, data)
            if texts_alone:
                found[read.name] = Entry(read.name, PackedObject(text))
                continue
            packed = entries.packed_entry(read, text)
            found[read.name] = read if few and text is data else packed
            if kept:
                cache.put(
                    f"{file}:{reference.id}", KeptText(*cast("tuple[JsonValue, bytes]", entries.parts_of(packed)))
                )
        except InvalidEntryError as error:
            broken[PurePosixPath(file).stem] = whole_file(file, error.problem, error.remedy or "")
    return found, broken
