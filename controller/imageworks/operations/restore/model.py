"""What is to be brought back, and what that would do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.tables import html_table
from imageworks.operations.restore.entries import EntryDeed, RestoredEntry
from imageworks.plan.plan import Plan
from imageworks.registry.history.model import FORMAT_VERSION, ModelChange


class RestoreError(ImageworksError):
    """An earlier state cannot be brought back as asked."""


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What is to be brought back.

    Args:
        revision: The commit whose state is wanted.
        names: The models; all when empty.
        manifests: Whether what people declared comes back.
        entries: Whether this host's entries do.
        title: What the commit's subject begins with; made from the others when empty.
    """

    revision: str
    names: tuple[str, ...] = ()
    manifests: bool = True
    entries: bool = False
    title: str = ""


@dataclass(frozen=True, slots=True)
class Restoration:
    """What bringing a state back would do.

    Args:
        wish: What was asked for.
        files: New bytes of manifests by registry path; ``None`` deletes one.
        changes: The same in model words.
        plan: What reconciling these manifests does; ``None`` when there is nothing to reconcile.
        entries: What happens to entries of which no manifest speaks.
        refused: What cannot be brought back, and why.
        title: What the commit's subject begins with.
        notes: What a person should know.
    """

    wish: RestoreRequest
    files: Mapping[str, bytes | None]
    changes: Sequence[ModelChange]
    plan: Plan | None
    entries: tuple[EntryDeed, ...]
    refused: tuple[str, ...]
    title: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        refused = f", {len(self.refused)} refused" if self.refused else ""
        return f"<{self.title}: {len(self.files)} manifests, {len(self.recorded)} entries{refused}>"

    def _repr_html_(self) -> str:
        """Return what would come back as a notebook shows it."""
        rows = [(change.kind, change.name, change.source) for change in self.changes]
        below = "\n".join((*self.refused, *self.notes))
        plan = self.plan._repr_html_() if self.plan is not None else ""  # what notebooks call too
        return html_table(("", "model", "source"), rows, caption=repr(self)[1:-1], below=below) + plan

    @property
    def recorded(self) -> tuple[EntryDeed, ...]:
        """The entries that change."""
        return tuple(deed for deed in self.entries if deed.deed is not RestoredEntry.KEEP)

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.files or self.recorded)

    def document(self) -> dict[str, object]:
        """Return the restoration as stable, versioned JSON values."""
        found = {key: list(one) if isinstance(one, Iterator) else one for key, one in self.pieces().items()}
        return {**found, "plan": self.plan.document() if self.plan is not None else None}

    def pieces(self) -> dict[str, object]:
        """Return the same with iterators for lists of models: ten thousand changes need not be held at a time."""
        return {
            "format_version": FORMAT_VERSION,
            "revision": self.wish.revision,
            "manifests": (change.document() for change in self.changes),
            "entries": (deed.document() for deed in self.entries),
            "plan": self.plan.document_in_pieces() if self.plan is not None else None,
            "refused": list(self.refused),
            "notes": list(self.notes),
        }
