"""The hosts of a registry: which there are, and what becomes of the records of one that is gone or has another name."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.foundation.similar_words import did_you_mean
from imageworks.git.commit import Change
from imageworks.git.log import ChangesWithin
from imageworks.git.proposal_branch import Proposed
from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import HOST, RECONCILED_REVISION, with_trailers
from imageworks.git.values import BlobReference, CommitResult, StoredBlob
from imageworks.host.settings import HostSettings, checked_host
from imageworks.operations.fleet.report import drop_report
from imageworks.operations.snapshots import state_of
from imageworks.reconcile.commit import RegistryCommitter
from imageworks.reconcile.open_registry import read_registry
from imageworks.reconcile.remote_sync import Sent, Synchronizer, publish
from imageworks.reconcile.signature_policy import refuse_unsigned
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.cross_checks import fold
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.documents.yaml_edit import respelt
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.merge import SNAPSHOT_FOLDER, snapshot_file
from imageworks.registry.load import RegistryState, records_tip
from imageworks.registry.manifests.edit import edit_manifest
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.reader import Files
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE
from imageworks.registry.settings.settings import read_settings
from imageworks.registry.snapshot import expected_snapshot
from imageworks.registry.validate import Validation, check_settings_file, validate_registry

QUIET_DAYS: Final = 30
"""After how long without a commit of its own a host is asked after."""


class HostChangeError(ImageworksError):
    """A host cannot be retired or renamed as asked; nothing was changed."""


@dataclass(frozen=True, slots=True)
class RegistryHost:
    """One host of a registry.

    Args:
        name: Its name.
        labels: What registry.yaml says of it.
        named: Whether registry.yaml names it.
        models: How many entries it has.
        last: When its records were last committed; ``None`` where they never were, or cannot be seen in this clone.
        branch: The branch of its entries, where they have one of their own.
        current: Whether it is the host that this runs on.
    """

    name: str
    labels: Mapping[str, str]
    named: bool
    models: int
    last: datetime | None
    branch: str | None = None
    current: bool = False

    def document(self) -> dict[str, object]:
        """Return the host in JSON's data model."""
        return {
            "name": self.name,
            "labels": dict(self.labels),
            "named": self.named,
            "models": self.models,
            "last_recorded": None if self.last is None else self.last.isoformat(),
            "branch": self.branch,
            "current": self.current,
        }


@dataclass(frozen=True, slots=True)
class HostChange:
    """What retiring or renaming a host changes.

    Args:
        title: The commit's subject.
        files: New bytes by registry path, or what git has of them already; ``None`` deletes.
        lines: What changes, a line each.
        notes: What is left for a person to do.
        trailers: The commit's trailers.
        branch: The branch of entries to make, the commit that it starts from, and its files.
    """

    title: str
    files: Mapping[str, Change]
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()
    trailers: Mapping[str, str] = field(default_factory=dict)
    branch: tuple[str, str, Mapping[str, Change]] | None = None


class RegistryHosts:
    """The hosts of one registry at its checked-out commit."""

    def __init__(self, root: Path, host: HostSettings, registry: RegistryState | None = None) -> None:
        self._repository = RegistryRepository.open(root, host=host.host)
        self._host = host
        registry = registry or read_registry(self._repository, host, RegistryCommitter(self._repository, host))
        named = {name: one for name, one in registry.manifests.items() if one.hosts}
        self._registry = replace(registry, manifests=named, entries={}, documents={})  # nothing is asked of the others
        content = self._reader.file(SETTINGS_FILE)
        checked = check_settings_file(SETTINGS_FILE, content).document if content is not None else None
        self._settings = checked.value if checked is not None and isinstance(checked.value, dict) else {}

    @property
    def _reader(self) -> RevisionReader:
        return RevisionReader(self._repository, self._repository.head())

    # --- looking ---------------------------------------------------------------------------------------------------

    @cached_property
    def all(self) -> Sequence[RegistryHost]:
        """Every host that registry.yaml names or that has records, by name."""
        template = self._registry.settings.branch or ""
        elsewhere = dict(self._repository.branches.of_hosts(template))
        found = {*self._registry.settings.hosts, *self._recorded(self._repository.head()), *elsewhere}
        changes = self._repository.changes_within((ENTRIES, SNAPSHOT_FOLDER), revision=self._repository.head())
        hosts = [self._one(name, elsewhere.get(name), changes) for name in sorted(found)]
        self._repository.let_go()
        return hosts

    def _one(self, name: str, tip: str | None, changes: ChangesWithin | None) -> RegistryHost:
        template = self._registry.settings.branch
        branch = template.replace("{host}", name) if template else None
        revision = tip or self._repository.head()
        own = (f"{ENTRIES}/{name}", snapshot_file(name))
        last = _last(own, changes) if tip is None else next(iter(self._repository.touching(own, revision=tip)), None)
        shown = last is not None and not self._repository.is_boundary(last)
        return RegistryHost(
            name=name,
            labels=read_settings(self._settings, name).labels,
            named=name in self._registry.settings.hosts,
            models=sum(name.endswith(".json") for name in self._repository.listing(revision, own[0])),
            last=self._repository.record(last).when if shown and last is not None else None,
            branch=branch,
            current=name == self._host.host,
        )

    def _recorded(self, revision: str | None) -> set[str]:
        snapshots = (path.rpartition("/")[2] for path in self._repository.list_files(revision, SNAPSHOT_FOLDER))
        return set(self._repository.folders(revision, ENTRIES)) | {
            name.removesuffix(".json") for name in snapshots if name.endswith(".json")
        }

    def notes(self, now: datetime | None = None) -> Iterator[str]:
        """Yield what a person should know of hosts that may be gone or have another name."""
        hosts = self.all
        present = now or datetime.now(UTC)
        others = [one for one in hosts if not one.current and one.models]
        here = next((one for one in hosts if one.current), None)
        if others and (here is None or not (here.named or here.models)):
            yield (
                f"{self._host.host} is no host of this registry yet; if it is {others[0].name} under another name: "
                f"`{_command('rename', others[0].name, self._host.host)}`"
            )
        for one in others:
            quiet = one.last is not None and present - one.last > timedelta(days=QUIET_DAYS)
            unnamed = not one.named and bool(self._registry.settings.hosts)
            if quiet or unnamed:
                when = (
                    f"last recorded anything on {one.last:%Y-%m-%d}"
                    if one.last and quiet
                    else "is not in registry.yaml"
                )
                yield f"the host {one.name} {when}; if it is gone: `{_command('retire', one.name)}`"

    def drop_report(self, name: str) -> tuple[str, ...]:
        """Forget what a retired host reported, here and on the remote; returns what a person should know."""
        return drop_report(self._repository, name)

    # --- changing --------------------------------------------------------------------------------------------------

    def retire(self, name: str) -> HostChange:
        """Return what takes a host out of the registry: its entries, its snapshot, and what names it."""
        self._known(name)
        if name == self._host.host:
            raise UsageError(
                f"{name} is the host that this runs on: its next run would record it again",
                remedy="Retire it from another host, or rename it: imageworks-models hosts rename OLD NEW",
            )
        files = self._listed(name, self._repository.head())
        entries = sum(path.startswith(ENTRIES) for path in files)
        changes: dict[str, Change] = dict.fromkeys(files)
        lines = [f"- {entries} entries and the snapshot of {name}"] if files else []
        if name in self._registry.settings.hosts:
            changes[SETTINGS_FILE] = edit_manifest(SETTINGS_FILE, self._bytes(SETTINGS_FILE), {("hosts", name): None})
            lines.append(f"~ {SETTINGS_FILE}: hosts.{name} goes")
        for file, hosts in self._naming(name):
            left = [one for one in hosts if one != name]
            if not left:
                raise HostChangeError(
                    f"{file} is for {name} alone, and would be for every host without it",
                    remedy="Delete it, or give it other hosts, and commit that first.",
                )
            changes[file] = edit_manifest(file, self._bytes(file), {("hosts",): [*left]})
            lines.append(f"~ {file}: no longer for {name}")
        branch = self._branch(name)
        notes = [] if branch is None else [f"its entries are on the branch {branch}: {_delete(branch)}"]
        change = HostChange(f"Retire the host {name}", changes, tuple(lines), tuple(notes))
        self._check(change)
        return change

    def rename(self, old: str, new: str) -> HostChange:
        """Return what gives a host another name: its records move, and what names it says the new one."""
        self._known(old)
        checked_host(new)
        taken = [one.name for one in self.all if fold(one.name) == fold(new) and one.name != old]
        if taken or new == old:
            raise UsageError(f"{taken[0] if taken else new} is a host of this registry already")
        files = self._listed(old, self._repository.head())
        changes = _moved(files, old, new)
        lines = (
            [f"> {sum(path.startswith(ENTRIES) for path in files)} entries and the snapshot of {old}"] if files else []
        )
        if old in self._registry.settings.hosts:
            changes[SETTINGS_FILE] = respelt(SETTINGS_FILE, self._bytes(SETTINGS_FILE), ("hosts", old), new, key=True)
            lines.append(f"~ {SETTINGS_FILE}: hosts.{old} is hosts.{new}")
        for file, hosts in self._naming(old):
            changes[file] = respelt(file, self._bytes(file), ("hosts", hosts.index(old)), new)
            lines.append(f"~ {file}: for {new}")
        applied = self._repository.last_applied(old, revision=self._registry.revision)
        trailers = dict(applied.trailers) if applied is not None else {}
        kept = {RECONCILED_REVISION: trailers[RECONCILED_REVISION]} if RECONCILED_REVISION in trailers else {}
        notes = [
            f'on that machine, say its name before the next run: host = "{new}" in config.toml, or IMAGEWORKS_HOST'
        ]
        branch = self._branch(old)
        moved = None
        if branch is not None and (tip := records_tip(self._repository, branch)) is not None:
            template = self._registry.settings.branch or ""
            moved = (template.replace("{host}", new), tip, _moved(self._listed(old, tip), old, new))
            notes.append(f"the branch {branch} can go once {moved[0]} is pushed: {_delete(branch)}")
        change = HostChange(
            f"Rename the host {old} to {new}", changes, tuple(lines), tuple(notes), {**kept, HOST: new}, moved
        )
        validation = self._check(change)
        if snapshot_file(new) in changes:  # it says of manifests for whom they are
            self._repository.let_go()
            state = state_of(_Changed(self._reader, changes), validation, new)
            changes[snapshot_file(new)] = expected_snapshot(state)
        return change

    def commit(self, change: HostChange, *, wait: float) -> tuple[CommitResult | None, Sent]:
        """Make one commit of a change, and push it where registry.yaml says so."""
        repository = self._repository
        commits = self._registry.settings.commits
        message, trailers = commits.message(_message(change)), {**commits.trailers, **change.trailers}
        with repository.lock(wait=wait):
            repository.check_committable()
            result = None
            if change.files:
                result = repository.commit(
                    change.files,
                    message=message,
                    expected=self._registry.revision,
                    depends_on=(MODELS, ENTRIES, SNAPSHOT_FOLDER, SETTINGS_FILE),
                    trailers=trailers,
                    sign=commits.sign,
                )
            if change.branch is not None:
                name, tip, files = change.branch
                full = with_trailers(message, trailers)
                made = repository.branches.write(files, base=tip, message=full, sign=commits.sign)
                repository.branches.move(name, made, expected=None, reason=change.title)
            recorder = RegistryCommitter(repository, self._host)
            return result, publish(Synchronizer(repository, recorder, os.environ), recorder.load(), asked=None)

    def propose(self, change: HostChange, branch: str, *, wait: float) -> Proposed:
        """Commit a change to a branch for a pull request; the work tree stays as it is."""
        if change.branch is not None or self._registry.revision is None:
            raise HostChangeError(
                "the entries of this registry have branches of their own, which no pull request can rename",
                remedy="Leave --pr-branch out.",
            )
        commits = self._registry.settings.commits
        message = with_trailers(commits.message(_message(change)), {**commits.trailers, **change.trailers})
        with self._repository.lock(wait=wait):
            return self._repository.branches.propose(
                branch, change.files, base=self._registry.revision, message=message, sign=commits.sign
            )

    def _known(self, name: str) -> None:
        known = [one.name for one in self.all]
        if name not in known:
            remedy = did_you_mean(name, known) or f"Known are: {', '.join(known) or 'none'}."
            raise UsageError(f"no host is called {name!r} in this registry", remedy=remedy)

    def _listed(self, name: str, revision: str | None) -> dict[str, BlobReference]:
        """Return the plain files of what a host recorded, by their paths."""
        listed = self._repository.list_files(revision, f"{ENTRIES}/{name}")
        snapshot = self._repository.find_file(revision, snapshot_file(name))
        found = {**listed, **({} if snapshot is None else {snapshot_file(name): snapshot})}
        return {path: one for path, one in found.items() if not one.refusal}

    def _branch(self, name: str) -> str | None:
        template = self._registry.settings.branch
        return template.replace("{host}", name) if template and "{host}" in template else None

    def _naming(self, name: str) -> Iterator[tuple[str, list[str]]]:
        """Yield the manifests that are for a host by its name, each with all whom it is for."""
        for manifest in self._registry.manifests.values():
            if name in manifest.hosts:
                yield manifest.file, list(manifest.hosts)

    def _bytes(self, file: str) -> bytes:
        content = self._reader.file(file)
        if not isinstance(content, bytes):
            raise HostChangeError(f"{file}: cannot be read")
        return content

    def _check(self, change: HostChange) -> Validation:
        """Raise unless a registry is as valid as it was with a change, and this host may make it; return what it is."""
        validation = validate_registry(_Changed(self._reader, change.files))
        before = set(validate_registry(self._reader).diagnostics) if validation.diagnostics else set()
        worse = [one for one in validation.diagnostics if one not in before]
        if worse:
            raise HostChangeError(
                f"the registry would not be valid: {worse[0].render()}",
                remedy="Change that file first (it may select hosts by a label that no other host has), and commit it.",
            )
        refuse_unsigned(self._registry, self._host, [f for f in change.files if f.startswith(f"{MODELS}/")])
        return validation


@dataclass(frozen=True, slots=True)
class _Changed:
    """A registry as it would be with some files changed."""

    reader: RevisionReader
    changes: Mapping[str, Change]

    def file(self, path: str) -> bytes | Refusal | None:
        change = self.changes.get(path)
        return self.reader.file(path) if path not in self.changes else None if change is None else self.content(change)

    def files(self, folder: str) -> Mapping[str, bytes | Refusal]:
        old = self.reader.files(folder)
        here = ((path, one) for path, one in self.changes.items() if path.startswith(f"{folder}/"))
        listed: dict[str, str | StoredBlob | bytes] = {path: path for path in old if path not in self.changes}
        listed |= {path: change for path, change in here if change is not None}
        return Files(listed, lambda place: old[place] if isinstance(place, str) else self.content(place))

    def content(self, change: StoredBlob | bytes) -> bytes:
        return self.reader.repository.read_blob(change.id) if isinstance(change, StoredBlob) else change


def _last(paths: Sequence[str], changes: ChangesWithin | None) -> str | None:
    """Return the newest commit on the checked-out branch that changed what a host recorded."""
    found = [changes.newest(path) for path in paths] if changes is not None else []
    order = {change.commit: change.place for change in found if change is not None}
    return min(order, key=order.__getitem__, default=None)


def _moved(files: Mapping[str, BlobReference], old: str, new: str) -> dict[str, Change]:
    places = {path: path.replace(f"{ENTRIES}/{old}/", f"{ENTRIES}/{new}/", 1) for path in files}
    places |= {snapshot_file(old): snapshot_file(new)} if snapshot_file(old) in files else {}
    return {**dict.fromkeys(files), **{places[path]: StoredBlob(one.id) for path, one in files.items()}}


def _message(change: HostChange) -> str:
    return "\n\n".join((change.title, "\n".join(change.lines)))


def _command(verb: str, *names: str) -> str:
    """Return a command that a shell takes for just that, whatever somebody called a folder."""
    end = ["--"] if any(name.startswith("-") for name in names) else []
    return shlex.join(["imageworks-models", "hosts", verb, *end, *names])


def _delete(branch: str) -> str:
    return f"`git push origin --delete {shlex.quote(branch)}`"
