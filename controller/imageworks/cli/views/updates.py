"""What has moved upstream, and pins that were moved, for people and as JSON."""

from collections import Counter
from typing import TYPE_CHECKING, Final

from imageworks.cli.output import complain, printable, say, say_json
from imageworks.foundation.texts import human_bytes
from imageworks.operations.updates.pin import short
from imageworks.plan.updates import UpdateStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imageworks.operations.updates.pin import Moves
    from imageworks.plan.updates import Difference, ModelUpdate

SHOWN_FILES: Final = 5


def updates_json(updates: "Sequence[ModelUpdate]") -> None:
    """Print what has moved as JSON."""
    say_json(
        {
            "outdated": sum(1 for one in updates if one.outdated),
            "unknown": sum(1 for one in updates if one.standing is UpdateStatus.UNKNOWN),
            "models": [one.document() for one in updates],
        }
    )


def show_moves(moves: "Moves", *, nothing: str, named: bool) -> None:
    """Print moved pins, and why others stay."""
    for name, why in moves.left.items() if named else ():
        complain(f"{name}: {why}")
    for move in moves.made:
        say(printable(f"~ {move.file}: {move.line}"))
    if not moves.made:
        say(nothing)


def show_updates(updates: "Sequence[ModelUpdate]", *, named: bool) -> None:
    """Print what has moved, what could not be asked, and how many there are of each."""
    counts = Counter("held" if one.held else one.standing.value for one in updates)
    for one in updates:
        if one.standing is UpdateStatus.OUTDATED:
            say(update_block(one))
    for one in updates:
        if one.renamed_from is not None:
            complain(printable(f"{one.file}: {one.renamed_from} is {one.repo} on the hub by now"))
        if one.standing is UpdateStatus.UNKNOWN:
            complain(f"could not ask {one.name}: {one.message}")
        elif named and one.standing is not UpdateStatus.OUTDATED:
            say(printable(f"{one.name}: {one.standing.value}{f' ({one.message})' if one.message else ''}"))
    words = ["outdated", "held", *(one.value for one in UpdateStatus if one is not UpdateStatus.OUTDATED)]
    told = [f"{counts[word]} {word.replace('-', ' ')}" for word in words if counts[word]]
    say(f"{', '.join(told) or 'No models are declared'}.")


def update_block(one: "ModelUpdate") -> str:
    """Return one model's update for a terminal."""
    behind = "" if one.behind is None else f", {one.behind} commit{'' if one.behind == 1 else 's'} behind"
    when = "" if one.date is None else f", {one.date:%Y-%m-%d}"
    lines = [
        f"{one.name}  {one.repo}{f'@{one.ref}' if one.ref else ''}",
        f"  {short(one.commit)} -> {short(one.latest)}{behind}{when}{'' if one.pinned else ', not pinned'}",
    ]
    if one.message:
        lines.append(f"  {one.message}")
    if one.difference is not None:
        lines += [f"  {line}" for line in _changes(one.difference)]
    return printable("\n".join(lines))


def _changes(difference: "Difference") -> "Iterator[str]":
    before, after = difference.size
    if before is not None and after is not None:
        grown = f" ({'+' if after > before else ''}{human_bytes(after - before)})" if after != before else ""
        yield f"{human_bytes(before)} -> {human_bytes(after)}{grown}"
    for what, files in (("added", difference.added), ("removed", difference.removed), ("changed", difference.changed)):
        if files:
            more = f" and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
            yield f"{what}: {', '.join(files[:SHOWN_FILES])}{more}"
    old, new = difference.license
    if old != new:
        yield f"licence: {old or 'none'} -> {new or 'none'}"
    if difference.chat_template:
        yield "chat template: another one"
