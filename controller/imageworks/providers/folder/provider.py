"""Providers whose models are folders of files, whatever the bytes come from."""

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from imageworks.files.artifact import RemoteFile
from imageworks.plan.facts import Blocker, DeclaredModel, Observation, ResolvedSource, TargetFolder, UndeclaredModel
from imageworks.plan.plan import Change, Reason
from imageworks.providers.base import Provider
from imageworks.providers.folder.decide import decide_folder, removal
from imageworks.registry.entries.entry import Entry

if TYPE_CHECKING:
    from imageworks.providers.upstream import SourceResolver

SHOWN: Final = 3  # names of files that one line tells


class FolderProvider(Provider, Protocol):
    """Decides by files alone; a kind of source adds what it offers, and when that is another than what is recorded."""

    recorded_as: str
    """What entries call the provider."""
    reads_anyway: bool = False
    """Whether its listing is had without a network, and so is looked at even where all is as recorded."""
    knows_commits: bool = False
    """Whether a recorded commit tells which files it has, so that files that never came can be told of."""

    def source_change(self, case: DeclaredModel) -> StrEnum | None:
        """Return why what is recorded is not what the source is declared to be, or ``None`` when it is."""
        ...

    def offer(self, case: DeclaredModel, sources: "SourceResolver") -> ResolvedSource:
        """Return what the source offers."""
        ...

    def read(self, upstream: ResolvedSource, file: RemoteFile, length: int) -> bytes | None:
        """Return the first bytes of an offered file; ``None`` where they cannot be had before it comes."""
        ...

    def refusal(self, case: DeclaredModel, sources: "SourceResolver") -> Blocker | None:
        """Return why the source would not give what is to be fetched, ``None`` where it would or nobody can tell."""
        del case, sources
        return None

    def provenance(self, case: DeclaredModel, place: TargetFolder, upstream: ResolvedSource) -> dict[str, object]:
        """Return what an entry's metadata says of where the bytes came from."""
        del case, place, upstream
        return {}

    def decide(self, case: DeclaredModel) -> Change | None:
        """Return what a declared model needs, or ``None`` when it is as declared."""
        return decide_folder(case)

    def removal(self, orphan: UndeclaredModel, reason: StrEnum, message: str, shared: frozenset[str]) -> Change:
        """Return the removal of a model that no manifest declares any more."""
        change = removal(orphan.entry, reason, message, orphan.observation, shared=shared)
        if change.drop and orphan.not_removed is not None:
            refused = orphan.not_removed
            return change.blocked(refused.reason, refused.message)
        return change

    def damage(self, entry: Entry, observation: Observation) -> tuple[StrEnum, str]:
        """Return what is said of a recorded model that nobody declared and that is not as recorded."""
        if not observation.exists:
            return Reason.FILE_MISSING, f"{entry.path} is gone; never declared, so nothing brings it back"
        names = ", ".join(sorted(observation.damaged)[:SHOWN])
        return Reason.DIGEST_MISMATCH, f"{entry.path}: {names} changed since it was recorded; never declared"
