"""The plan as a value: what would change, why, and what it costs; it can be printed, saved and compared."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.tables import html_table
from imageworks.foundation.texts import human_bytes

FORMAT_VERSION: Final = 1


class StalePlanError(ImageworksError):
    """A plan is not what would be done now."""


class Action(StrEnum):
    """What is done to one model."""

    INSTALL = "install"
    UPDATE = "update"
    MOVE = "move"
    ADOPT = "adopt"
    REPAIR = "repair"
    REMOVE = "remove"
    BLOCKED = "blocked"

    @property
    def symbol(self) -> str:
        """The sign in front of a change."""
        return SYMBOLS[self]


SYMBOLS: Final[Mapping[Action, str]] = {
    Action.INSTALL: "+",
    Action.UPDATE: "~",
    Action.MOVE: ">",
    Action.ADOPT: "=",
    Action.REPAIR: "*",
    Action.REMOVE: "-",
    Action.BLOCKED: "!",
}


class Reason(StrEnum):
    """Why; it explains an action and never decides one. Providers have reasons of their own beside these."""

    MISSING = "missing"
    FOUND = "found"
    REVISION_CHANGED = "revision-changed"
    SOURCE_CHANGED = "source-changed"
    SELECTION_CHANGED = "selection-changed"
    FILE_MISSING = "file-missing"
    SIZE_MISMATCH = "size-mismatch"
    DIGEST_MISMATCH = "digest-mismatch"
    LOCATION_CHANGED = "location-changed"
    RENAMED = "renamed"
    UNDECLARED = "undeclared"
    HOST_EXCLUDED = "host-excluded"
    DECLARED_ABSENT = "declared-absent"
    INVALID_MANIFEST = "invalid-manifest"
    INVALID_SETTINGS = "invalid-settings"
    INVALID_ENTRY = "invalid-entry"
    LOCATION_UNKNOWN = "location-unknown"
    LOCATION_UNAVAILABLE = "location-unavailable"
    LOCATION_ABSENT = "location-absent"
    LOCATION_CHANGED_DISK = "location-changed-disk"
    LOCATION_UNREADABLE = "location-unreadable"
    UNREADABLE = "unreadable"
    ROOT_NOT_ALLOWED = "root-not-allowed"
    INSUFFICIENT_SPACE = "insufficient-space"
    READ_ONLY = "read-only"
    MOUNT_POINT = "mount-point"
    OTHER_FILESYSTEM = "other-filesystem"
    FILE_TOO_LARGE = "file-too-large"
    LOCKED = "locked"
    UNOWNED_FILES = "unowned-files"
    FOLDER_CLAIMED = "folder-claimed"
    SOURCE_REMOVED = "source-removed"
    SOURCE_MISSING = "source-missing"
    SOURCE_INCOMPLETE = "source-incomplete"
    SOURCE_UNUSABLE = "source-unusable"
    UNSAFE_LINK = "unsafe-link"
    PROVIDER_UNAVAILABLE = "provider-unavailable"
    SELECTION = "selection"
    OFFLINE = "offline"
    GATED = "gated"
    UNAUTHORISED = "unauthorised"
    REPOSITORY_NOT_FOUND = "repository-not-found"
    REVISION_NOT_FOUND = "revision-not-found"
    UPSTREAM_GONE = "upstream-gone"
    RATE_LIMITED = "rate-limited"
    HUB_UNREACHABLE = "hub-unreachable"
    UNSAFE_NAME = "unsafe-name"
    INCONSISTENT_LISTING = "inconsistent-listing"
    LICENSE_DENIED = "license-denied"
    POLICY_VIOLATED = "policy-violated"
    PRUNE_REFUSED = "prune-refused"
    DISABLED = "disabled"
    UNEXPECTED_REPLY = "unexpected-reply"
    PRIVATE_ADDRESS = "private-address"
    NOT_OFFERED = "not-offered"
    MODELFILE_CHANGED = "modelfile-changed"
    BASE_CHANGED = "base-changed"
    SYSTEM = "system"
    INTERNAL_ERROR = "internal-error"


def reason_of(word: str | None, otherwise: StrEnum) -> StrEnum:
    """Return the reason that a room below names by a word."""
    if isinstance(word, StrEnum):
        return word
    return Reason(word) if word in set(Reason) else otherwise


@dataclass(frozen=True, slots=True)
class Change:
    """One model's change.

    Args:
        name: The variant name.
        action: What is done.
        reason: Why, as a word.
        message: Why, as a sentence.
        source: Where the model comes from, as people write it.
        backend: The serving backend.
        revision: The commit before and after.
        path: The model's folder before and after.
        fetch: Relative paths to download.
        reuse: Relative path to the file on this host whose bytes serve, so that they are not downloaded.
        keep: How many files stay as they are.
        drop: Relative paths that go.
        bytes_to_fetch: Bytes to download.
        bytes_reused: Bytes that are linked or copied from this host.
        bytes_staged: Bytes of those to download that came with an interrupted run and are kept.
        bytes_freed: Bytes that a removal frees.
        filesystem: Key of the filesystem that the bytes land on.
        previous_name: The name that the entry had before, for a rename.
        warnings: What a person should know of it.
        needs_confirmation: Whether it happens only when confirmed by name.
        asked: Whether a person named the model and asked for its files to go, so that no other proof is wanted.
        daemon: The provider whose daemon brings and removes the bytes; empty where we do.
        left_out: The source's files that do not come, a line each, with the reason.
        size_known: Whether ``bytes_to_fetch`` is all that comes; a registry may not say it before.
        total_bytes: The size of the whole model, where its files are in no listing; 0 where they are, or nobody knows.
    """

    name: str
    action: Action
    reason: StrEnum
    message: str = ""
    source: str = ""
    backend: str = ""
    revision: tuple[str | None, str | None] = (None, None)
    path: tuple[str | None, str | None] = (None, None)
    fetch: tuple[str, ...] = ()
    reuse: Mapping[str, str] = field(default_factory=dict)
    keep: int = 0
    drop: tuple[str, ...] = ()
    bytes_to_fetch: int = 0
    bytes_reused: int = 0
    bytes_staged: int = 0
    bytes_freed: int = 0
    filesystem: str | None = None
    previous_name: str | None = None
    warnings: tuple[str, ...] = ()
    needs_confirmation: bool = False
    asked: bool = False
    daemon: str = ""
    size_known: bool = True
    total_bytes: int = 0
    left_out: tuple[str, ...] = ()

    def blocked(self, reason: StrEnum, message: str) -> "Change":
        """Return that it cannot be made, with nothing of what it would do."""
        return Change(
            name=self.name,
            action=Action.BLOCKED,
            reason=reason,
            message=message,
            source=self.source,
            backend=self.backend,
            revision=self.revision,
            path=self.path,
        )

    def __repr__(self) -> str:
        size = f", {human_bytes(self.bytes_to_fetch)} to fetch" if self.bytes_to_fetch else ""
        return f"<{self.action.symbol} {self.action.value} {self.name} ({self.reason.value}){size}>"

    def document(self) -> dict[str, object]:
        """Return the change in the form of the plan's schema."""
        return {
            "name": self.name,
            "action": self.action.value,
            "symbol": self.action.symbol,
            "reason": self.reason.value,
            "message": self.message,
            "source": self.source,
            "backend": self.backend,
            "revision": {"from": self.revision[0], "to": self.revision[1]},
            "path": {"from": self.path[0], "to": self.path[1]},
            "files": {
                "add": sorted(self.fetch),
                "reuse": sorted(self.reuse),
                "remove": sorted(self.drop),
                "keep": self.keep,
            },
            "bytes_to_fetch": self.bytes_to_fetch,
            "size_known": self.size_known,
            "bytes_reused": self.bytes_reused,
            "bytes_staged": self.bytes_staged,
            "bytes_freed": self.bytes_freed,
            "previous_name": self.previous_name,
            "warnings": list(self.warnings),
            "needs_confirmation": self.needs_confirmation,
        }


@dataclass(frozen=True, slots=True)
class Drift:
    """Something that no one declared, told in a section of its own.

    Args:
        name: The model's name, or the path where it has none.
        reason: Why it is told.
        message: What it is, as a sentence.
    """

    name: str
    reason: StrEnum
    message: str


@dataclass(frozen=True, slots=True)
class FilesystemTotal:
    """What a plan does to one filesystem.

    Args:
        name: A folder that stands for it.
        free_before: Bytes free now.
        free_after: Bytes free once the plan is applied.
        bytes_to_fetch: Bytes that land on it.
    """

    name: str
    free_before: int
    free_after: int
    bytes_to_fetch: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What would change on one host.

    Args:
        host: The host's name.
        registry_revision: The commit whose manifests were read, if there is one yet.
        changes: By name.
        unchanged: How many models are as declared.
        suspended: How many are declared hands-off.
        drift: What no one declared.
        filesystems: Space, by filesystem.
        diagnostics: ``file:line:column: message`` of each invalid document.
        notes: What a person should know of the whole.
        records_stale: Whether entries or the snapshot must be written although no model changes.
    """

    host: str
    registry_revision: str | None
    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    suspended: int = 0
    drift: tuple[Drift, ...] = ()
    filesystems: tuple[FilesystemTotal, ...] = ()
    diagnostics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    records_stale: bool = False

    def count(self, *actions: Action) -> int:
        """Return how many changes have one of these actions."""
        return sum(1 for change in self.changes if change.action in actions)

    @property
    def effective(self) -> tuple[Change, ...]:
        """The changes that do something: all but the blocked ones."""
        return tuple(change for change in self.changes if change.action is not Action.BLOCKED)

    @property
    def has_changes(self) -> bool:
        """Whether applying it would write anything."""
        return bool(self.effective) or self.records_stale

    @property
    def has_errors(self) -> bool:
        """Whether some model cannot be brought to what is declared."""
        return bool(self.diagnostics) or self.count(Action.BLOCKED) > 0

    @property
    def summary(self) -> dict[str, int]:
        """How many models are added, changed and destroyed."""
        return {
            "add": self.count(Action.INSTALL, Action.ADOPT),
            "change": self.count(Action.UPDATE, Action.MOVE, Action.REPAIR),
            "destroy": self.count(Action.REMOVE),
        }

    @property
    def headline(self) -> str:
        """What it comes to, in one line."""
        counts = self.summary
        blocked, fetch = self.count(Action.BLOCKED), sum(change.bytes_to_fetch for change in self.effective)
        return (
            f"{counts['add']} to add, {counts['change']} to change, {counts['destroy']} to destroy"
            + (f", {blocked} blocked" if blocked else "")
            + (f"; {human_bytes(fetch)} to fetch" if fetch else "")
        )

    def __repr__(self) -> str:
        return f"<Plan for {self.host}: {self.headline}>"

    def _repr_html_(self) -> str:
        """Return the plan as a notebook shows it."""
        order = sorted(
            self.changes, key=lambda one: (one.action is not Action.BLOCKED, one.action is not Action.REMOVE)
        )
        rows = [
            (one.action.symbol, one.action.value, one.name, human_bytes(one.bytes_to_fetch), one.reason, one.message)
            for one in order
        ]
        below = "\n".join((*self.diagnostics, *self.notes))
        headings = ("", "action", "model", "to fetch", "reason", "")
        return html_table(headings, rows, caption=f"Plan for {self.host}: {self.headline}", below=below)

    def document(self) -> dict[str, object]:
        """Return the plan in the form of its schema: sorted, versioned, the same for the same plan."""
        return {**self.document_in_pieces(), "changes": [change.document() for change in self.changes]}

    def document_in_pieces(self) -> dict[str, object]:
        """Return the same with an iterator of changes, for who writes them one by one: ten thousand take 60 MiB."""
        return {
            "format_version": FORMAT_VERSION,
            "host": self.host,
            "registry_revision": self.registry_revision,
            "changes": (change.document() for change in self.changes),
            "unchanged": self.unchanged,
            "suspended": self.suspended,
            "blocked": self.count(Action.BLOCKED),
            "drift": [{"name": d.name, "reason": d.reason.value, "message": d.message} for d in self.drift],
            "diagnostics": list(self.diagnostics),
            "notes": list(self.notes),
            "records_stale": self.records_stale,
            "summary": self.summary,
            "totals": {
                "bytes_to_fetch": sum(change.bytes_to_fetch for change in self.effective),
                "bytes_reused": sum(change.bytes_reused for change in self.effective),
                "bytes_freed": sum(change.bytes_freed for change in self.effective),
                "filesystems": [
                    {
                        "name": f.name,
                        "free_before": f.free_before,
                        "free_after": f.free_after,
                        "bytes_to_fetch": f.bytes_to_fetch,
                    }
                    for f in self.filesystems
                ],
            },
        }

    def fingerprint(self) -> tuple[object, ...]:
        """Return what must still hold for a saved plan to be applied: host, commit, and each change with its files."""
        return (
            self.host,
            self.registry_revision,
            tuple(
                (c.name, c.action.value, c.revision, c.path, tuple(sorted(c.fetch)), tuple(sorted(c.drop)))
                for c in self.changes
            ),
        )

    def reasons(self) -> Mapping[str, int]:
        """Return how many changes have each reason."""
        return Counter(change.reason.value for change in self.changes)
