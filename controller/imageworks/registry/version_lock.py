"""The lock that holds a model to one set of bytes: in its manifest, and without one in its entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import Manifest

KEY: Final = "version_lock"
LOCKED: Final = "locked"
EXPECTED: Final = "expected_aggregate_sha256"


@dataclass(frozen=True, slots=True)
class VersionLock:
    """What a model is held to.

    Args:
        locked: Whether other bytes block the model.
        expected_aggregate_sha256: The aggregate digest that its files must have; what is recorded when absent.
    """

    locked: bool = False
    expected_aggregate_sha256: str | None = None

    @property
    def digest(self) -> str | None:
        """The digest that is demanded, if the model is locked to one."""
        return self.expected_aggregate_sha256 if self.locked else None


UNLOCKED: Final = VersionLock()


def lock_of(manifest: Manifest | None, entry: Entry | None) -> VersionLock:
    """Return what holds a model: as in the snapshot, what people declare wins over what is recorded, key by key."""
    recorded = entry.fields.get(KEY) if entry is not None else None
    declared = manifest.fields.get(KEY) if manifest is not None else None
    if recorded is None and declared is None:
        return UNLOCKED
    said: dict[object, object] = {}
    for value in (recorded, declared):
        if isinstance(value, Mapping):
            said |= {key: item for key, item in value.items() if item is not None}
    return read_lock(said)


def read_lock(value: object) -> VersionLock:
    """Return the lock that a ``version_lock`` field says; none where it says nothing."""
    if not isinstance(value, Mapping):
        return UNLOCKED
    expected = value.get(EXPECTED)
    return VersionLock(value.get(LOCKED) is True, expected if isinstance(expected, str) else None)
