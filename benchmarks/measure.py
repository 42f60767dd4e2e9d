"""Times whole processes side by side: in each round every contender runs once, so that noise hits all alike."""

import contextlib
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

POLL_SECONDS: Final = 0.02
KIBI: Final = 1024
LINES_SHOWN: Final = 20


class BenchmarkError(Exception):
    """A contender failed, so there is nothing to compare."""


def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One program to time.

    Args:
        name: How it is called in tables.
        command: The command line.
        environment: Its whole environment.
        folder: Where it runs.
        prepare: Called before each run, outside the time.
        check: Called after each run, outside the time; raises when the work was not done.
        expect: The exit code of a run that did its work.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    prepare: Callable[[], None] = nothing
    check: Callable[[], None] = nothing
    expect: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run took.

    Args:
        seconds: Wall time of the whole process.
        cpu_seconds: CPU time of it and of the children that it waited for.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Limit:
    """What one contender has to keep.

    Args:
        contender: Whose.
        bound: Seconds, or a ratio when there is a baseline.
        baseline: The contender to compare with, within the same round.
        faster: Whether the bound says how many times faster than the baseline it is at least.
        cpu: Whether CPU time counts and not the clock: of what waits for nobody it says the same, with less noise.
    """

    contender: str
    bound: float
    baseline: str | None = None
    faster: bool = False
    cpu: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a limit was kept.

    Args:
        limit: The limit.
        median: Of the rounds' values: seconds, or ratios of two times of one round.
        best: The best round's.
        kept: Whether the median keeps the limit.
    """

    limit: Limit
    median: float
    best: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Contenders that did the same work, and what was to be kept.

    Args:
        title: What the work was.
        samples: Each contender's runs, in the order of rounds.
        limits: What was to be kept.
        foreign_cpu: Share of the machine that processes which are not ours took meanwhile, from 0 to 1.
        notes: What a reader has to know.
    """

    title: str
    samples: Mapping[str, Sequence[Sample]]
    limits: Sequence[Limit] = ()
    foreign_cpu: float = 0.0
    notes: Sequence[str] = field(default=())

    def verdicts(self) -> list[Verdict]:
        """Return how each limit was kept."""
        return [self._verdict(limit) for limit in self.limits]

    def _verdict(self, limit: Limit) -> Verdict:
        own = [sample.cpu_seconds if limit.cpu else sample.seconds for sample in self.samples[limit.contender]]
        if limit.baseline is None:
            values = own
        else:
            other = [sample.cpu_seconds if limit.cpu else sample.seconds for sample in self.samples[limit.baseline]]
            pairs = list(zip(own, other, strict=True))
            values = [b / a for a, b in pairs] if limit.faster else [a / b for a, b in pairs]
        median = statistics.median(values)
        best = max(values) if limit.faster else min(values)
        return Verdict(limit, median, best, median >= limit.bound if limit.faster else median <= limit.bound)


def compare(
    title: str,
    contenders: Sequence[Contender],
    *,
    rounds: int,
    limits: Sequence[Limit] = (),
    notes: Sequence[str] = (),
    servers: Sequence[int] = (),
) -> Comparison:
    """Time contenders round by round, each round in another order.

    Args:
        title: What the work is.
        contenders: Who does it.
        rounds: How often.
        limits: What is to be kept.
        notes: What a reader has to know.
        servers: Process ids whose CPU time is ours too.
    """
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    meter = CpuMeter(servers)
    for round_ in range(rounds):
        shift = round_ % len(contenders)
        for contender in (*contenders[shift:], *contenders[:shift]):
            samples[contender.name].append(run_once(contender))
    return Comparison(title, samples, limits, meter.foreign(), notes)


def run_once(
    contender: Contender, watch: Callable[[int], contextlib.AbstractContextManager[object]] | None = None
) -> Sample:
    """Run a contender once and return what it took.

    Args:
        contender: Who runs.
        watch: Given the process id, watches it for as long as it runs.

    Raises:
        BenchmarkError: It did not do its work; its last lines are in the message.
    """
    contender.prepare()
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            contender.command,
            env=dict(contender.environment),
            cwd=contender.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        with watch(process.pid) if watch else contextlib.nullcontext():
            _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != contender.expect:
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines()[-LINES_SHOWN:]
            raise BenchmarkError(f"{contender.name} ended with {process.returncode}:\n" + "\n".join(lines))
    contender.check()
    return Sample(seconds, used.ru_utime + used.ru_stime)


def peak_memory(contender: Contender) -> int:
    """Run a contender once more and return the most memory that its process tree had at a time, in bytes.

    Sums the proportional set sizes, so that pages shared between processes count once.

    Args:
        contender: Who runs.
    """
    watcher = MemoryWatcher()
    run_once(contender, watcher.watch)
    return watcher.peak


class MemoryWatcher:
    """Looks at a process tree several times a second and keeps the most memory it had."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()

    @contextlib.contextmanager
    def watch(self, process: int) -> Iterator[None]:
        """Look at a process and all its descendants until the block ends."""
        thread = threading.Thread(target=self._look, args=(process,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _look(self, process: int) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self.peak = max(self.peak, sum(proportional_memory(one) for one in tree_of(process)))


def tree_of(process: int) -> list[int]:
    """Return a process and all its living descendants."""
    found = [process]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                with contextlib.suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
    return found


def proportional_memory(process: int) -> int:
    """Return a process's proportional set size in bytes; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * KIBI
    return 0


class CpuMeter:
    """Measures how much of the machine others used since it was made, so that a reader knows how noisy it was.

    Args:
        servers: Process ids whose CPU time is ours too.
    """

    def __init__(self, servers: Sequence[int] = ()) -> None:
        self._servers = servers
        self._before = self._now()

    def foreign(self) -> float:
        """Return the share of the whole machine that others took, from 0 to 1."""
        busy, total, own = (now - before for now, before in zip(self._now(), self._before, strict=True))
        return max(0.0, busy - own) / total if total else 0.0

    def _now(self) -> tuple[float, float, float]:
        tick = os.sysconf("SC_CLK_TCK")
        fields = [int(text) / tick for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        idle = fields[3] + fields[4]
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        own += sum(_cpu_of(one) / tick for server in self._servers for one in tree_of(server))
        return sum(fields) - idle, sum(fields), own


def _cpu_of(process: int) -> int:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0
