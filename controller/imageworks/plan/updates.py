"""How models stand against their sources, as values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import Manifest


class UpdateStatus(StrEnum):
    """How a model stands against its source."""

    CURRENT = "current"
    OUTDATED = "outdated"
    UNKNOWN = "unknown"
    NOT_INSTALLED = "not-installed"
    NOT_FOLLOWED = "not-followed"


@dataclass(frozen=True, slots=True)
class Difference:
    """What moving from one commit to another changes of the files that a manifest wants.

    Args:
        size: Bytes of all of them before and after; ``None`` where they are not known.
        added: Paths that are new.
        removed: Paths that are gone.
        changed: Paths with other bytes.
        license: The licence before and after, as the hub says it.
        chat_template: Whether the chat template is another one; ``None`` when it is in no file that can be compared.
    """

    size: tuple[int | None, int | None]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    license: tuple[str | None, str | None]
    chat_template: bool | None

    def document(self) -> dict[str, object]:
        """Return the difference in JSON's data model."""
        return {
            "bytes": {"from": self.size[0], "to": self.size[1]},
            "files": {"added": list(self.added), "removed": list(self.removed), "changed": list(self.changed)},
            "license": {"from": self.license[0], "to": self.license[1]},
            "chat_template_changed": self.chat_template,
        }


@dataclass(frozen=True, slots=True)
class ModelUpdate:
    """How one model stands.

    Args:
        name: The variant name.
        file: Its manifest.
        standing: How it stands.
        repo: The repository; empty for other sources.
        ref: The branch or tag that it follows.
        pinned: Whether its manifest names a commit.
        commit: The commit that it is at.
        latest: The commit that the branch is at, or the newest that is old enough.
        behind: How many commits lie between; ``None`` where the hub does not say.
        date: When the latest was made.
        difference: What changes; ``None`` where it could not be asked.
        message: Why, in words, where there is more to say.
        held: Whether a newer commit exists and is younger than was asked for.
        renamed_from: The declared name of the repository, where the hub has another by now.
    """

    name: str
    file: str
    standing: UpdateStatus
    repo: str = ""
    ref: str = ""
    pinned: bool = False
    commit: str | None = None
    latest: str | None = None
    behind: int | None = None
    date: datetime | None = None
    difference: Difference | None = None
    message: str = ""
    held: bool = False
    renamed_from: str | None = None

    @property
    def outdated(self) -> bool:
        """Whether there is something to move to."""
        return self.standing is UpdateStatus.OUTDATED and not self.held

    def document(self) -> dict[str, object]:
        """Return it in JSON's data model."""
        return {
            "name": self.name,
            "renamed_from": self.renamed_from,
            "file": self.file,
            "standing": self.standing.value,
            "repo": self.repo or None,
            "ref": self.ref or None,
            "pinned": self.pinned,
            "commit": self.commit,
            "latest": self.latest,
            "commits_behind": self.behind,
            "date": None if self.date is None else self.date.isoformat(),
            "message": self.message or None,
            "held": self.held,
            "difference": None if self.difference is None else self.difference.document(),
        }


@dataclass(frozen=True, slots=True)
class Age:
    """How old a commit must be before anybody moves to it.

    Args:
        least: The age.
        now: The present.
    """

    least: timedelta
    now: datetime

    def allows(self, date: datetime | None) -> bool:
        """Return whether a commit of a date is old enough; one of unknown age only where none is asked for."""
        return not self.least or (date is not None and self.now - date >= self.least)


@dataclass(frozen=True, slots=True)
class Followed:
    """A manifest and the moving name that it follows.

    Args:
        manifest: What is declared.
        repo: What is asked for upstream: a repository, or a name in a store's registry.
        ref: The branch or tag that it was pinned from, or that it declares; empty where the name itself has it.
        said: What its manifest says now of the revision or the digest.
        pinned: Whether that is a pin.
        commit: The commit or digest that it is at: the pin, else what is installed on this host; ``None`` when neither
            is.
        entry: What is recorded of it on this host.
        notes_branch: Whether a pin has to say the branch too, because the manifest does not.
    """

    manifest: Manifest
    repo: str
    ref: str
    said: str
    pinned: bool
    commit: str | None
    entry: Entry | None = None
    notes_branch: bool = False

    def unknown(self, message: str = "") -> ModelUpdate:
        """Return that nobody can say how the model stands."""
        return ModelUpdate(
            name=self.manifest.name,
            file=self.manifest.file,
            standing=UpdateStatus.UNKNOWN,
            repo=self.repo,
            ref=self.ref,
            pinned=self.pinned,
            commit=self.commit,
            message=message,
        )
