"""What ``reconcile --watch`` does: cycle after cycle until a signal ends it."""

import gc
import signal
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.cli.output import complain, printable, say
from imageworks.cli.pauses import pauses
from imageworks.cli.prompts import agrees, refuse_unasked
from imageworks.fleet.durations import parse_duration
from imageworks.foundation.errors import ExitCode, UsageError
from imageworks.foundation.http_access import ServerAccess
from imageworks.foundation.http_server import HttpServer
from imageworks.foundation.log import start_logging
from imageworks.host.service_manager import notify, reloading
from imageworks.operations.fleet.watch import Cycle, Watch, run_cycle
from imageworks.operations.session import Session

if TYPE_CHECKING:
    from types import FrameType

    from imageworks.reconcile.run_options import RunOptions

SHORTEST_INTERVAL: Final = 1.0
LONG_LIVED_THRESHOLD: Final = 10_000  # objects


def start_watch(
    session: Session,
    options: "RunOptions",
    *,
    interval: str,
    port: int | None,
    report: bool | None,
    unfit: bool,
    yes: bool,
) -> int:
    """Reconcile until asked to end, agreed to once, and serve how that goes on loopback where a port is named."""
    if unfit:
        raise UsageError("--watch applies and commits: it takes no plan and shows none", remedy="Leave the rest out.")
    seconds = parse_duration(interval, "--interval")
    if seconds < SHORTEST_INTERVAL:
        raise UsageError(f"--interval: {interval!r} is shorter than a second", remedy="Write it like 5m.")
    complain(f"watching {session.root}: every {interval} this host is made as declared, without asking, until ^C")
    if not yes:
        refuse_unasked("the watch was not begun")
        if not agrees("Apply what is committed, now and from then on?"):
            complain("nothing was changed")
            return ExitCode.FAILURE
    start_logging(session.host.log_dir)
    return _watch(session.root, replace(options, read_only=False), interval=seconds, port=port, report=report)


def _watch(root: Path, options: "RunOptions", *, interval: float, port: int | None, report: bool | None) -> int:

    gc.set_threshold(LONG_LIVED_THRESHOLD)  # other commands end before collecting pays; this one runs for months

    def cycle() -> Cycle:
        done = run_cycle(root, options, report=report)
        gc.collect()  # a repository keeps git's packs open; trees of it hide it from the collector until they are gone
        gc.collect()
        return done

    def reload(_number: int, _frame: "FrameType | None") -> None:
        reloading()  # the pause ends by any signal

    with ExitStack() as stack:
        pause = stack.enter_context(pauses())
        watched = Watch(cycle, interval, lambda line: say(printable(line)), pause)
        if port is not None:
            server = HttpServer(watched, ("127.0.0.1", port), name="watch", access=ServerAccess())
            stack.enter_context(server)
            complain(f"health at http://127.0.0.1:{server.port}/healthz, metrics at /metrics")
        before = signal.signal(signal.SIGHUP, reload)
        stack.callback(signal.signal, signal.SIGHUP, before)
        try:
            watched.run()
        except KeyboardInterrupt:  # ^C and SIGTERM come this way
            notify(STOPPING=1)
            complain("ended; what came so far is kept")
    return ExitCode.SUCCESS
