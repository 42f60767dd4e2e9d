"""How many streams run at once follows from how busy this process is."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from imageworks.transfer.stream_pool import FEWEST, StreamPool
from support.registry import wait_for

MOST = 8


class Machine:
    """Tells a time that passes a second a look, in which so many cores were busy."""

    def __init__(self, cores: float) -> None:
        self.cores = cores
        self._now = self._used = 0.0

    def now(self) -> float:
        self._now += 1.0
        self._used += self.cores
        return self._now

    def used(self) -> float:
        return self._used


@contextmanager
def pool_on(machine: Machine) -> Iterator[StreamPool]:
    pool = StreamPool(MOST, clock=machine.now, cpu=machine.used)
    try:
        yield pool
    finally:
        pool.close()


class Tasks:
    """Tasks that run until they are let go, and are counted meanwhile."""

    def __init__(self) -> None:
        self.running = 0
        self._lock = threading.Lock()
        self._go = threading.Semaphore(0)

    def run(self) -> None:
        with self._lock:
            self.running += 1
        assert self._go.acquire(timeout=30)
        with self._lock:
            self.running -= 1

    def end(self, count: int) -> None:
        self._go.release(count)


def running(tasks: Tasks, count: int) -> Callable[[], bool]:
    return lambda: tasks.running == count


def test_a_process_that_waits_runs_all_its_streams() -> None:
    tasks = Tasks()
    with pool_on(Machine(0.2)) as pool:
        futures = [pool.submit(tasks.run) for _ in range(3 * MOST)]
        for left in (3 * MOST, 2 * MOST, MOST):
            wait_for(running(tasks, min(left, MOST)))
            tasks.end(MOST)
        assert [future.result(30) for future in futures] == [None] * len(futures)


def test_a_busy_process_runs_few_and_more_again_once_it_waits() -> None:
    tasks, machine = Tasks(), Machine(0.9)  # neither busy nor idle
    with pool_on(machine) as pool:
        futures = [pool.submit(tasks.run) for _ in range(60)]
        wait_for(running(tasks, MOST))
        machine.cores = 1.6
        tasks.end(MOST)
        wait_for(running(tasks, FEWEST))
        machine.cores = 0.2
        tasks.end(MOST)
        wait_for(running(tasks, MOST))
        tasks.end(60)
        assert [future.result(30) for future in futures] == [None] * len(futures)


def test_an_error_reaches_whoever_waits_for_the_task() -> None:
    def fail() -> None:
        raise LookupError("gone")

    with pool_on(Machine(0.2)) as pool:
        with pytest.raises(LookupError, match="gone"):
            pool.submit(fail).result(30)
        assert pool.submit(lambda: None).result(30) is None


def test_what_was_cancelled_before_its_turn_does_not_run_and_closing_lets_the_others_end() -> None:
    tasks, ran = Tasks(), threading.Event()
    with pool_on(Machine(0.2)) as pool:
        held = [pool.submit(tasks.run) for _ in range(MOST)]
        wait_for(running(tasks, MOST))
        cancelled, last = pool.submit(ran.set), pool.submit(lambda: None)
        assert cancelled.cancel()
        pool.close()
        tasks.end(MOST)
        assert [future.result(30) for future in [*held, last]] == [None] * (MOST + 1)
    assert not ran.is_set()
