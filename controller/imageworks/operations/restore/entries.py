"""What becomes of a host's entries when an earlier state is brought back: an entry claims only what is really there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from imageworks.files.safe_paths import is_there
from imageworks.plan.facts import Observation
from imageworks.plan.plan import Action, Change, Reason
from imageworks.plan.report import ModelResult
from imageworks.providers.record import emptied_entry
from imageworks.registry.entries.entry import Entry, as_packed

Observe = Callable[[Entry], Observation | None]
MISSING: Final = "Missing"
UNCHECKED: Final = "NotChecked"


class RestoredEntry(Enum):
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
    deed: RestoredEntry
    why: str
    entry: Entry | None = None

    @property
    def outcome(self) -> ModelResult:
        """The deed as a commit records it."""
        if self.deed is RestoredEntry.REMOVE:
            return ModelResult(Change(self.name, Action.REMOVE, Reason.UNDECLARED), entry=None, recorded=True)
        claims = self.entry is not None and self.entry.text("download_path") is not None
        told = "restored" if claims else "restored without files"
        return ModelResult(Change(self.name, Action.ADOPT, Reason.FOUND), entry=self.entry, recorded=True, told=told)

    def document(self) -> dict[str, object]:
        """Return the deed as JSON values."""
        return {"name": self.name, "deed": self.deed.name.lower(), "why": self.why}


def decide_entry(
    then: Entry | None, now: Entry | None, *, declared: bool, observe: Observe, present: Mapping[Path, Sequence[Entry]]
) -> EntryDeed | None:
    """Return what happens to one entry, or ``None`` where it is what it was; ``present`` is what stands where now."""
    if then is None:
        return None if now is None else _without(now, declared=declared, observe=observe)
    same = then.fields.get("managed") == declared  # most are: then no fields stand there but as a text
    wanted = then if same else as_packed(Entry(then.name, {**then.fields, "managed": declared}, then.files))
    if now is not None and now.fields == wanted.fields:
        return None
    there = present.get(then.path, ()) if then.path is not None else ()
    other = next((one for one in there if one.name != then.name and _same_files(one, then)), None)
    if other is not None:
        return EntryDeed(then.name, RestoredEntry.KEEP, f"its files are recorded as {other.name} now")
    return _claimed(wanted, now, observe)


def _without(now: Entry, *, declared: bool, observe: Observe) -> EntryDeed:
    """Decide on an entry that the earlier state had not: one whose files are there is the only word on them."""
    if declared:
        return EntryDeed(now.name, RestoredEntry.KEEP, "declared")
    seen = observe(now)
    if seen is not None and seen.unknown is not None:
        return EntryDeed(now.name, RestoredEntry.KEEP, f"was not recorded then; {seen.unknown.message}")
    if (seen is not None and seen.exists) or (seen is None and now.text("download_path") is not None):
        return EntryDeed(
            now.name, RestoredEntry.KEEP, f"was not recorded then; its files are at {now.text('download_path')}"
        )
    return EntryDeed(now.name, RestoredEntry.REMOVE, "was not recorded then, and has no files")


def _claimed(wanted: Entry, now: Entry | None, observe: Observe) -> EntryDeed | None:
    deed = RestoredEntry.BACK if now is None else RestoredEntry.CHANGE
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
                wanted.name, RestoredEntry.KEEP, f"other files{at} stand there now; --manifests brings those of then"
            )
    gone = "are gone" if not seen.exists else f"are not as recorded then ({len(seen.damaged)} of them)"
    return _emptied(wanted, now, deed, f"its files {gone}")


def _unseen(wanted: Entry, deed: RestoredEntry, *, away: str | None = None) -> EntryDeed:
    """Decide on an entry whose files nobody can compare: none listed, its store does not answer, a drive is away."""
    if away is None and wanted.path is not None and not is_there(wanted.path):
        return _emptied(wanted, None, deed, f"{wanted.path} is gone") or EntryDeed(
            wanted.name, RestoredEntry.KEEP, "gone"
        )
    message = f"{wanted.text('download_path')} could not be compared when the entry was restored"
    message += f": {away}" if away is not None else ""
    condition = {"type": "Ready", "status": "Unknown", "reason": UNCHECKED, "message": message}
    fields = {**wanted.fields, "conditions": [condition], "verification": "unverified"}
    why = f"recorded as it was, but not checked: {message}"
    return EntryDeed(wanted.name, deed, why, as_packed(Entry(wanted.name, fields, wanted.files)))


def _emptied(wanted: Entry, now: Entry | None, deed: RestoredEntry, why: str) -> EntryDeed | None:
    entry = emptied_entry(wanted, wanted.name, MISSING, why)
    if now is not None and _but_conditions(now.fields) == _but_conditions(entry.fields):
        return None
    return EntryDeed(wanted.name, deed, f"recorded without files: {why}", as_packed(entry))


def _but_conditions(fields: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in fields.items() if key != "conditions"}


def by_place(entries: Iterable[Entry]) -> dict[Path, list[Entry]]:
    """Return the entries that claim files, by where they are."""
    found: dict[Path, list[Entry]] = {}
    for entry in entries:
        if entry.path is not None:
            found.setdefault(entry.path, []).append(entry)
    return found


def _same_files(one: Entry, other: Entry) -> bool:
    return {file.path for file in one.files} == {file.path for file in other.files}
