"""History in words: what became of a model, one line a change, and tables of who set what."""

import json
import sys
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Final

from imageworks.cli.output import paint, printable, table, terminal_width, wants_colour, wrapped
from imageworks.foundation.texts import human_bytes
from imageworks.registry.history.model import (
    Blamed,
    ChangeKind,
    FieldChange,
    FileChange,
    HistoryCommit,
    ModelChange,
    RecordKind,
)

SYMBOLS: Final = {
    ChangeKind.DECLARED: "+",
    ChangeKind.INSTALLED: "+",
    ChangeKind.FOUND: "+",
    ChangeKind.RECORDED: "+",
    ChangeKind.ADOPTED: "=",
    ChangeKind.CHANGED: "~",
    ChangeKind.REWRITTEN: "~",
    ChangeKind.UPDATED: "~",
    ChangeKind.RENAMED: ">",
    ChangeKind.MOVED: ">",
    ChangeKind.UNDECLARED: "-",
    ChangeKind.EMPTIED: "-",
    ChangeKind.REMOVED: "-",
    ChangeKind.UNREADABLE: "!",
}
STYLES: Final = {"+": "green", "=": "green", "~": "yellow", ">": "cyan", "-": "red", "!": "magenta"}
MOST_MODELS: Final = 12  # in one commit of the registry's history; --json tells all
MOST_FIELDS: Final = 12  # of one change; --json tells all
MOST_DETAILS: Final = 3  # of one kind of details that are told one by one
LONGEST_VALUE: Final = 48  # characters of a value within a line
REVISION_DIGITS: Final = 12
DIGEST_PREFIX: Final = "sha256:"  # of Ollama's revisions
ROOM_FOR_SUBJECTS: Final = 140  # columns
ROOM_BESIDE_FIELDS: Final = 50  # columns, for a value, a commit, a date and an author
SHORTEST_FIELD: Final = 20
_ARROW: Final = "→"
_FRESH: Final = frozenset(
    {ChangeKind.INSTALLED, ChangeKind.ADOPTED, ChangeKind.FOUND, ChangeKind.RECORDED, ChangeKind.DECLARED}
)
_GONE: Final = frozenset({ChangeKind.UNDECLARED, ChangeKind.REMOVED})
_TOLD: Final = frozenset(
    {
        "source.revision",
        "resolved.revision",
        "download_size_bytes",
        "downloaded_at",
        "name",
        "backend_config.model_path",
    }
)
"""Fields that are told by themselves, or follow from one that is."""


def step_text(step: HistoryCommit, name: str | None) -> str:
    """Return a commit for a terminal: a line, and below it what became of the models.

    Args:
        step: The commit.
        name: The model asked for; ``None`` for the whole registry.
    """
    colour, width = wants_colour(sys.stdout), terminal_width()
    record = step.record
    head = f"{record.when:%Y-%m-%d %H:%M}  {record.author}  {record.subject}"
    lines = [f"{paint(record.short_id, 'yellow', colour=colour)}  {_cut(printable(head), width - 12)}"]
    shown = step.changes if name is not None else step.changes[:MOST_MODELS]
    for change in shown:
        lines += change_lines(change, colour=colour, width=width, named=name is None or change.name != name)
    if len(shown) < len(step.changes):
        lines.append(f"    and {len(step.changes) - len(shown)} more, which --json tells")
    if not step.changes and step.layers == (RecordKind.SNAPSHOT,):
        lines.append("    the snapshot alone")
    return "\n".join(lines)


def change_lines(change: ModelChange, *, colour: bool, width: int, named: bool = True) -> list[str]:
    """Return one change as a line that wraps below itself.

    Args:
        change: What became of a model.
        colour: Whether to use colour.
        width: Columns to fit in.
        named: Whether the model's name is told.
    """
    symbol = SYMBOLS[change.kind]
    place = change.host or change.layer.value
    name = f"{change.name}  " if named and change.layer is not RecordKind.SETTINGS else ""
    text = printable(f"{name}{place}: {change_words(change)}").replace("\n", " ")
    room = max(width - 6, 20)
    first, *rest = wrapped(text, room, first=room)
    return [f"    {paint(symbol, STYLES[symbol], colour=colour)} {first}", *(f"      {line}" for line in rest)]


def change_words(change: ModelChange) -> str:
    """Return what became of a model, in words.

    Args:
        change: The change.
    """
    if change.kind is ChangeKind.UNREADABLE:
        return f"cannot be read: {change.problem}"
    if change.kind is ChangeKind.REWRITTEN:
        return "comments or layout only"
    words = [_beginning(change), *_particulars(change)]
    return ", ".join(word for word in words if word)


def _beginning(change: ModelChange) -> str:
    new = _short(change.revision[1]) if change.revision[1] else ""
    if change.kind is ChangeKind.RENAMED:
        return f"renamed from {change.previous_name}"
    if change.kind is ChangeKind.UNDECLARED:
        return "deleted"
    if change.kind is ChangeKind.REMOVED:
        return "entry removed"
    if change.kind is ChangeKind.EMPTIED:
        return "files no longer recorded"
    if change.kind in _FRESH:
        source = f" {change.source}" if change.source else ""
        former = f" (was {change.previous_name})" if change.previous_name else ""
        return f"{change.kind.value}{source}{f' @ {new}' if new else ''}{former}"
    return "moved" if change.kind is ChangeKind.MOVED else ""


def _particulars(change: ModelChange) -> Iterable[str]:
    if change.kind in _FRESH:
        if change.size[1] is not None:
            files = f" in {_count(change.count, 'file')}" if change.count else ""
            yield f"{human_bytes(change.size[1])}{files}"
        if change.kind is ChangeKind.DECLARED:
            yield from (field_words(item) for item in change.fields if item.field in {"roles", "state", "hosts"})
        return
    if change.kind in _GONE:
        return
    old, new = change.revision
    if old != new:
        yield f"revision {_short(old)}{_ARROW}{_short(new)}"
    if change.size[0] != change.size[1] and change.kind is not ChangeKind.EMPTIED:
        yield f"size {_bytes(change.size[0])}{_ARROW}{_bytes(change.size[1])}"
    if change.kind is not ChangeKind.EMPTIED:
        yield _files(change.files)
    chosen = [item for item in change.fields if item.field not in _TOLD]
    if change.kind in {ChangeKind.UPDATED, ChangeKind.EMPTIED}:  # the rest follows from other files
        chosen = [item for item in chosen if item.field in {"download_path", "deprecated", "conditions"}]
        chosen = [item for item in chosen if item.field != "conditions" or _speaks(item)]
    elif change.kind is ChangeKind.CHANGED and old == new and not chosen:  # something changed, though it is but a date
        chosen = list(change.fields)
    yield from _fields_words(chosen)


def _fields_words(changes: Sequence[FieldChange]) -> Iterable[str]:
    """Yield fields' changes in words; many details of one thing are counted, as --json tells them."""
    details: dict[str, list[FieldChange]] = {}
    for item in changes:
        details.setdefault(_thing(item.field), []).append(item)
    words = []
    for thing, items in details.items():
        counted = thing != items[0].field and len(items) > MOST_DETAILS
        words += [f"{thing} in {len(items)} fields"] if counted else [field_words(item) for item in items]
    yield from words[:MOST_FIELDS]
    if len(words) > MOST_FIELDS:
        yield f"and {len(words) - MOST_FIELDS} more, which --json tells"


def _thing(field: str, layer: RecordKind | None = None) -> str:
    """Return what a field is a detail of; itself where people would ask for it."""
    keys = field.split(".")
    thing = ".".join(keys[:2]) if keys[0] == "metadata" else field
    return f"entry.{thing}" if layer is RecordKind.ENTRY else thing


def _whole(one: Blamed) -> str:
    """Return a field's name as it tells manifests from entries."""
    return one.field if one.layer is RecordKind.MANIFEST else f"entry.{one.field}"


def field_words(change: FieldChange) -> str:
    """Return one field's change in words; lists as what came and went.

    Args:
        change: The field's change.
    """
    if change.field == "conditions":
        says = _conditions(change.after)
        return f"{_conditions(change.before)}{_ARROW}{says}" if _speaks(change) else f"{says} in other words"
    before, after = change.before, change.after
    if _of_texts(before) and _of_texts(after) and (before or after):
        old, new = _texts(before), _texts(after)
        if any(item.startswith("-") for item in (*old, *new)):  # arguments, whose order says what belongs together
            old, new = _apart(old, new)
            return f"{change.field} {value_words(' '.join(old))}{_ARROW}{value_words(' '.join(new))}"
        came, went = [item for item in new if item not in old], [item for item in old if item not in new]
        if came or went:
            return " ".join([change.field, *(f"+{item}" for item in came), *(f"-{item}" for item in went)])
        return f"{change.field} in another order"
    return f"{change.field} {value_words(before)}{_ARROW}{value_words(after)}"


def _apart(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Return two lists of arguments without what both begin and end with."""
    ahead = _alike(old, new)
    if ahead and any(len(part) > ahead and not part[ahead].startswith("-") for part in (old, new)):
        ahead -= 1  # a value is told with its option
    old, new = old[ahead:], new[ahead:]
    behind = _alike(old[::-1], new[::-1])
    return old[: len(old) - behind], new[: len(new) - behind]


def _alike(one: list[str], other: list[str]) -> int:
    """Return with how many of the same items two lists begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def value_words(value: object, *, longest: int = LONGEST_VALUE) -> str:
    """Return a value in one short line.

    Args:
        value: A JSON value.
        longest: Most characters.
    """
    if value is None:
        return "none"
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return _cut(shown.replace("\n", " ") or '""', longest)


def diff_text(changes: Sequence[ModelChange]) -> str:
    """Return the differences of two states for a terminal.

    Args:
        changes: What became of the models.
    """
    colour, width = wants_colour(sys.stdout), terminal_width()
    lines: list[str] = []
    models: set[str] = set()
    for change in changes:  # once: each is read when it is asked for
        lines += [line[4:] for line in change_lines(change, colour=colour, width=width + 4)]
        models |= {change.name} if change.layer is not RecordKind.SETTINGS else set()
    return "\n".join([*lines, f"{_count(len(models), 'model')} with differences." if lines else "No differences."])


def blame_text(found: Sequence[Blamed], name: str) -> str:
    """Return who set which field, as a table.

    Args:
        found: Each field's commit.
        name: What the model is called now.
    """
    width = terminal_width()
    groups: dict[tuple[str, str], list[Blamed]] = {}
    for one in found:
        if one.value is not None:
            groups.setdefault((_thing(one.field, one.layer), one.record.id), []).append(one)
    rows = []
    for (thing, _), together in groups.items():
        counted = len(together) > MOST_DETAILS
        rows += [
            (
                _end(thing if counted else _whole(one), max(width - ROOM_BESIDE_FIELDS, SHORTEST_FIELD)),
                f"{len(together)} fields" if counted else value_words(one.value, longest=40),
                one.record.short_id,
                f"{one.record.when:%Y-%m-%d}",
                one.record.author,
                one.record.subject + ("" if one.name == name else f" (as {one.name})"),
            )
            for one in (together[:1] if counted else together)
        ]
    headings = ("FIELD", "VALUE", "COMMIT", "DATE", "AUTHOR", "SUBJECT")
    shown = len(headings) if width >= ROOM_FOR_SUBJECTS else len(headings) - 1
    return printable(table(headings[:shown], [row[:shown] for row in rows], whole=frozenset({2, 3})))


def _files(files: FileChange) -> str:
    parts = [
        f"{len(paths)} {word}"
        for paths, word in ((files.added, "added"), (files.changed, "changed"), (files.removed, "removed"))
        if paths
    ]
    return f"files: {', '.join(parts)}" if parts else ""


def _conditions(value: object) -> str:
    listed = value if isinstance(value, list) else []
    words = [
        f"{item.get('type')} {item.get('reason') or item.get('status')}" for item in listed if isinstance(item, dict)
    ]
    return ", ".join(words) or "none"


def _speaks(change: FieldChange) -> bool:
    """Say whether other conditions hold, and not only their messages differ."""
    return _conditions(change.before) != _conditions(change.after)


def _of_texts(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _bytes(size: int | None) -> str:
    return "none" if size is None else human_bytes(size)


def _short(revision: str | None) -> str:
    return revision.removeprefix(DIGEST_PREFIX)[:REVISION_DIGITS] if revision else "none"


def _count(number: int, word: str) -> str:
    return f"1 {word}" if number == 1 else f"{number} {word}s"


def _end(text: str, longest: int) -> str:
    """Return the end of a dotted name, which tells more than its beginning."""
    parts = text.split(".")
    while len(parts) > 1 and len(".".join(parts)) + 1 > longest:
        parts = parts[1:]
    return text if len(text) <= longest else f"…{'.'.join(parts)}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: max(longest - 1, 1)] + "…"
