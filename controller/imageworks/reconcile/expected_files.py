"""Entries and snapshot as they should stand in git, and whether they do."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path

from imageworks.files.renames import write_durably
from imageworks.foundation.log import warn
from imageworks.git.commit import Change
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import BlobRefusedError, StoredBlob
from imageworks.host.predecessor_files import COMPATIBILITY_FILE, is_ours
from imageworks.host.settings import HostSettings
from imageworks.registry import legacy_snapshot
from imageworks.registry.entries.entry import Entry, entry_file, render_entry
from imageworks.registry.entries.merge import (
    Owners,
    in_snapshot,
    json_lines,
    load_owners,
    merge_each,
    snapshot_file,
)
from imageworks.registry.load import RegistryState
from imageworks.registry.snapshot import gives_blob
from imageworks.registry.snapshot_note import SnapshotNote, rules


class ExpectedFiles:
    """Compares a host's snapshot in git with what manifests and entries give."""

    def __init__(self, repository: RegistryRepository, host: HostSettings) -> None:
        self._repository = repository
        self._host = host
        self._note = SnapshotNote(host, repository.root)
        self._owners: Owners | None = None

    def stale(self, registry: RegistryState) -> bool:
        """Return whether the snapshot at a commit is not what that commit's manifests and entries give."""
        here = self._repository.tree_id(registry.recorded, snapshot_file(registry.host))
        if registry.settings_invalid:
            return False  # nobody knows which branch it belongs to
        if here is None:
            return bool(registry.entries or registry.applied)
        if self._note.snapshot_of(self._inputs(registry.revision, registry.recorded)) == here:
            return False
        try:
            return not gives_blob(self._repository, registry, here)
        except BlobRefusedError:  # larger than any that we write
            return True

    def was_right(self, revision: str) -> bool:
        """Return whether this host noted of a commit that its snapshot is what its manifests and entries give."""
        here = self._repository.tree_id(revision, snapshot_file(self._host.host))
        return here is not None and self._note.snapshot_of(self._inputs(revision, revision)) == here

    def _table(self) -> Owners:
        if self._owners is None:
            self._owners = load_owners()
        return self._owners

    @contextmanager
    def changes(
        self, registry: RegistryState, entries: Mapping[str, Entry], *, gone: Iterable[str]
    ) -> Iterator[dict[str, Change]]:
        """Yield the files to commit: new entries, which git has then, deleted ones, and the snapshot that follows."""
        host, known, gone = registry.host, registry.entries.keys() | registry.unreadable, frozenset(gone)
        left = {name: entry for name, entry in registry.entries.items() if name not in gone} | dict(entries)
        files: dict[str, Change] = {entry_file(host, name): None for name in gone & known}
        rendered = ((entry_file(host, name), render_entry(entry.fields)) for name, entry in entries.items())
        files |= {file: self._repository.store(data) for file, data in rendered}
        lines = json_lines(map(in_snapshot, merge_each(registry.applied, left.values(), self._table())))
        with self._repository.spooled(lines) as snapshot:
            yield files | {snapshot_file(host): snapshot}

    def remember(self, registry: RegistryState, written: Change = None) -> None:
        """Note that the snapshot at a commit is right, so that neither the next run nor `list` need compute it.

        Args:
            registry: The registry at that commit.
            written: The snapshot, where it was just written.
        """
        here = self._repository.tree_id(registry.recorded, snapshot_file(registry.host))
        if here is None or registry.settings_invalid:
            return
        signed = self._host.require_signed or registry.settings.require_signed
        inputs = self._inputs(registry.revision, registry.recorded)
        spool = written.spool if isinstance(written, StoredBlob) else None
        read = spool.lines if spool is not None else cache(lambda: (self._repository.view_blob(here),))
        self._note.write(registry, inputs, here, read, signed=signed)

    def write_compatible(self, registry: RegistryState) -> None:
        """Write the git-ignored files that the predecessor's consumers read, where they do not say so already.

        What is recorded is recorded: where they cannot be written now, that is told, and the next run writes them.
        """
        try:
            self._write_compatible(registry)
        except OSError as error:
            place = error.filename or self._repository.root
            warn(f"{place}: {error.strerror}; {COMPATIBILITY_FILE} says what it said before, until a run can write it")

    def _write_compatible(self, registry: RegistryState) -> None:
        if self._repository.tree_id(registry.recorded, snapshot_file(registry.host)) is None:
            return
        root = self._repository.root

        def models() -> Iterator[dict[str, object]]:
            merged = merge_each(registry.applied, registry.entries.values(), self._table())
            return legacy_snapshot.consumer_models(merged, registry=root, allows=self._host.allows)

        wanted = legacy_snapshot.render_set(models()) if registry.settings.compat else {}
        self._write_set(root / legacy_snapshot.FOLDER, wanted)
        target = root / COMPATIBILITY_FILE
        if not is_ours(target, self._repository.layout.stat_cache):
            return  # the predecessor's program was quicker: the next run refuses, and says so
        _write(target, lambda: json_lines(models()))

    @staticmethod
    def _write_set(folder: Path, files: Mapping[str, bytes]) -> None:
        """Write the predecessor's complete set, or take it away where nobody asks for it any more."""
        if os.path.lexists(folder) and (folder.is_symlink() or not _is_set(folder)):
            if files:
                warn(f"{folder}: is not this program's, so the files for the earlier tool are not written there")
            return
        if files:
            folder.mkdir(exist_ok=True)
        for name in (
            legacy_snapshot.DISCOVERED,
            legacy_snapshot.CURATED,
            COMPATIBILITY_FILE,
            legacy_snapshot.IGNORE_FILE,
        ):
            if name in files:
                _write(folder / name, partial(list, (files[name],)))
            elif folder.is_dir():
                (folder / name).unlink(missing_ok=True)
        if not files and folder.is_dir():
            with suppress(OSError):  # what somebody else put there stays
                folder.rmdir()

    def _inputs(self, revision: str | None, recorded: str | None) -> str:
        host = self._host.host
        places = ((revision, "models"), (recorded, f"discovered/{host}"), (revision, "registry.yaml"))
        return json.dumps([host, *(self._repository.tree_id(at, path) for at, path in places), rules()])


def _is_set(folder: Path) -> bool:
    """Return whether a folder holds the set that this program wrote, or nothing."""
    try:
        return (
            not any(folder.iterdir()) or (folder / legacy_snapshot.IGNORE_FILE).read_bytes() == legacy_snapshot.IGNORE
        )
    except OSError:
        return False


def _write(target: Path, make: Callable[[], Iterable[bytes]]) -> None:
    """Write what is made piece by piece; of ten thousand models it is 30 MB, which are nowhere at once."""
    with suppress(OSError):
        if target.is_file() and _holds(target, make()):
            return
    write_durably(target, make())


def _holds(target: Path, pieces: Iterable[bytes]) -> bool:
    with target.open("rb") as stream:
        return all(stream.read(len(piece)) == piece for piece in pieces) and not stream.read(1)
