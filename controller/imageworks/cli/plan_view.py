"""A plan for people: text for a terminal, JSON for programs."""

import json
from collections.abc import Iterable
from typing import Final

from imageworks.cli.output import human_bytes, paint, printable
from imageworks.reconcile.plan import Action, Change, Plan

STYLES: Final = {
    Action.INSTALL: "green",
    Action.UPDATE: "yellow",
    Action.MOVE: "cyan",
    Action.ADOPT: "green",
    Action.REPAIR: "yellow",
    Action.REMOVE: "red",
    Action.BLOCKED: "magenta",
}


def plan_json(plan: Plan) -> str:
    """Return a plan as stable, versioned JSON."""
    return json.dumps(plan.document(), indent=2, sort_keys=True, ensure_ascii=False)


def plan_text(plan: Plan, *, colour: bool, verbose: bool = False) -> str:
    """Return a plan for a terminal.

    Args:
        plan: What would change.
        colour: Whether to use colour.
        verbose: Whether the files that are left out are named too.
    """
    blocks = []
    if plan.diagnostics:
        blocks.append("\n".join(printable(line) for line in plan.diagnostics))
    if plan.changes:
        blocks.append("\n".join(_change_text(change, colour=colour, verbose=verbose) for change in plan.changes))
    if plan.drift:
        lines = [f"  {printable(item.name)}  ({item.reason.value}) {printable(item.message)}" for item in plan.drift]
        blocks.append("Drift that no one declared:\n" + "\n".join(lines))
    blocks.append("\n".join([*_footer(plan), *(f"note: {printable(note)}" for note in plan.notes)]))
    return "\n\n".join(blocks)


def _change_text(change: Change, *, colour: bool, verbose: bool) -> str:
    head = paint(printable(f"{change.action.symbol} {change.name}"), STYLES[change.action], colour=colour)
    lines = [f"{head}  {change.action.value} ({change.reason.value})"]
    return "\n".join([*lines, *(f"    {printable(line)}" for line in _details(change, verbose=verbose))])


def _details(change: Change, *, verbose: bool) -> Iterable[str]:
    if change.message:
        yield change.message
    if change.source:
        yield f"from {change.source}" + (f" @ {change.revision[1][:12]}" if change.revision[1] else "")
    if change.action is not Action.BLOCKED and change.path[1]:
        yield f"to {change.path[1]}"
    if change.action is Action.REMOVE and change.path[0]:
        yield f"at {change.path[0]}"
    counts = _counts(change)
    if counts:
        yield counts
    if verbose and change.left_out:
        yield f"left out: {len(change.left_out)} of the source's files"
        yield from (f"  {line}" for line in change.left_out)
    for warning in change.warnings:
        yield f"warning: {warning}"
    if change.needs_confirmation:
        yield "asks for confirmation by name"


def _counts(change: Change) -> str:
    parts = []
    if change.fetch:
        staged = f" ({human_bytes(change.bytes_staged)} here already)" if change.bytes_staged else ""
        size = human_bytes(change.bytes_to_fetch) if change.size_known else "size unknown"
        parts.append(f"{len(change.fetch)} to fetch, {size}{staged}")
    if change.reuse:
        parts.append(f"{len(change.reuse)} reused, {human_bytes(change.bytes_reused)}")
    if change.keep and change.action is not Action.BLOCKED:
        parts.append(f"{change.keep} kept")
    if change.drop:
        freed = f", {human_bytes(change.bytes_freed)} freed" if change.bytes_freed else ""
        parts.append(f"{len(change.drop)} removed{freed}")
    return "files: " + "; ".join(parts) if parts else ""


def _footer(plan: Plan) -> Iterable[str]:
    if not plan.has_changes and not plan.has_errors:
        yield f"No changes. {_models(plan.unchanged)} as declared on {plan.host}."
    else:
        summary = plan.summary
        yield f"Plan: {summary['add']} to add, {summary['change']} to change, {summary['destroy']} to destroy."
        yield f"{_models(plan.unchanged)} unchanged."
        if plan.records_stale and not plan.effective:
            yield "Entries or the snapshot are to be written anew; no model changes."
    if blocked := plan.count(Action.BLOCKED):
        yield f"{blocked} blocked."
    if plan.suspended:
        yield f"{plan.suspended} suspended (hands off)."
    fetch = sum(change.bytes_to_fetch - change.bytes_staged for change in plan.effective)
    reused = sum(change.bytes_reused for change in plan.effective)
    unknown = sum(1 for change in plan.effective if not change.size_known)
    if fetch or reused or unknown:
        more = f" and {unknown} of unknown size" if unknown else ""
        yield f"To fetch: {human_bytes(fetch)}{more}; reused from this machine: {human_bytes(reused)}."
    for place in plan.filesystems:
        after = human_bytes(place.free_after)
        yield f"Free below {place.name}: {human_bytes(place.free_before)} now, {after} after."


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"
