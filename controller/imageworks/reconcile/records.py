"""Entries and snapshot as they should stand in git, and whether they do."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from imageworks.foundation.json_reading import read_json_file
from imageworks.registry.entry import Entry, entry_file, render_entry
from imageworks.registry.foreign import COMPATIBILITY_FILE, is_ours
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_library import blob_id
from imageworks.registry.load import RegistryState
from imageworks.registry.merge import Owners, load_owners, merge, render_snapshot, snapshot_file


class Records:
    """Compares a host's snapshot in git with what manifests and entries give.

    Args:
        repository: The registry.
        cache: File that remembers which trees gave which snapshot; a cache only.
    """

    def __init__(self, repository: RegistryRepository, cache: Path) -> None:
        self._repository = repository
        self._cache = cache
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
        """Write the snapshot's bytes to the git-ignored file that older consumers read, unless it has them.

        Args:
            registry: The registry at the commit whose snapshot counts.
        """
        reference = self._repository.find_file(registry.recorded, snapshot_file(registry.host))
        if reference is None:
            return
        target = self._repository.root / COMPATIBILITY_FILE
        if not is_ours(target):
            return  # the predecessor's program was quicker: the next run refuses, and says so
        wanted = self._repository.read_blob(reference.id)
        if target.is_file() and target.read_bytes() == wanted:
            checked_out = self._repository.root / snapshot_file(registry.host)
            # A look at another branch may leave an older snapshot with a newer date, and the newer file is shown.
            if (
                registry.branch
                and checked_out.is_file()
                and checked_out.stat().st_mtime_ns >= target.stat().st_mtime_ns
            ):
                target.touch()
            return
        draft = target.with_name(f".{COMPATIBILITY_FILE}.new")
        draft.write_bytes(wanted)
        draft.replace(target)

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


def _rules() -> str:
    """Return a digest of what decides how a snapshot is made: the table of owners and the code that merges."""
    from imageworks.registry import merge as merging
    from imageworks.registry.schema import schema_dir

    digest = hashlib.sha256((schema_dir() / "ownership.json").read_bytes())
    digest.update(Path(merging.__file__).read_bytes())
    return digest.hexdigest()
