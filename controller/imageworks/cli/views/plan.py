"""A plan for people: one line a model, what needs a person first, totals last; JSON for programs."""

import re
from collections.abc import Iterable
from typing import Final

from imageworks.cli.output import columns, counted, cut, one_line, paint, terminal_width, wrapped
from imageworks.cli.plan_view import no_changes
from imageworks.foundation.texts import human_bytes
from imageworks.plan.plan import Action, Change, Plan

STYLES: Final = {
    Action.BLOCKED: "magenta",
    Action.REMOVE: "red",
    Action.UPDATE: "yellow",
    Action.REPAIR: "yellow",
    Action.MOVE: "cyan",
    Action.INSTALL: "green",
    Action.ADOPT: "green",
}
"""In the order in which changes are shown."""
ORDER: Final = {action: place for place, action in enumerate(STYLES)}
WORD_COLUMNS: Final = max(len(action.value) for action in Action)
REVISION_DIGITS: Final = 12
SHORT_REVISION: Final = 7  # as git shows one
REASON_COLUMNS: Final = 18
"""What a terminal keeps for the reason, and takes from long names."""
SHORTEST_NAME: Final = 24
FEW_CHANGES: Final = 10
"""So few that a blocked model may take more than one line."""
MOST_LISTED: Final = 8
"""Warnings, drift, notes that are shown; the rest is counted, and ``-v`` shows it."""


def plan_text(plan: Plan, *, colour: bool, verbose: bool = False, width: int | None = None) -> str:
    """Return a plan for a terminal.

    Args:
        plan: What would change.
        colour: Whether to use colour.
        verbose: Whether revisions, paths and files are named too.
        width: Columns to fit in; the terminal's when absent, and no bound where there is none.
    """
    width = width or terminal_width()
    changes = sorted(plan.changes, key=lambda change: (ORDER[change.action], change.name))
    blocks = [
        [one_line(line) for line in plan.diagnostics],
        list(_lines(changes, colour=colour, verbose=verbose, width=width)),
        [] if verbose else _section("Warnings:", _warnings(changes), width, verbose=False),
        _section("Drift that no one declared:", _drift(plan), width, verbose=verbose),
        _section("Notes:", map(one_line, plan.notes), width, verbose=verbose),
        list(_footer(plan)),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _lines(changes: list[Change], *, colour: bool, verbose: bool, width: int) -> Iterable[str]:
    names = [one_line(change.name) for change in changes]
    sizes = [_size(change) for change in changes]
    size_columns = max(map(len, sizes), default=0)
    beside = 2 + WORD_COLUMNS + 2 + (size_columns + 2 if size_columns else 0) + 2
    name_columns = min(max(map(columns, names), default=0), max(width - beside - REASON_COLUMNS, SHORTEST_NAME))
    for change, name, size in zip(changes, names, sizes, strict=True):
        shown = name if verbose else cut(name, name_columns, middle=True)
        head = f"{change.action.symbol} {change.action.value:{WORD_COLUMNS}}"
        middle = f"  {shown}{' ' * (name_columns - columns(shown))}"
        middle += f"  {size:>{size_columns}}" if size_columns else ""
        why = one_line(_why(change))
        room = max(width - columns(head + middle) - 2, 0)
        target = "" if verbose else one_line(_target(change))
        why += target if columns(why + target) <= room else ""
        whole = verbose or (change.action is Action.BLOCKED and len(changes) <= FEW_CHANGES)
        rest: list[str] = []
        if whole and columns(why) > room:
            why, *rest = _reason_lines(why, room, width)
        yield f"{paint(head, STYLES[change.action], colour=colour)}{middle}  {_fitting(why, room, change)}".rstrip()
        yield from rest
        if verbose:
            yield from (f"    {one_line(line)}" for line in _details(change))


def _fitting(why: str, room: int, change: Change) -> str:
    """Return of a reason what fits in whole clauses; of what blocks a model as much as fits: a person has to act."""
    if columns(why) <= room or change.action is Action.BLOCKED:
        return cut(why, room)
    clauses = (why[: end.start()] for end in re.finditer("[:;,] ", why))
    fitting = [clause for clause in clauses if columns(clause) <= room]
    return fitting[-1] if fitting else cut(why, room)


def _reason_lines(text: str, room: int, width: int) -> list[str]:
    """Return a text's part for the rest of a line and, indented, the lines below it."""
    first, *rest = wrapped(text, width - 4, first=max(room, REASON_COLUMNS))
    return [first, *(f"    {line}" for line in rest)]


def _size(change: Change) -> str:
    if change.action is Action.BLOCKED:
        return ""
    if change.action is Action.REMOVE:
        return f"-{human_bytes(change.bytes_freed)}" if change.bytes_freed else ""
    if not change.size_known:
        return f"+{human_bytes(change.total_bytes)}" if change.total_bytes else "+?"
    return f"+{human_bytes(change.bytes_to_fetch)}" if change.bytes_to_fetch else ""


def _why(change: Change) -> str:
    """Return the reason, what is particular about the change, and the sentence that explains it."""
    told = [change.reason.value]
    before, after = change.revision
    if change.action is Action.UPDATE and before and after and before != after:
        told.append(f"{before[:SHORT_REVISION]} -> {after[:SHORT_REVISION]}")
    if change.previous_name:
        told.append(f"was {change.previous_name}")
    if change.bytes_reused:
        told.append(f"{human_bytes(change.bytes_reused)} reused")
    if change.bytes_staged:
        told.append(f"{human_bytes(change.bytes_staged)} here already")
    if change.needs_confirmation:
        told.append("asks by name")
    return ", ".join(told) + (f": {change.message}" if change.message else "")


def _target(change: Change) -> str:
    """Return where a change leads to, where that is not where it was: shown where there is room for all of it."""
    moved = change.action not in {Action.BLOCKED, Action.REMOVE} and change.path[1] not in {None, change.path[0]}
    return f"; to {change.path[1]}" if moved else ""


def _details(change: Change) -> Iterable[str]:
    before, after = change.revision
    if change.source:
        yield f"from {change.source}" + (f" @ {after[:REVISION_DIGITS]}" if after else "")
    if before and before != after:
        yield f"instead of {before[:REVISION_DIGITS]}"
    if change.path[0] and (change.action is Action.REMOVE or change.path[0] != change.path[1]):
        yield f"at {change.path[0]}"
    if change.action is not Action.BLOCKED and change.path[1]:
        yield f"to {change.path[1]}"
    if counts := _counts(change):
        yield counts
    if not change.daemon:
        yield from (f"  + {path}" for path in change.fetch)
    yield from (f"  = {path}  from {found}" for path, found in sorted(change.reuse.items()))
    yield from (f"  - {path}" for path in change.drop)
    if change.left_out:
        yield f"left out: {len(change.left_out)} of the source's files"
        yield from (f"  {line}" for line in change.left_out)
    yield from (f"warning: {warning}" for warning in change.warnings)


def _counts(change: Change) -> str:
    parts = []
    if change.fetch:
        size = human_bytes(change.bytes_to_fetch) if change.size_known else "size unknown"
        parts.append(f"{len(change.fetch)} to fetch, {size}")
    if change.reuse:
        parts.append(f"{len(change.reuse)} reused, {human_bytes(change.bytes_reused)}")
    if change.keep and change.action is not Action.BLOCKED:
        parts.append(f"{change.keep} kept")
    if change.drop:
        freed = f", {human_bytes(change.bytes_freed)} freed" if change.bytes_freed else ""
        parts.append(f"{len(change.drop)} removed{freed}")
    return "files: " + "; ".join(parts) if parts else ""


def _warnings(changes: Iterable[Change]) -> Iterable[str]:
    """Yield each warning once, with the models that it is about."""
    about: dict[str, list[str]] = {}
    for change in changes:
        for warning in change.warnings:
            about.setdefault(warning, []).append(change.name)
    for warning, names in about.items():
        yield one_line(f"{names[0] if len(names) == 1 else counted(len(names), 'model')}: {warning}")


def _drift(plan: Plan) -> Iterable[str]:
    return (f"{one_line(item.name)}  {item.reason.value}: {one_line(item.message)}" for item in plan.drift)


def _section(title: str, told: Iterable[str], width: int, *, verbose: bool) -> list[str]:
    """Return lines below a title; nothing where there are none."""
    lines = ["\n".join(wrapped(f"  {line}", width)) for line in told]
    if not verbose and len(lines) > MOST_LISTED + 1:
        lines[MOST_LISTED:] = [f"  and {len(lines) - MOST_LISTED} more: -v shows them"]
    return [title, *lines] if lines else []


def _footer(plan: Plan) -> Iterable[str]:
    if not plan.has_changes and not plan.has_errors:
        counts = [no_changes(plan.unchanged, plan.host)]
    else:
        summary = plan.summary
        counts = [f"Plan: {summary['add']} to add, {summary['change']} to change, {summary['destroy']} to destroy."]
        counts.append(f"{counted(plan.unchanged, 'model')} unchanged.")
    if blocked := plan.count(Action.BLOCKED):
        counts.append(f"{blocked} blocked.")
    if plan.suspended:
        counts.append(f"{plan.suspended} suspended (hands off).")
    yield " ".join(counts)
    if plan.records_stale and not plan.effective:
        yield "Entries or the snapshot are to be written anew; no model changes."
    yield from _bytes(plan)


def _bytes(plan: Plan) -> Iterable[str]:
    fetch = sum(change.bytes_to_fetch - change.bytes_staged for change in plan.effective)
    reused = sum(change.bytes_reused for change in plan.effective)
    unknown = sum(1 for change in plan.effective if not change.size_known)
    if fetch or reused or unknown:
        more = f" and {unknown} of unknown size" if unknown else ""
        yield f"To fetch: {human_bytes(fetch)}{more}; reused from this machine: {human_bytes(reused)}."
    several = len(plan.filesystems) > 1
    for place in plan.filesystems:
        before, after = human_bytes(place.free_before), human_bytes(place.free_after)
        arriving = f"; {human_bytes(place.bytes_to_fetch)} to fetch" if several and place.bytes_to_fetch else ""
        yield f"Free below {place.name}: {before} now, {after} after{arriving}."
