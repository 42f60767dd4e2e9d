"""One run that nobody watches: what needs a person is left out, what is done is committed, sent and reported."""

from pathlib import Path
from typing import Final, NamedTuple

from imageworks.files.progress import Progress
from imageworks.host.settings import HostSettings
from imageworks.operations.export import renew_exports
from imageworks.operations.fleet.report import RunReport
from imageworks.plan.plan import Plan
from imageworks.plan.report import Report
from imageworks.reconcile.remote_sync import Sent
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions

LOCK_SECONDS: Final = 30.0


class UnattendedRun(NamedTuple):
    """What such a run came to.

    Args:
        plan: What was to be done.
        done: What was done; ``None`` where nothing was to be.
        sent: What was pushed.
        reported: What came of the report on the host's ref.
        notes: Which files of other programs were written anew.
    """

    plan: Plan
    done: Report | None
    sent: Sent
    reported: Sent
    notes: tuple[str, ...]


def run_unattended(
    root: Path, host: HostSettings, options: RunOptions, reports: RunReport, *, progress: Progress | None = None
) -> UnattendedRun:
    """Plan, apply what nobody has to confirm, commit, send and report."""
    done = None
    with reports.failures(), Run.open(root, host, options, progress=progress, wait=LOCK_SECONDS) as run:
        plan = run.plan()
        if plan.has_changes:
            run.check_signing()
            skipped = {one.name: "not confirmed" for one in plan.effective if one.needs_confirmation}
            done = run.apply(plan, skipped=skipped)
        else:
            run.tidy()
        sent = run.publish()
    exports = run.registry.settings.exports
    notes = tuple(renew_exports(root, host, exports)) if exports else ()
    return UnattendedRun(plan, done, sent, reports.finished(plan, done), notes)
