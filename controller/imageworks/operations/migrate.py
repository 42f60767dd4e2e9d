"""Carry out a migration: one commit for each state that the predecessor left, oldest first, resumable anywhere."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from imageworks.files.state import STATE_FILE, StateDatabase
from imageworks.foundation.home import expanded
from imageworks.foundation.log import start_logging
from imageworks.git.libgit2 import blob_id
from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import HOST, MIGRATED
from imageworks.git.values import NotARegistryRepositoryError
from imageworks.host.predecessor_files import refuse_foreign
from imageworks.host.settings import (
    REGISTRY_FILE,
    HostSettings,
    RegistryNotFoundError,
    find_registry,
    load_host_settings,
    registry_to_make,
)
from imageworks.migration.model import LegacyFolder, Migration, MigrationCommit, MigrationError
from imageworks.migration.plan import MigrationTarget, identities, plan_migration
from imageworks.migration.progress import Done, choose, common, read_record, record_file, render_record
from imageworks.migration.read import read_folder
from imageworks.migration.sources import Surroundings
from imageworks.operations.init_registry import make_registry, render_files
from imageworks.providers.libraries import locations_here
from imageworks.reconcile.commit import RegistryCommitter
from imageworks.reconcile.open_registry import read_registry
from imageworks.reconcile.signature_policy import refuse_unsigned
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import entry_file, packed_entry, read_entry, render_entry
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import SUFFIXES, manifest_name
from imageworks.registry.manifests.writer import SCHEMA_COPY, modeline
from imageworks.registry.settings.settings import read_settings
from imageworks.registry.validate import CheckedDocument, check_manifest, check_settings_file, is_manifest_path

_THERE: Final = "is in the registry already"
_UNCOMMITTED: Final = "is there and not committed"


@dataclass(frozen=True, slots=True)
class Committed:
    """One commit that was made, or would be.

    Args:
        id: The commit; ``None`` where nothing was written.
        when: Its author date; ``None`` for now.
        title: Its subject.
        files: The predecessor's files that it is made of.
        added: Registry paths that are new.
        changed: Registry paths with new content.
        removed: Registry paths that are gone.
    """

    id: str | None
    when: datetime | None
    title: str
    files: tuple[str, ...]
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did, or would do.

    Args:
        root: The registry folder.
        host: The host that the entries are of.
        made: Whether the registry was made for it.
        folder: What was read.
        migration: What it becomes.
        before: How many of its steps an earlier run had done.
        commits: The steps of this run.
        kept: Registry paths that stay as they are, each with the reason.
        notes: What a person should know besides.
    """

    root: Path
    host: str
    made: bool
    folder: LegacyFolder
    migration: Migration
    before: int
    commits: tuple[Committed, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def migrate_here(folder: Path, registry: Path | None, *, dry_run: bool, wait: float) -> Migrated:
    """Turn a folder of the earlier tool into the registry that is meant, made where there is none; see `migrate`."""
    root = _root(registry)
    host = load_host_settings(registry=root)
    if not dry_run:
        start_logging(host.log_dir)
    return migrate(expanded(folder).absolute(), root, host, dry_run=dry_run, wait=wait)


def _root(given: Path | None) -> Path:
    """Return the registry to write to, which may be one that is to be made."""
    if given is None:
        try:
            return find_registry()
        except RegistryNotFoundError:
            return registry_to_make()
    path = expanded(given).absolute()
    return path / "registry" if (path / "registry" / REGISTRY_FILE).is_file() else path


def migrate(source: Path, root: Path, host: HostSettings, *, dry_run: bool, wait: float = 0.0) -> Migrated:
    """Turn the predecessor's folder into commits of a registry, which is made where there is none."""
    refuse_foreign(root, registry=(root / REGISTRY_FILE).is_file())
    folder = read_folder(source)
    made = not _is_registry(root)
    if made and dry_run:
        return _planned_anew(folder, root, host)
    if made:
        plan_migration(folder, _target_anew(root, host))  # so that nothing is made where it cannot be finished
        # Killed and run again it is the same registry.
        digests = "".join(file.sha256 for file in folder.files)
        root = make_registry(root, host, registry_id=str(uuid5(NAMESPACE_OID, digests))).root
    repository = RegistryRepository.open(root, host=host.host)
    if dry_run:
        return replace(_Migrator(repository, host).run(folder, dry_run=True), made=made)
    with repository.lock(wait=wait) as recovery:
        repository.check_committable()
        result = _Migrator(repository, host).run(folder, dry_run=False)
    return replace(result, made=made, notes=(*recovery.notes, *result.notes))


def _is_registry(root: Path) -> bool:
    """Return whether a folder is a registry, perhaps one whose making was killed before its files were written."""
    if (root / REGISTRY_FILE).is_file():
        return True
    if not root.is_dir():
        return False
    try:
        repository = RegistryRepository.open(root)
    except NotARegistryRepositoryError:
        return False
    return repository.find_file(repository.head(), REGISTRY_FILE) is not None


def _planned_anew(folder: LegacyFolder, root: Path, host: HostSettings) -> Migrated:
    migration = plan_migration(folder, _target_anew(root, host))
    before: dict[str, bytes] = {}
    commits = []
    for step in migration.steps:
        files = _files(step, host.host, {}, ())
        commits.append(_compared(step, {path: blob_id(data) for path, data in before.items()}, files))
        before = files
    return Migrated(
        root=root, host=host.host, made=True, folder=folder, migration=migration, before=0, commits=tuple(commits)
    )


def _target_anew(root: Path, host: HostSettings) -> MigrationTarget:
    """Return the registry that ``init`` would make at a folder."""
    files = render_files(locations_here(host), host=host.host)
    return _target(
        {path: data for path, data in files.items() if is_manifest_path(path)},
        files[REGISTRY_FILE],
        host.host,
        entries=(),
        copied=True,
        done=Done(),
        root=root,
    )


def _target(
    manifests: Mapping[str, bytes | Refusal],
    settings: bytes | Refusal | None,
    host: str,
    *,
    entries: Sequence[str],
    copied: bool,
    done: Done,
    root: Path,
) -> MigrationTarget:
    checked = check_settings_file(REGISTRY_FILE, settings) if settings is not None else CheckedDocument(None)
    if checked.diagnostics:
        raise MigrationError(f"{root}: its settings are not valid:", checked.diagnostics, remedy="Correct them first.")
    document = checked.document.value if checked.document else None
    own = read_settings(document if isinstance(document, dict) else {}, host)
    if own.branch is not None:
        raise MigrationError(
            f"{root / REGISTRY_FILE}: commit.branch sends entries to {own.branch}; a migration writes to one branch",
            remedy="Take commit.branch out, migrate, and put it back.",
        )
    return MigrationTarget(
        around=Surroundings(host, own.locations, host in own.hosts or bool(entries), modeline(copied=copied), root),
        others={file: check_manifest(file, data) for file, data in manifests.items()},
        settings=checked.document,
        names=frozenset({*map(manifest_name, manifests), *entries}),
        known=done.names,
    )


def _files(step: MigrationCommit, host: str, kept: Collection[str], theirs: Iterable[str]) -> dict[str, bytes]:
    """Return the files of a step by registry path."""
    manifests = {f"{MODELS}/{name}.yaml": one.data for name, one in step.declared.items()}
    files = {path: data for path, data in manifests.items() if path not in kept}
    declared = {*map(manifest_name, files), *map(manifest_name, theirs)}
    for name, found in step.found.items():
        path = entry_file(host, name)
        if path not in kept:
            files[path] = render_entry({**found.fields, "managed": name in declared})
    return files


def _compared(step: MigrationCommit, before: Mapping[str, str], files: Mapping[str, bytes]) -> Committed:
    """Return what a step changes of what stands there by blob ids."""
    return Committed(
        None,
        step.when,
        step.title,
        step.files,
        added=tuple(sorted(path for path in files if path not in before)),
        changed=tuple(sorted(p for p, data in files.items() if p in before and before[p] != blob_id(data))),
        removed=tuple(sorted(path for path in before if path not in files)),
    )


class _Migrator:
    """Migrates into one registry."""

    def __init__(self, repository: RegistryRepository, host: HostSettings) -> None:
        self._repository = repository
        self._host = host
        self._recorder = RegistryCommitter(repository, host)
        self._registry = read_registry(repository, host, self._recorder)
        self._file = record_file(host.host)
        head = repository.head()
        record = RevisionReader(repository, head).file(self._file)
        self._all = list(read_record(self._file, record if isinstance(record, bytes) else None))
        self._there = {
            path: reference.id
            for folder in (MODELS, f"{ENTRIES}/{host.host}")
            for path, reference in repository.list_files(head, folder).items()
        }

    def run(self, folder: LegacyFolder, *, dry_run: bool) -> Migrated:
        """Plan, and carry out what is not done yet."""
        steps = identities(folder)
        number = choose(steps, self._all)
        if number is None:
            number = len(self._all)
            self._all.append(Done())
        done = self._all[number]
        before = common(steps, done)
        if before == len(steps):
            return self._result(folder, Migration((), done.names), before)
        migration = plan_migration(folder, self._target(done))
        done = replace(done, steps=done.steps[:before], names={**done.names, **migration.names})
        kept = self._kept(migration, done)
        theirs = [path for path, blob in self._there.items() if done.written.get(path) != blob]
        declared = {f"{MODELS}/{name}.yaml" for step in migration.steps[before:] for name in step.declared}
        refuse_unsigned(self._registry, self._host, declared)
        commits = []
        for step in migration.steps[before:]:
            files = _files(step, self._host.host, kept, filter(is_manifest_path, theirs))
            ours = {path for path, blob in done.written.items() if self._there.get(path) == blob}
            commit = _compared(step, {path: self._there[path] for path in {*files, *ours} & self._there.keys()}, files)
            written = {path: blob_id(data) for path, data in files.items()}
            done = replace(done, steps=(*done.steps, step.id), written=written)
            self._all[number] = done
            commits.append(commit if dry_run else self._commit(step, commit, files))
            self._there = {p: b for p, b in self._there.items() if p not in commit.removed} | written
        if not dry_run:
            self._finish(migration, kept)
        return replace(self._result(folder, migration, before), commits=tuple(commits), kept=kept)

    def _result(self, folder: LegacyFolder, migration: Migration, before: int) -> Migrated:
        return Migrated(
            root=self._repository.root,
            host=self._host.host,
            made=False,
            folder=folder,
            migration=migration,
            before=before,
        )

    def _target(self, done: Done) -> MigrationTarget:
        """Return the registry without what this migration wrote and nobody changed since."""
        head = self._repository.head()
        reader = RevisionReader(self._repository, head)
        theirs = [path for path, blob in self._there.items() if done.written.get(path) != blob]
        manifests = {path: reader.file(path) for path in theirs if is_manifest_path(path)}
        entries = [manifest_name(path) for path in theirs if path.startswith(f"{ENTRIES}/")]
        return _target(
            {path: data for path, data in manifests.items() if data is not None},
            reader.file(REGISTRY_FILE),
            self._host.host,
            entries=entries,
            copied=reader.file(SCHEMA_COPY) is not None,
            done=done,
            root=self._repository.root,
        )

    def _kept(self, migration: Migration, done: Done) -> dict[str, str]:
        """Return the files that a step would write and that are somebody else's, each with the reason."""
        host = self._host.host
        wanted = {path for step in migration.steps for path in _files(step, host, (), ())}
        uncommitted = self._repository.uncommitted(MODELS, f"{ENTRIES}/{host}")
        kept: dict[str, str] = {}
        for path in sorted(wanted):
            spellings = [path, *(path.removesuffix(SUFFIXES[0]) + other for other in SUFFIXES[1:])]
            if any(one in self._there and done.written.get(one) != self._there[one] for one in spellings):
                kept[path] = _THERE
            elif any(one in uncommitted for one in spellings):
                kept[path] = _UNCOMMITTED
        return kept

    def _commit(self, step: MigrationCommit, commit: Committed, files: Mapping[str, bytes]) -> Committed:
        host = self._host.host
        touched = {path: files[path] for path in (*commit.added, *commit.changed)}
        changes: dict[str, bytes | None] = {**touched, **dict.fromkeys(commit.removed)}
        registry = self._recorder.load({path: data for path, data in changes.items() if path.startswith(f"{MODELS}/")})
        own = f"{ENTRIES}/{host}/"
        written = {
            name: packed_entry(read_entry(path, files[path]), files[path])
            for name in step.found
            if (path := entry_file(host, name)) in touched
        }
        gone = {manifest_name(path) for path in commit.removed if path.startswith(own)}
        commits = registry.settings.commits
        with self._recorder.records.changes(registry, written, gone=gone) as records:
            result = self._repository.commit(
                {**changes, **records, self._file: render_record(self._all)},
                message=commits.message("\n\n".join([step.title, *_body(commit)])),
                expected=registry.revision,
                depends_on=(MODELS, REGISTRY_FILE, f"{ENTRIES}/{host}"),
                trailers={**commits.trailers, HOST: host, MIGRATED: ", ".join(step.files)},
                sign=commits.sign,
                authored=step.when,
            )
        return replace(commit, id=result.id)

    def _finish(self, migration: Migration, kept: Mapping[str, str]) -> None:
        """Write what follows from the last commit, and what belongs to the host and not to git."""
        registry = self._recorder.load()
        self._recorder.records.remember(registry)
        self._recorder.records.write_compatible(registry)
        self._recorder.save()
        with StateDatabase.open(self._host.state_dir / STATE_FILE, read_only=False) as state:
            for name, found in migration.steps[-1].found.items():
                if found.last_accessed and entry_file(self._host.host, name) not in kept:
                    state.set_last_accessed(name, found.last_accessed)


def _body(commit: Committed) -> list[str]:
    signs = (("+", commit.added), ("~", commit.changed), ("-", commit.removed))
    lines = [f"{sign} {path}" for sign, paths in signs for path in paths]
    return ["\n".join(lines)] if lines else []
