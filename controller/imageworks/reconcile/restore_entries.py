"""What becomes of a host's entries when an earlier state is brought back: an entry claims only what is really there."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imageworks.reconcile.compose import emptied_entry
from imageworks.reconcile.plan import Action, Change, Reason
from imageworks.reconcile.report import Outcome
from imageworks.reconcile.situation import Observation
from imageworks.registry.entry import Entry
from imageworks.transfer.paths import is_there

Observe = Callable[[Entry], Observation | None]
MISSING: Final = "Missing"
UNCHECKED: Final = "NotChecked"


class Deed(Enum):
    """What happens to an entry; the value is its sign in a plan."""

    BACK = "+"
    CHANGE = "~"
    REMOVE = "-"
    KEEP = " "


@dataclass(frozen=True, slots=True)
class EntryDeed:
    """What happens to one entry, and why.

    Args:
        name: The variant name.
        deed: What happens.
        why: Why, in words.
        entry: What is recorded from then on; ``None`` when it goes or stays as it is.
    """

    name: str
    deed: Deed
    why: str
    entry: Entry | None = None

    @property
    def outcome(self) -> Outcome:
        """The deed as a commit records it."""
        if self.deed is Deed.REMOVE:
            return Outcome(Change(self.name, Action.REMOVE, Reason.UNDECLARED), entry=None, recorded=True)
        claims = self.entry is not None and self.entry.text("download_path") is not None
        told = "restored" if claims else "restored without files"
        return Outcome(Change(self.name, Action.ADOPT, Reason.FOUND), entry=self.entry, recorded=True, told=told)

    def document(self) -> dict[str, object]:
        """Return the deed as JSON values."""
        return {"name": self.name, "deed": self.deed.name.lower(), "why": self.why}


def decide_entry(
    then: Entry | None, now: Entry | None, *, declared: bool, observe: Observe, present: Iterable[Entry]
) -> EntryDeed | None:
    """Return what happens to one entry, or ``None`` where it is what it was.

    Args:
        then: The entry of the earlier state, under its present name; ``None`` when there was none.
        now: What is recorded; ``None`` when nothing is.
        declared: Whether a manifest stands behind the name from now on.
        observe: Looks at an entry's files.
        present: Everything that is recorded.
    """
    if then is None:
        return None if now is None else _without(now, declared=declared, observe=observe)
    wanted = Entry(then.name, {**then.fields, "managed": declared}, then.files)
    if now is not None and now.fields == wanted.fields:
        return None
    other = next((one for one in present if one.name != then.name and one.path is not None and _same(one, then)), None)
    if other is not None:
        return EntryDeed(then.name, Deed.KEEP, f"its files are recorded as {other.name} now")
    return _claimed(wanted, now, observe)


def _without(now: Entry, *, declared: bool, observe: Observe) -> EntryDeed:
    """Decide on an entry that the earlier state had not: one whose files are there is the only word on them."""
    if declared:
        return EntryDeed(now.name, Deed.KEEP, "declared")
    seen = observe(now)
    if seen is not None and seen.unknown is not None:
        return EntryDeed(now.name, Deed.KEEP, f"was not recorded then; {seen.unknown.message}")
    if (seen is not None and seen.exists) or (seen is None and now.text("download_path") is not None):
        return EntryDeed(now.name, Deed.KEEP, f"was not recorded then; its files are at {now.text('download_path')}")
    return EntryDeed(now.name, Deed.REMOVE, "was not recorded then, and has no files")


def _claimed(wanted: Entry, now: Entry | None, observe: Observe) -> EntryDeed | None:
    deed = Deed.BACK if now is None else Deed.CHANGE
    if wanted.text("download_path") is None:
        return EntryDeed(wanted.name, deed, "recorded as it was; it claims no files", wanted)
    seen = observe(wanted)
    if seen is None or seen.unknown is not None:
        return _unseen(wanted, deed, away=seen.unknown.message if seen is not None and seen.unknown else None)
    if seen.intact:
        return EntryDeed(
            wanted.name, deed, f"recorded as it was; its files are at {wanted.text('download_path')}", wanted
        )
    if now is not None and now.text("download_path") is not None:
        standing = observe(now)
        if standing is not None and standing.intact:
            at = f" of {now.revision[:12]}" if now.revision else ""
            return EntryDeed(
                wanted.name, Deed.KEEP, f"other files{at} stand there now; --manifests brings those of then"
            )
    gone = "are gone" if not seen.exists else f"are not as recorded then ({len(seen.damaged)} of them)"
    return _emptied(wanted, now, deed, f"its files {gone}")


def _unseen(wanted: Entry, deed: Deed, *, away: str | None = None) -> EntryDeed:
    """Decide on an entry whose files nobody can compare: none were listed, Ollama does not answer, a drive is away."""
    if away is None and wanted.path is not None and not is_there(wanted.path):
        return _emptied(wanted, None, deed, f"{wanted.path} is gone") or EntryDeed(wanted.name, Deed.KEEP, "gone")
    message = f"{wanted.text('download_path')} could not be compared when the entry was restored"
    message += f": {away}" if away is not None else ""
    condition = {"type": "Ready", "status": "Unknown", "reason": UNCHECKED, "message": message}
    fields = {**wanted.fields, "conditions": [condition], "verification": "unverified"}
    why = f"recorded as it was, but not checked: {message}"
    return EntryDeed(wanted.name, deed, why, Entry(wanted.name, fields, wanted.files))


def _emptied(wanted: Entry, now: Entry | None, deed: Deed, why: str) -> EntryDeed | None:
    entry = emptied_entry(wanted, wanted.name, MISSING, why)
    if now is not None and _but_conditions(now.fields) == _but_conditions(entry.fields):
        return None
    return EntryDeed(wanted.name, deed, f"recorded without files: {why}", entry)


def _but_conditions(fields: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in fields.items() if key != "conditions"}


def _same(one: Entry, other: Entry) -> bool:
    """Return whether two entries claim the same files at the same place."""
    return one.path == other.path and {file.path for file in one.files} == {file.path for file in other.files}
