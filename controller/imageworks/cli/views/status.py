"""How models stand, for people: what is wrong first, with what to do about it."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from imageworks.cli.output import counted, cut, paint, printable, table, terminal_width
from imageworks.cli.views.unfinished import how_far_it_comes
from imageworks.foundation.texts import human_bytes
from imageworks.plan.status import ModelStatus, Sync

if TYPE_CHECKING:
    from imageworks.files.unfinished import Unfinished
    from imageworks.providers.model_claims import Arriving

SHORTEST_NAME: Final = 24
ROOM_BESIDE_NAMES: Final = 48
"""What a terminal keeps for the other columns, and takes from long names."""
WORDS: Final = {
    Sync.SYNCED: "as declared",
    Sync.OUT_OF_SYNC: "out of sync",
    Sync.BLOCKED: "blocked",
    Sync.SUSPENDED: "suspended",
    Sync.UNDECLARED: "undeclared",
}


def status_text(statuses: Sequence[ModelStatus], arriving: "Sequence[Arriving]" = (), *, colour: bool) -> str:
    """Return a line a model, what is wrong first; below it what to do.

    Args:
        statuses: By name.
        arriving: What other runs bring now.
        colour: Whether to use colour.
    """
    last = (Sync.BLOCKED, Sync.OUT_OF_SYNC, *Sync)
    ordered = sorted(statuses, key=lambda one: (not one.wrong, last.index(one.sync), one.name))
    coming = {one.name: how_far_it_comes(one) for one in arriving}
    room = max(terminal_width() - ROOM_BESIDE_NAMES, SHORTEST_NAME)
    rows = [
        (cut(one.name, room, middle=True), one.sync.value, one.health.value, coming.get(one.name, one.reason))
        for one in ordered
    ]
    todo = _remedies([one for one in ordered if one.name not in coming])
    heading, *lines = table(("MODEL", "SYNC", "HEALTH", "REASON"), rows, whole=frozenset({1, 2})).splitlines()
    if len(lines) != len(ordered):  # too narrow for columns
        return "\n".join([heading, *lines, *todo])
    styles = ["red" if one.wrong else "yellow" if one.sync is Sync.OUT_OF_SYNC else "" for one in ordered]
    painted = [paint(line, style, colour=colour and bool(style)) for line, style in zip(lines, styles, strict=True)]
    return "\n".join([heading, *painted, *todo])


def _remedies(statuses: Sequence[ModelStatus]) -> list[str]:
    """Return what to do, once where the same command serves all."""
    commands = [one.remedy for one in statuses if one.remedy]
    waiting = [one for one in statuses if one.remedy.startswith("reconcile ")]
    if len(waiting) > 1:
        commands = ["reconcile", *(command for command in commands if not command.startswith("reconcile "))]
    return ["", *(f"To do: `imageworks-models {printable(command)}`" for command in commands)] if commands else []


def summary(
    statuses: Sequence[ModelStatus], unfinished: "Sequence[Unfinished]", arriving: "Sequence[Arriving]" = ()
) -> str:
    """Return in one line how many models stand how.

    Args:
        statuses: Of all models.
        unfinished: Downloads that were broken off.
        arriving: What other runs bring now.
    """
    counts = Counter(one.sync for one in statuses)
    told = [f"{counts[sync]} {word}" for sync, word in WORDS.items() if counts[sync]]
    health = Counter(one.health.value for one in statuses if one.wrong and one.sync is not Sync.BLOCKED)
    told += [f"{count} {word}" for word, count in sorted(health.items())]
    if arriving:
        told.append(f"{len(arriving)} downloading now")
    if unfinished:
        told.append(
            f"{counted(len(unfinished), 'unfinished download')} of {human_bytes(sum(o.gathered for o in unfinished))}"
        )
    return f"{counted(len(statuses), 'model')}: {', '.join(told)}"
