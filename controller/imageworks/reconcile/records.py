"""Entries and snapshot as they should stand in git, and whether they do."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from imageworks.foundation.json_reading import read_json, read_json_file
from imageworks.log import warn
from imageworks.registry import compat
from imageworks.registry.entry import Entry, entry_file, render_entry
from imageworks.registry.foreign import COMPATIBILITY_FILE, is_ours
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_library import blob_id
from imageworks.registry.load import RegistryState
from imageworks.registry.merge import Owners, load_owners, merge, render_snapshot, snapshot_file
from imageworks.transfer.best_effort import set_times
from imageworks.transfer.renames import write_durably


class Records:
    """Compares a host's snapshot in git with what manifests and entries give.

    Args:
        repository: The registry.
        cache: File that remembers which trees gave which snapshot; a cache only.
        allows: Whether this host allows a path.
    """

    def __init__(
        self, repository: RegistryRepository, cache: Path, allows: Callable[[Path], bool] | None = None
    ) -> None:
        self._repository = repository
        self._cache = cache
        self._allows = allows
        self._owners: Owners | None = None

    def stale(self, registry: RegistryState) -> bool:
        """Return whether the snapshot at a commit is not what that commit's manifests and entries give.

        Args:
            registry: The registry at that commit.
        """
        here = self._repository.tree_id(registry.recorded, snapshot_file(registry.host))
        if registry.settings_invalid:
            return False  # nobody knows which branch it belongs to
        if here is None and not registry.entries and not registry.applied:
            return False
        inputs = self._inputs(registry)
        if self._remembered().get(inputs) == here and here is not None:
            return False
        return blob_id(self.snapshot(registry, registry.entries.values())) != here

    def snapshot(self, registry: RegistryState, entries: Iterable[Entry]) -> bytes:
        """Return the snapshot's bytes.

        Args:
            registry: The registry whose manifests count.
            entries: The host's entries, possibly newer than the registry's own.
        """
        if self._owners is None:
            self._owners = load_owners()
        return render_snapshot(merge(registry.applied, entries, self._owners))

    def changes(
        self, registry: RegistryState, entries: Mapping[str, Entry], *, gone: Iterable[str]
    ) -> dict[str, bytes | None]:
        """Return the files to commit: new entries, deleted ones, and the snapshot that follows from them.

        Args:
            registry: The registry at the commit to build on.
            entries: New or changed entries by name.
            gone: Names whose entry is deleted.
        """
        host = registry.host
        left = {name: entry for name, entry in registry.entries.items() if name not in set(gone)} | dict(entries)
        files: dict[str, bytes | None] = {entry_file(host, name): None for name in gone if name in registry.entries}
        files |= {entry_file(host, name): render_entry(entry.fields) for name, entry in entries.items()}
        files[snapshot_file(host)] = self.snapshot(registry, left.values())
        return files

    def remember(self, registry: RegistryState) -> None:
        """Remember that the snapshot at a commit is right, so that the next run need not compute it.

        Args:
            registry: The registry at that commit.
        """
        here = self._repository.tree_id(registry.recorded, snapshot_file(registry.host))
        if here is None or self._remembered().get(self._inputs(registry)) == here:
            return
        with suppress(OSError):
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            self._cache.write_text(json.dumps({self._inputs(registry): here}), encoding="utf-8")

    def write_compatible(self, registry: RegistryState) -> None:
        """Write the git-ignored files that the predecessor's consumers read, where they do not say so already.

        What is recorded is recorded: where they cannot be written now, that is told, and the next run writes them.

        Args:
            registry: The registry at the commit whose snapshot counts.
        """
        try:
            self._write_compatible(registry)
        except OSError as error:
            place = error.filename or self._repository.root
            warn(f"{place}: {error.strerror}; {COMPATIBILITY_FILE} says what it said before, until a run can write it")

    def _write_compatible(self, registry: RegistryState) -> None:
        snapshot = snapshot_file(registry.host)
        reference = self._repository.find_file(registry.recorded, snapshot)
        if reference is None:
            return
        root = self._repository.root
        try:
            snapshot_models = read_json(self._repository.read_blob(reference.id))
        except ValueError:
            return  # so large that no reader would take the copy either
        models = compat.consumer_models(snapshot_models, registry=root, allows=self._allows)
        self._write_set(root / compat.FOLDER, compat.render_set(models) if registry.settings.compat else {})
        target = root / COMPATIBILITY_FILE
        if not is_ours(target):
            return  # the predecessor's program was quicker: the next run refuses, and says so
        _write(target, compat.render_consumer_file(models))
        checked_out = root / snapshot
        if not checked_out.is_file():
            return
        there, own = checked_out.stat().st_mtime_ns, target.stat().st_mtime_ns
        # The newer of the two is shown. A look at another branch may leave an older snapshot with a newer date.
        if registry.branch and there >= own:
            with suppress(OSError):  # times are best effort: a filesystem may not keep them
                target.touch()
        elif not registry.branch and own > there:
            set_times(target, checked_out.stat())

    @staticmethod
    def _write_set(folder: Path, files: Mapping[str, bytes]) -> None:
        """Write the predecessor's complete set, or take it away where nobody asks for it any more."""
        if os.path.lexists(folder) and (folder.is_symlink() or not _is_set(folder)):
            if files:
                warn(f"{folder}: is not this program's, so the files for the earlier tool are not written there")
            return
        if files:
            folder.mkdir(exist_ok=True)
        for name in (compat.DISCOVERED, compat.CURATED, COMPATIBILITY_FILE, compat.IGNORE_FILE):
            if name in files:
                _write(folder / name, files[name])
            elif folder.is_dir():
                (folder / name).unlink(missing_ok=True)
        if not files and folder.is_dir():
            with suppress(OSError):  # what somebody else put there stays
                folder.rmdir()

    def _inputs(self, registry: RegistryState) -> str:
        trees = [
            self._repository.tree_id(revision, path)
            for revision, path in (
                (registry.revision, "models"),
                (registry.recorded, f"discovered/{registry.host}"),
                (registry.revision, "registry.yaml"),
            )
        ]
        return json.dumps([registry.host, *trees, _rules()])

    def _remembered(self) -> dict[str, str]:
        try:
            content = read_json_file(self._cache)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _is_set(folder: Path) -> bool:
    """Return whether a folder holds the set that this program wrote, or nothing."""
    try:
        return not any(folder.iterdir()) or (folder / compat.IGNORE_FILE).read_bytes() == compat.IGNORE
    except OSError:
        return False


def _write(target: Path, wanted: bytes) -> None:
    with suppress(OSError):
        if target.is_file() and target.read_bytes() == wanted:
            return
    write_durably(target, wanted)


def _rules() -> str:
    """Return a digest of what decides how a snapshot is made: the table of owners and the code that merges."""
    from imageworks.registry import merge as merging
    from imageworks.registry.schema import schema_dir

    digest = hashlib.sha256((schema_dir() / "ownership.json").read_bytes())
    digest.update(Path(merging.__file__).read_bytes())
    return digest.hexdigest()
