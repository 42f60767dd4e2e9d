"""What going back would do, for people."""

import sys
from typing import TYPE_CHECKING

from imageworks.cli.output import complain, printable, say, terminal_width, wants_colour
from imageworks.cli.views.history import change_lines
from imageworks.cli.views.plan import plan_text

if TYPE_CHECKING:
    from imageworks.operations.restore.entries import EntryDeed
    from imageworks.operations.restore.model import Restoration
    from imageworks.plan.report import Report


def show_restoration(asked: "Restoration", *, dry_run: bool) -> None:
    """Print what would come back, and tell what does not."""
    colour, width = wants_colour(sys.stdout), terminal_width()
    for problem in asked.refused:
        complain(f"refused: {problem}")
    for note in asked.notes:
        complain(f"note: {note}")
    for change in asked.changes:
        say("\n".join(line[4:] for line in change_lines(change, colour=colour, width=width + 4)))
    for deed in asked.entries:
        if deed.entry is None and deed not in asked.recorded:
            complain(f"kept: {deed.name}: {deed.why}")
        else:
            say(_deed_line(deed))
    if not asked.has_changes:
        say("No changes.")
    elif asked.plan is not None:
        say()
        say(plan_text(asked.plan, colour=colour))
    elif asked.recorded and not asked.changes:
        say(f"Plan: {len(asked.recorded)} to restore." + (" Nothing was written." if dry_run else ""))
    if asked.changes and asked.plan is None:
        complain("note: nothing is reconciled; `imageworks-models reconcile` brings the bytes")


def _deed_line(deed: "EntryDeed") -> str:
    return printable(f"{deed.deed.value} {deed.name}  entry: {deed.why}")


def show_restored(report: "Report") -> None:
    """Tell what was done."""
    for name, why in (report.skipped or {}).items():
        complain(f"skipped: {name}: {why}")
    for note in report.notes:
        complain(f"note: {note}")
    say(f"Done; committed {report.commit[:10]}." if report.commit else "Done; nothing had to be committed.")
