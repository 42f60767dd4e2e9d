"""What is known before deciding: one frozen value a model, gathered by observation and handed to the pure planner."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from imageworks.files.artifact import FileSource, RemoteFile
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.system_errors import system_refusal
from imageworks.plan.plan import Drift, Reason, reason_of
from imageworks.registry.documents.document import Document
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import Manifest, Prune
from imageworks.registry.settings.policies import NO_POLICIES, Policies


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why something cannot go on, for one model.

    Args:
        reason: As a word.
        message: As a sentence, with what to do about it.
    """

    reason: StrEnum
    message: str


def obstacle_of(error: ImageworksError | OSError) -> Blocker:
    """Return the obstacle that an error in one model's work is."""
    if isinstance(error, ImageworksError):
        text = error.message if error.remedy is None else f"{error.message}; {error.remedy}"
        return Blocker(reason_of(getattr(error, "reason", None), Reason.SYSTEM), text)
    refused = system_refusal(error)
    if refused is not None:
        return Blocker(Reason.SYSTEM, f"{refused.message}; {refused.remedy}")
    where = f"{error.filename}: " if error.filename else ""
    return Blocker(Reason.SYSTEM, f"{where}{os.strerror(error.errno) if error.errno else error}")


@dataclass(frozen=True, slots=True)
class TargetFolder:
    """Where a model belongs on this host.

    Args:
        root: The location's root.
        path: The model's folder.
        location: The location's name, or ``custom``.
        filesystem: Key of the filesystem of the root.
    """

    root: Path
    path: Path
    location: str
    filesystem: str


NO_FILES: Final[frozenset[str]] = frozenset()
"""One for all: Python makes each empty set anew, of 216 bytes."""
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class FileState(Enum):
    """How a recorded file stands on disk."""

    INTACT = "intact"
    MISSING = "missing"
    SIZE = "size"
    DIGEST = "digest"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Observation:
    """How an entry's files stand on disk.

    Args:
        path: The model's folder, as recorded.
        exists: Whether it is there at all.
        damaged: The files that are not as recorded, by relative path.
        linked: The files that have a name elsewhere too, so that removing them here frees nothing.
        unknown: Why nothing can be said of the files; what is unknown is neither intact nor damaged nor gone.
    """

    path: Path
    exists: bool
    damaged: Mapping[str, FileState] = field(default_factory=lambda: NOTHING)
    linked: frozenset[str] = NO_FILES
    unknown: Blocker | None = None

    @property
    def intact(self) -> bool:
        """Whether every recorded file is as recorded."""
        return self.exists and not self.damaged and self.unknown is None


@dataclass(frozen=True, slots=True)
class ResolvedSource:
    """What the source offers for a model at one resolved commit.

    Args:
        files: The wanted files.
        commit: The resolved commit; ``None`` for sources without history.
        ref: The branch, tag or commit that was asked for.
        repo: The repository's canonical name; ``None`` for a local source.
        container: The weights' container format, if it is clear from the names.
        quantization: The label that the chosen weights' names say, if they say one.
        source: Where the bytes come from; ``None`` when they are where they belong.
        warnings: What a person should know.
        license: The licence's identifier, if the source tells one.
        tags: The source's tags.
        pipeline_tag: The task that the source names.
        library: The library that the source says loads it.
        left_out: The files that are not wanted, a line each, with the reason.
        remote_code: Whether its configuration asks to import its code; looked at only where a policy forbids that.
        pinned: Whether the manifest itself says the digest of every file.
        cleared: Files whose names prove nothing and whose first bytes run nothing; looked at only where a policy asks.
    """

    files: tuple[RemoteFile, ...]
    commit: str | None = None
    ref: str | None = None
    repo: str | None = None
    container: str | None = None
    quantization: str | None = None
    source: FileSource | None = None
    warnings: tuple[str, ...] = ()
    license: str | None = None
    tags: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    library: str | None = None
    left_out: tuple[str, ...] = ()
    remote_code: bool = False
    cleared: frozenset[str] = frozenset()
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class TargetContents:
    """What lies at the target folder, compared with the wanted files.

    Args:
        exists: Whether anything is there.
        matching: Wanted files that are there with the right bytes.
        differing: Wanted files whose name is there with other bytes.
        linked: Where those of the matching files really are that are reached through a link.
        linked_folders: Folders of wanted files that are links themselves; nothing is put there.
    """

    exists: bool = False
    matching: frozenset[str] = frozenset()
    differing: frozenset[str] = frozenset()
    linked: Mapping[str, str] = field(default_factory=dict)
    linked_folders: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """Everything that is known of one declared model on this host.

    Args:
        manifest: What is declared.
        entry: What is recorded, under this name or a previous one.
        previous_name: The previous name under which the entry is recorded, if so.
        observation: How the recorded files stand; ``None`` without an entry that has files.
        place: Where it belongs, or why that cannot be said.
        upstream: What the source offers, or why that cannot be said; ``None`` where nothing needs to be asked.
        occupant: What lies at the target.
        reuse: Files on this host that hold wanted bytes, by relative path.
        published_by_us: Whether this host's state says that we put the target there and were killed before recording.
        shared: Recorded files that another entry owns in the same folder too.
        crosses: Whether the recorded files would move to another filesystem, and so are copied.
        restore_locked: Whether somebody asked for the bytes that the model is locked to, where others are there now.
        facts: What else providers have found of it, by provider.
        after: Declared models that must be there before it.
        not_brought: Why its place takes no files, where some would come.
        not_removed: Why its recorded files cannot leave where they are, where they would.
        relocated_from: The recorded folder, where its drive stands elsewhere now; the entry says where.
    """

    manifest: Manifest
    entry: Entry | None = None
    previous_name: str | None = None
    observation: Observation | None = None
    place: TargetFolder | Blocker | None = None
    upstream: ResolvedSource | Blocker | None = None
    occupant: TargetContents = TargetContents()
    reuse: Mapping[str, Path] = field(default_factory=lambda: NOTHING)
    published_by_us: bool = False
    shared: frozenset[str] = NO_FILES
    crosses: bool = False
    restore_locked: bool = False
    facts: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    after: frozenset[str] = NO_FILES
    not_brought: Blocker | None = None
    not_removed: Blocker | None = None
    relocated_from: Path | None = None


@dataclass(frozen=True, slots=True)
class UndeclaredModel:
    """A recorded model that no manifest declares for this host any more.

    Args:
        entry: What is recorded.
        observation: How its files stand.
        prune: What its manifest said in the last applied commit; ``None`` when nothing was said.
        excluded: Whether a manifest exists but leaves this host out.
        shared: Relative paths that other entries own in the same folder too, with the names of those.
        facts: What else providers have found of it, by provider.
        others: Declared and recorded models that are the same one in a store.
        not_removed: Why its files cannot be removed, where they would be.
    """

    entry: Entry
    observation: Observation | None
    prune: Prune | None
    excluded: bool = False
    shared: Mapping[str, frozenset[str]] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    not_removed: Blocker | None = None


@dataclass(frozen=True, slots=True)
class HostState:
    """Everything that a plan is made from.

    Args:
        host: The host's name.
        revision: The commit whose manifests were read.
        cases: One for each valid manifest that applies to the host.
        blocked: Names that cannot be looked at, with why (an invalid manifest or entry).
        orphans: Recorded models without a manifest.
        unmanaged: Entries that were never declared, with how their files stand.
        declared: How many manifests the registry has, valid or not.
        diagnostics: ``file:line:column: message`` of each invalid document.
        notes: What a person should know of the whole.
        free_bytes: Free space by filesystem key, with a folder that stands for it.
        staged_bytes: Bytes already here from an interrupted run, by model.
        policies: Which models the registry accepts today.
        documents: The manifests as documents, by name, for the places in messages.
        records_stale: Whether entries or snapshot differ from what they should be although no model changes.
        strangers: Models that another program brought here, and that nobody recorded or declared.
        relocated: Where entries without a manifest were recorded whose drive stands elsewhere now, by name.
        pinned: The names in stores that this host is to have at one digest.
    """

    host: str
    revision: str | None
    cases: tuple[DeclaredModel, ...] = ()
    blocked: Mapping[str, Blocker] = field(default_factory=dict)
    orphans: tuple[UndeclaredModel, ...] = ()
    unmanaged: tuple[tuple[Entry, Observation | None], ...] = ()
    declared: int = 0
    diagnostics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    free_bytes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    staged_bytes: Mapping[str, int] = field(default_factory=dict)
    policies: Policies = NO_POLICIES
    documents: Mapping[str, Document] = field(default_factory=dict)
    records_stale: bool = False
    strangers: tuple[Drift, ...] = ()
    relocated: Mapping[str, Path] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """What a run may remove.

    Args:
        enabled: Whether models without a manifest may go at all.
        allow_empty: Whether that holds when nothing is declared any more.
        force: Whether more than 30 % of ten or more may go at once.
    """

    enabled: bool = False
    allow_empty: bool = False
    force: bool = False
