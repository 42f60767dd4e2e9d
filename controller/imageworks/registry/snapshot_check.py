"""Whether the committed snapshots are what manifests and entries give, as far as this clone can tell."""

import hashlib
import json
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from imageworks.foundation.bounded_json import read_json
from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import HOST, RECONCILED_REVISION
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.documents.cache import ParsedDocuments
from imageworks.registry.documents.diagnostic import Diagnostic, whole_file
from imageworks.registry.documents.git_leftovers import conflict_line
from imageworks.registry.entries import entry as entries
from imageworks.registry.entries.merge import (
    ENTRY,
    SNAPSHOT_FOLDER,
    Owners,
    in_snapshot,
    json_lines,
    load_owners,
    merge_each,
    merge_one,
    render_snapshot,
    snapshot_file,
)
from imageworks.registry.entries.packed import has_a_model_a_line, models_of
from imageworks.registry.load import ENTRY_DEPTH, RegistryState, load_registry
from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.settings.settings import read_settings
from imageworks.registry.snapshot import each_whole, gives, gives_blob
from imageworks.registry.validate import Validation, valid_entries

if TYPE_CHECKING:
    from imageworks.git.log import ChangesWithin, ChangeWithin

KEPT_BY_GIT = (".gitattributes", ".gitignore", ".gitkeep")
"""What people, and the merge driver, put into these folders."""

REBUILD = (
    "`imageworks-models reconcile` on its host writes it anew, as does `imageworks-models snapshot rebuild` here; "
    "`git log -- snapshot` shows who changed it"
)
UNSHALLOW = "`git fetch --unshallow` brings the earlier commits"


@dataclass(frozen=True, slots=True)
class SnapshotCheck:
    """What was found of a registry's snapshots.

    Args:
        problems: What is wrong, by place.
        hidden: Snapshots of which a shallow clone does not have the commit that wrote them.
    """

    problems: tuple[Diagnostic, ...]
    hidden: tuple[str, ...]


def check_snapshots(repository: RegistryRepository, host: str, cache: ParsedDocuments) -> SnapshotCheck:
    """Return what is wrong with what controllers commit: every host's snapshot, and what no controller wrote."""
    head = repository.head()
    problems, hosts = _check_places(repository, head)
    if any(problem.file in {SNAPSHOT_FOLDER, entries.FOLDER} for problem in problems):
        return SnapshotCheck(tuple(problems), ())  # nothing can be read through them
    for name in hosts:
        stored = repository.find_file(head, snapshot_file(name))
        if stored is not None and not stored.refusal:
            repository.view_blob(stored.id)  # what follows asks only for its id: reading alone finds it damaged
    cache = cache.for_texts()
    own = load_registry(repository, host, revision=head, cache=cache)
    found = [_check_host(repository, own, cache)] if own.branch is not None else []
    own = replace(own, entries={})
    changes = repository.changes_within((SNAPSHOT_FOLDER, entries.FOLDER), revision=head)
    # This host first, whose entries were just read; each host's are let go before the next one's are read.
    names = sorted(hosts, key=lambda one: (one != host, one))
    found += [_check_host(repository, name, cache, own, changes) for name in names]
    problems += [problem for problem, _ in found if problem is not None]
    problems += (_edited(repository, file) for file in repository.uncommitted(SNAPSHOT_FOLDER))
    return SnapshotCheck(tuple(sorted(set(problems))), tuple(unseen for _, unseen in found if unseen))


def _check_host(
    repository: RegistryRepository,
    host: RegistryState | str,
    cache: ParsedDocuments,
    own: RegistryState | None = None,
    changes: "ChangesWithin | None" = None,
) -> tuple[Diagnostic | None, str]:
    """Return what is wrong with one host's snapshot, and the file where a shallow clone hides what wrote it.

    Args:
        repository: Where it is.
        host: The host, as it was read, or its name.
        cache: Documents that were parsed before.
        own: The registry; ``None`` where the host is this one, with a branch for its entries.
        changes: Which commits changed what hosts recorded, where they are on the checked-out branch.
    """
    if isinstance(host, str):
        head = repository.head()
        state = load_registry(repository, host, revision=head, cache=cache, recorded=head)
    else:
        state = host
    problem, unseen = snapshot_problem(repository, state, cache, changes)
    file = snapshot_file(state.host)
    if problem is None and own is not None:
        problem = _unknown_host(repository, state.host, own, changes)
    if problem is None and state.entries and repository.tree_id(state.recorded, file) is None:
        problem = whole_file(file, "missing beside the entries of its host", f"it is generated: {REBUILD}")
    return problem, file if unseen else ""


def snapshot_problem(
    repository: RegistryRepository,
    now: RegistryState,
    cache: ParsedDocuments,
    changes: "ChangesWithin | None" = None,
    *,
    was_right: Callable[[str], bool] = lambda _: False,
) -> tuple[Diagnostic | None, bool]:
    """Return what is wrong with one host's snapshot, and whether a shallow clone hides the commit that wrote it.

    A snapshot must be what its own commit's manifests and entries give. Manifests that people commit later do not make
    it wrong: it waits for the next reconcile. So it is compared at the commit that last wrote it. What hosts recorded
    is always committed with the snapshot, so that is compared with the newest entries as well: a merge or an edit may
    have brought in one without the other.

    Args:
        repository: Where it is.
        now: The registry as it is now.
        cache: Documents that were parsed before.
        changes: Which commits changed snapshots, where that was asked before.
        was_right: Says of a commit whether it is known that its snapshot is what it gives.
    """
    file = snapshot_file(now.host)
    reference = repository.find_file(now.recorded, file)
    if now.settings_invalid:
        return None, False  # which manifests are for the host, and where its entries are, nobody knows
    if reference is None:
        is_folder = repository.tree_id(now.recorded, file) is not None
        return (_misplaced(file, "a folder") if is_folder else None), False
    if reference.refusal:
        return _misplaced(file, reference.refusal), False
    written = _written(changes or _walk(repository, now), file, reference.id)
    if written is not None and _has_entries_of(repository, now, written) and was_right(written):
        return None, False  # only manifests have changed since
    if changes is None:
        repository.let_go()  # the walk, of which 18 MiB would stay beside the registries that are compared
    return _compared(repository, now, cache, reference.id, changes, written)


def _compared(  # what a comparison needs
    repository: RegistryRepository,
    now: RegistryState,
    cache: ParsedDocuments,
    blob: str,
    changes: "ChangesWithin | None",
    written: str | None,
) -> tuple[Diagnostic | None, bool]:
    """Return the same by what the commit that wrote the snapshot gives, and by the entries as they are now."""
    if gives_blob(repository, now, blob):
        return None, False
    then = now if written is None else _state(repository, now.host, written, cache)
    if then is not now and gives_blob(repository, then, blob):
        if _has_entries_of(repository, now, then.recorded):
            return None, False  # as above, but nobody noted it
        then = replace(then, entries={})  # no more is asked of it
        return _changed_since(repository, now, then.revision, cache, blob), False
    file, data = snapshot_file(now.host), _without_files(repository.read_blob(blob))
    if gives(now, data):
        return None, False
    if written and repository.is_boundary(written) and not gives(then, data):
        changes = changes or _walk(repository, now)
        then = (_explained(repository, now.host, changes, (file, blob), data, cache) if changes else None) or then
    if gives(then, data):
        then = replace(then, entries={})
        return _changed_since(repository, now, then.revision, cache, blob), False
    if written is not None and repository.is_boundary(written):
        return _unlike_entries(file, data, now), True
    if written is None or not _only_behind(repository, file, written, data, then):
        return _first_difference(file, data, then), False
    return _unlike_entries(file, data, now), False


def _has_entries_of(repository: RegistryRepository, now: RegistryState, commit: str | None) -> bool:
    """Return whether a commit has the entries of now."""
    own = f"{entries.FOLDER}/{now.host}"
    return repository.tree_id(commit, own) == repository.tree_id(now.recorded, own)


def _changed_since(
    repository: RegistryRepository, now: RegistryState, then: str | None, cache: ParsedDocuments, blob: str
) -> Diagnostic | None:
    """Return what is wrong with a snapshot that a commit gives: of what was changed since, only manifests may be.

    Nobody but the controller writes entries. Those of now are not read a second time, beside themselves.
    """
    mixed = load_registry(repository, now.host, revision=then, cache=cache, recorded=now.recorded, with_entries=False)
    mixed = replace(mixed, entries=now.entries)
    unknown = {*now.blocked, *mixed.blocked}
    if not unknown and gives_blob(repository, mixed, blob):
        return None  # as it is wherever people commit manifests: told without its 18 MB in the memory
    data = _without_files(repository.read_blob(blob))
    if not unknown and gives(mixed, data):
        return None
    return _first_difference(snapshot_file(now.host), _without(data, unknown), mixed, unknown)


def _without_files(data: bytes) -> bytes:
    """Return a snapshot as one is written now: those of earlier versions list the verified files of each model."""
    if b'"files"' not in data:
        return data
    try:
        return data if all(in_snapshot(one) is one for one in _models(data)) else render_snapshot(_models(data))
    except ValueError:
        return data


def _without(data: bytes, names: Collection[str]) -> bytes:
    """Return a snapshot without models that cannot be read now, of which nobody can say anything."""
    return render_snapshot(model for model in _models(data) if model["name"] not in names) if names else data


def _models(data: bytes) -> Iterator[dict[str, object]]:
    """Yield what a snapshot has, whoever wrote it; ``ValueError`` where it is none."""
    if has_a_model_a_line(data):
        yield from models_of(data)
        return
    models = read_json(data)
    if not isinstance(models, list) or not all(isinstance(one, dict) for one in models):
        raise ValueError("no list of models")
    yield from models


def is_as_files_give(reader: WorkTreeReader, validation: Validation) -> bool:
    """Return whether each snapshot here is what the manifests and entries beside it give; else commits have to tell."""
    owners, settings = load_owners(), validation.settings.value if validation.settings is not None else None
    snapshots = reader.files(SNAPSHOT_FOLDER)
    hosts = {PurePosixPath(file).stem: file for file in snapshots if file.count("/") == 1}
    if set(validation.entries) - set(hosts) or len(hosts) < len(snapshots):
        return False
    for host, file in hosts.items():
        labels = read_settings(settings if isinstance(settings, dict) else {}, host).labels
        declared = (item.manifest for item in validation.manifests.values() if item.manifest.applies_to(host, labels))
        recorded = (entries.Entry(name, fields) for name, fields in valid_entries(reader, validation, host))
        try:
            if not reader.is_made_of(file, json_lines(map(in_snapshot, merge_each(declared, recorded, owners)))):
                return False
        except entries.InvalidEntryError:
            return False  # edited just now
    return True


def _check_places(repository: RegistryRepository, head: str | None) -> tuple[list[Diagnostic], set[str]]:
    """Return what stands where controllers put nothing, and the hosts that have files where they do."""
    problems: list[Diagnostic] = []
    hosts: set[str] = set()
    for folder, depth in ((SNAPSHOT_FOLDER, 1), (entries.FOLDER, ENTRY_DEPTH)):
        top = repository.find_file(head, folder)
        if top is not None:
            problems.append(_misplaced(folder, top.refusal or "a file"))
            continue
        for file, reference in repository.unsized_files(head, folder):
            path = PurePosixPath(file)
            if file.count("/") == depth and path.suffix == entries.SUFFIX and not path.stem.startswith("."):
                hosts.add(path.parts[1] if depth > 1 else path.stem)
                if reference.refusal and depth > 1:
                    problems.append(_misplaced(file, reference.refusal))
            elif path.name not in KEPT_BY_GIT or reference.refusal:
                problems.append(_misplaced(file, reference.refusal or "no file of a host"))
    return problems, hosts


def _unknown_host(
    repository: RegistryRepository, name: str, registry: RegistryState, changes: "ChangesWithin | None"
) -> Diagnostic | None:
    """Return that a host is none: registry.yaml does not name it, and no controller of it ever committed."""
    own = (f"{entries.FOLDER}/{name}", snapshot_file(name))
    if name in registry.settings.hosts or registry.settings_invalid or repository.is_shallow:
        return None
    if changes is not None and any(changes.newest(path, lambda one: one.host == name) for path in own):
        return None
    remedy = f"name it under `hosts` in registry.yaml, or `imageworks-models hosts retire -- {shlex.quote(name)}`"
    return whole_file(own[0], f"no host is called {name}: registry.yaml does not name it, nor did it commit", remedy)


def _misplaced(file: str, what: str) -> Diagnostic:
    return whole_file(
        file, f"is {what}", f"take it out with `git rm -r -- {shlex.quote(file)}`, commit that, and reconcile"
    )


def _state(repository: RegistryRepository, host: str, revision: str | None, cache: ParsedDocuments) -> RegistryState:
    return load_registry(repository, host, revision=revision, cache=cache, recorded=revision, texts_alone=True)


def _walk(repository: RegistryRepository, now: RegistryState) -> "ChangesWithin | None":
    return repository.changes_within((SNAPSHOT_FOLDER,), revision=now.recorded)


def _written(changes: "ChangesWithin | None", file: str, blob: str) -> str | None:
    """Return the newest commit that made a snapshot what it is; a merge may have taken it from either side."""
    change = changes.newest(file, lambda one: one.object == blob) if changes is not None else None
    return None if change is None else change.commit


def _explained(
    repository: RegistryRepository,
    host: str,
    changes: "ChangesWithin",
    written: tuple[str, str],
    data: bytes,
    cache: ParsedDocuments,
) -> RegistryState | None:
    """Return what a snapshot was made of, by any commit where a shallow clone ends.

    Behind a merge there are several, each seems to have written all that it has, and the time says nothing.
    """
    file, blob = written

    def explains(change: "ChangeWithin") -> bool:
        if change.object != blob or not repository.is_boundary(change.commit):
            return False
        return gives(_state(repository, host, change.commit, cache), data)

    found = changes.newest(file, explains)
    return None if found is None else _state(repository, host, found.commit, cache)


def _only_behind(repository: RegistryRepository, file: str, written: str, data: bytes, expected: RegistryState) -> bool:
    """Return whether a commit that no controller made just so left some models as they were before it.

    People merge, squash and replay what hosts committed, on manifests that those hosts have not seen: that waits for
    the next reconcile. What such a commit changes of a snapshot must be right all the same.
    """
    record = repository.record(written)
    reconciled = record.trailers.get(RECONCILED_REVISION)
    host = PurePosixPath(file).stem
    if record.trailers.get(HOST) == host and reconciled in {None, *record.parents[:1]}:
        return False
    try:
        here = _digests(_models(data))
        parents = [
            _digests(_models(RevisionReader(repository, parent).plain(file) or b"[]")) for parent in record.parents
        ]
    except ValueError:
        return False
    right = _digests(each_whole(expected))
    return all(
        here.get(name) in [right.get(name), *(before.get(name) for before in parents)]
        for name in here.keys() | right.keys()
    )


def _digests(models: Iterable[Mapping[str, object]]) -> dict[str, bytes]:
    """Return what tells whether two snapshots say the same of a model, by its name: ten thousand of them have 18 MB."""
    return {str(one.get("name")): _digest(in_snapshot(one)) for one in models}


def _digest(model: Mapping[str, object]) -> bytes:
    return hashlib.sha256(b"".join(json_lines([model]))).digest()


def _first_difference(
    file: str, data: bytes, registry: RegistryState, unknown: Collection[str] = ()
) -> Diagnostic | None:
    """Return where a snapshot is not what a registry gives, but for some models; both line by line."""
    models = (model for model in each_whole(registry) if model["name"] not in unknown)
    sides = zip_longest(BytesIO(data), _lines(json_lines(map(in_snapshot, models))))
    line = next((number for number, (one, other) in enumerate(sides, 1) if one != other), None)
    if line is None:
        return None
    return Diagnostic(file, line, 1, "not what manifests and entries give", f"it is generated: {REBUILD}")


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).splitlines(keepends=True)
        yield from whole
    yield rest


def _unlike_entries(file: str, data: bytes, registry: RegistryState) -> Diagnostic | None:
    """Return the first model of which a snapshot says of what is on the host something else than the entries do."""
    owners = load_owners()
    try:
        listed = {str(one.get("name")): _digest(_recorded(one, owners)) for one in _models(data)}
    except ValueError:
        return whole_file(file, "no snapshot", f"it is generated: {REBUILD}")
    nothing = _digest({})
    for name in sorted(listed.keys() | registry.entries.keys()):
        if name in registry.blocked:
            continue
        entry = registry.entries.get(name)
        expected = _recorded(in_snapshot(merge_one(None, entry, owners)) if entry is not None else {}, owners)
        if listed.get(name, nothing) != _digest(expected):
            message = f"{name}: not what its entry in discovered/{registry.host} says"
            return Diagnostic(file, _line_of(data, name), 1, message, f"it is generated: {REBUILD}")
    return None


def _recorded(model: Mapping[str, object], owners: Owners) -> dict[str, object]:
    return {field: value for field, value in model.items() if owners.get(field) == ENTRY}


def _line_of(data: bytes, name: str) -> int:
    needle = f'"name":{json.dumps(name, ensure_ascii=False)}'.encode()
    return next((number for number, line in enumerate(BytesIO(data), 1) if needle in line), 1)


def _edited(repository: RegistryRepository, file: str) -> Diagnostic:
    content = WorkTreeReader(repository.root).file(file)
    line = conflict_line(content) if isinstance(content, bytes) else None
    if line is not None:
        remedy = "settle the others first; `imageworks-models snapshot rebuild` then makes this one of what they say"
        return Diagnostic(file, line, 1, "a conflict of git is not settled here", remedy)
    back = f"git checkout -- {shlex.quote(file)}"
    remedy = f"take it back with `{back}`, or make it anew with `imageworks-models snapshot rebuild`"
    return whole_file(file, "edited by hand", remedy)


def render(problems: Iterable[Diagnostic]) -> Iterator[str]:
    """Yield each problem with its remedy, as the command line shows it."""
    for one in problems:
        yield f"{one.render()}; {one.remedy}"
