"""Reconcile again and again: pull, reconcile, push, and wait; what happened is told in one line a cycle."""

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final

from imageworks.fleet.prometheus_text import CONTENT_TYPE, Metric, metrics_text
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.http_access import METHODS
from imageworks.foundation.http_messages import Request, Response
from imageworks.git.remote import Remote
from imageworks.git.repository import RegistryRepository
from imageworks.host.service_manager import notify
from imageworks.host.settings import load_host_settings
from imageworks.operations.fleet.report import RunReport
from imageworks.operations.fleet.unattended import run_unattended
from imageworks.plan.plan import Action
from imageworks.reconcile.commit_message import summary
from imageworks.reconcile.run_options import RunOptions

LONGEST_PAUSE: Final = 3600.0
"""Seconds between two cycles that fail, unless the interval itself is longer."""
JITTER: Final = 0.1
"""The part of a pause by which it is longer or shorter, so that many hosts do not ask at once."""
OVERDUE: Final = 3
"""Pauses after which a watch without a finished cycle is not well."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """What one cycle came to.

    Args:
        lines: What happened, in words; empty where nothing did.
        failed: What could not be done, in words.
        changes: How many models were changed.
        unchanged: How many are as declared.
        blocked: How many cannot be brought now.
        finished: When it ended, in seconds since 1970.
    """

    lines: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    changes: int = 0
    unchanged: int = 0
    blocked: int = 0
    finished: float = field(default_factory=time.time)


def run_cycle(root: Path, options: RunOptions, *, report: bool | None) -> Cycle:
    """Pull, reconcile and push once; settings of the host and of the registry are read anew."""
    try:
        host = load_host_settings(registry=root)
        there = _has_remote(root, host.host)
        options = replace(options, pull=there, push=there and options.push is not False)
        reports = RunReport(root, host, asked=report, push=options.push, repeats=False)
        plan, done, sent, reported, notes = run_unattended(root, host, options, reports)
    except ImageworksError as error:
        return Cycle(failed=(error.message,))
    blocked = [one for one in plan.changes if one.action is Action.BLOCKED]
    outcomes = done.outcomes if done is not None else ()
    lines = [summary(outcomes)] if outcomes else []
    lines += [f"committed {done.commit[:10]}"] if done is not None and done.commit else []
    lines += [*sent.notes, *notes] if lines or notes or sent.notes else []
    failed = [f"{one.name}: {one.reason.value}" for one in blocked]
    failed += [f"{one.change.name}: {one.reason or one.error}" for one in outcomes if not one.done]
    failed += [one.problem.message for one in (sent, reported) if one.problem is not None]
    failed += [line for line in plan.diagnostics if not blocked]
    return Cycle(
        lines=tuple(line for line in lines if line),
        failed=tuple(failed),
        changes=sum(one.done for one in outcomes),
        unchanged=plan.unchanged,
        blocked=len(blocked),
    )


def _has_remote(root: Path, host: str) -> bool:
    repository = RegistryRepository.open(root, host=host)
    return repository.branch() is not None and bool(Remote(repository.program(os.environ)).names())


class Watch:
    """Runs cycles until it is stopped; also what its HTTP server shows of that.

    Args:
        cycle: What one cycle does.
        interval: Seconds from the end of one cycle to the next.
        tell: Takes a line for each cycle in which something happened.
        pause: Waits some seconds, or less where the next cycle is wanted at once.
    """

    def __init__(
        self,
        cycle: Callable[[], Cycle],
        interval: float,
        tell: Callable[[str], None],
        pause: Callable[[float], object],
    ) -> None:
        self._cycle = cycle
        self._interval = interval
        self._tell = tell
        self._pause = pause
        self._started = time.time()
        self._last: Cycle | None = None
        self._succeeded = 0.0
        self._counts = {"ok": 0, "failed": 0}
        self._in_a_row = 0
        self._told: tuple[str, ...] = ()
        self._next = self._started

    def run(self, *, cycles: int | None = None) -> None:
        """Run cycles until something is raised, such as ^C, or as many as are told."""
        notify(READY=1, STATUS="reconciling")
        while cycles is None or sum(self._counts.values()) < cycles:
            self._finish(self._cycle())
            if cycles is None or sum(self._counts.values()) < cycles:
                seconds = self.next_pause()
                self._next = time.time() + seconds
                notify(READY=1, STATUS=self._status())
                self._pause(seconds)

    def next_pause(self) -> float:
        """Return the seconds to the next cycle: twice as many after each failure, none alike on two hosts."""
        longest = max(LONGEST_PAUSE, self._interval)
        pause: float = min(self._interval * 2.0 ** min(max(self._in_a_row - 1, 0), 20), longest)
        return pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 # no secret

    def _finish(self, cycle: Cycle) -> None:
        self._last = cycle
        self._counts["failed" if cycle.failed else "ok"] += 1
        self._in_a_row = self._in_a_row + 1 if cycle.failed else 0
        if not cycle.failed:
            self._succeeded = cycle.finished
        again = cycle.failed == self._told and not cycle.lines
        recovered = ("well again",) if self._told and not cycle.failed else ()
        self._told = cycle.failed
        if said := [*cycle.lines, *recovered, *(f"failed: {one}" for one in (() if again else cycle.failed))]:
            self._tell(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {'; '.join(' '.join(one.split()) for one in said)}")

    def _status(self) -> str:
        last = self._last
        return "as declared" if last is None or not last.failed else f"failed: {last.failed[0]}"[:200]

    # --- what is shown ---------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """Return how the watch is."""
        if request.method not in {"GET", "HEAD"}:
            return self.refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"only {METHODS}")
        if request.path == "/healthz":
            problem = self.problem()
            status = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
            return _text(status, f"{problem or 'ok'}\n")
        if request.path == "/metrics":
            return Response(HTTPStatus.OK, (("Content-Type", CONTENT_TYPE),), metrics_text(self.metrics()).encode())
        return self.refusal(HTTPStatus.NOT_FOUND, "there are /healthz and /metrics")

    def refusal(self, status: int, message: str) -> Response:
        """Return an error as text."""
        return _text(status, f"{message}\n")

    def problem(self) -> str:
        """Return what is wrong with the watch; empty when nothing is. A failed model is no fault of the watch."""
        if self._last is None:
            return ""
        late = time.time() - self._next
        return f"no cycle for {late:.0f} s" if late > OVERDUE * max(self._interval, LONGEST_PAUSE) else ""

    def metrics(self) -> Sequence[Metric]:
        """Return the metrics of the watch."""
        prefix = "imageworks_watch_"
        last = self._last or Cycle(finished=0.0)
        counts = tuple(({"result": name}, float(count)) for name, count in self._counts.items())
        return (
            Metric(f"{prefix}cycles_total", "Cycles by how they ended.", counts, kind="counter"),
            Metric(f"{prefix}failures_in_a_row", "Failed cycles since the last good one.", (({}, self._in_a_row),)),
            Metric(f"{prefix}last_cycle_timestamp_seconds", "When a cycle last ended.", (({}, last.finished),)),
            Metric(f"{prefix}last_success_timestamp_seconds", "When one last ended well.", (({}, self._succeeded),)),
            Metric(f"{prefix}models_unchanged", "Models that are as declared.", (({}, last.unchanged),)),
            Metric(f"{prefix}models_blocked", "Models that cannot be brought now.", (({}, last.blocked),)),
        )


def _text(status: int, text: str) -> Response:
    return Response(
        status, (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")), text.encode()
    )
