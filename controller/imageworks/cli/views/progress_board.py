"""What progress is made of, without any display: what runs, what ended, how fast bytes come. Pure but for its clock."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from imageworks.files.progress import READING

WINDOW_SECONDS: Final = 15.0
SAMPLE_SECONDS: Final = 0.5
SHORTEST_SECONDS: Final = 1e-3


class Speed:
    """How fast bytes come, by those of the last seconds."""

    def __init__(self, now: float) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, 0)])

    def add(self, now: float, arrived: int) -> None:
        """Note how many bytes have arrived by now."""
        if now - self._samples[-1][0] >= SAMPLE_SECONDS:
            self._samples.append((now, arrived))
        while len(self._samples) > 1 and now - self._samples[1][0] >= WINDOW_SECONDS:
            self._samples.popleft()

    def at(self, now: float, arrived: int) -> float:
        """Return bytes a second."""
        began, before = self._samples[0]
        return max(arrived - before, 0) / max(now - began, SHORTEST_SECONDS)


@dataclass(slots=True)
class Task:
    """What is done under one label.

    Args:
        label: Whose bytes they are.
        total: Bytes of it in all.
        here: Bytes of those that an interrupted run left.
        work: What is done with them.
        began: When.
        speed: How fast.
        received: Bytes that are here, those of the interrupted run included.
    """

    label: str
    total: int
    here: int
    work: str
    began: float
    speed: Speed
    received: int = 0

    @property
    def arrived(self) -> int:
        """The bytes that came in this run."""
        return max(self.received - self.here, 0)

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are here."""
        return self.received >= self.total

    @property
    def percent(self) -> int:
        """How much is here."""
        return min(100 * self.received // self.total, 100) if self.total else 0

    def rate(self, now: float) -> float:
        """Return bytes a second."""
        return self.speed.at(now, self.arrived)

    def seconds(self, now: float) -> float:
        """Return how long it has been at work."""
        return max(now - self.began, SHORTEST_SECONDS)


@dataclass(slots=True)
class Board:
    """Counts what is told of progress.

    Args:
        now: Seconds that only grow.
    """

    now: Callable[[], float]
    reused: int = 0
    ended: int = 0
    complete: int = 0
    begun: int = 0
    noun: str = "models"
    last: str = ""
    _expected: dict[str, tuple[int, int]] = field(default_factory=dict)
    _running: dict[str, Task] = field(default_factory=dict)
    _received: int = 0
    _arrived: int = 0
    _total: int = 0
    _began: float | None = None
    _speed: Speed | None = None

    def expect(self, label: str, total: int, here: int) -> None:
        """Count what will come under a label."""
        self._begin_anew()
        self._expected[label] = (total, here)

    def expects(self, label: str) -> bool:
        """Return whether a label is among what will come."""
        return label in self._expected

    def start(self, label: str, total: int, work: str) -> Task:
        """Return a label's task, which runs from now on."""
        self._begin_anew()
        now = self.now()
        if self._speed is None:
            self._began, self._speed = now, Speed(now)
            self.noun = "files" if work == READING else "models"
        expected, here = self._expected.pop(label, (total, 0))
        here = min(max(total - (expected - here), 0), total)  # files that are whole already are no part of the total
        self.begun += 1
        self.last = label
        task = self._running[label] = Task(label, total, here, work, now, Speed(now))
        return task

    def _begin_anew(self) -> None:
        """Forget what ended, where nothing else was to come: what comes now is other work."""
        if self.is_idle and self.ended:
            self.reused = self.ended = self.complete = self.begun = 0
            self._received = self._arrived = self._total = 0
            self._speed = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing is to come."""
        return not self._running and not self._expected

    def advance(self, label: str, count: int) -> None:
        """Count bytes of a label."""
        task = self._running.get(label)
        if task is None or self._speed is None:
            return
        now = self.now()
        task.received += count
        task.speed.add(now, task.arrived)
        self._speed.add(now, self.arrived)

    def reuse(self, label: str, count: int) -> None:
        """Count bytes that need not come."""
        del label
        self.reused += count

    def finish(self, label: str) -> Task | None:
        """Return the task of a label that ended; ``None`` where none ran."""
        task = self._running.pop(label, None)
        if task is not None:
            self.ended += 1
            self.complete += task.is_complete
            self._received += task.received
            self._arrived += task.arrived
            self._total += task.total
        return task

    @property
    def running(self) -> list[Task]:
        """What runs, the first begun first."""
        return list(self._running.values())

    @property
    def count(self) -> int:
        """How many labels there are, those to come included."""
        return self.begun + len(self._expected)

    @property
    def total(self) -> int:
        """All bytes, those to come included."""
        to_come = sum(total for total, _ in self._expected.values())
        return self._total + sum(task.total for task in self._running.values()) + to_come

    @property
    def received(self) -> int:
        """All bytes that are here."""
        return self._received + sum(task.received for task in self._running.values())

    @property
    def arrived(self) -> int:
        """All bytes that came in this run."""
        return self._arrived + sum(task.arrived for task in self._running.values())

    @property
    def seconds(self) -> float:
        """How long it has been since the first label began."""
        return max(self.now() - (self._began or 0.0), SHORTEST_SECONDS)

    def rate(self) -> float:
        """Return bytes a second of all together."""
        return self._speed.at(self.now(), self.arrived) if self._speed is not None else 0.0
