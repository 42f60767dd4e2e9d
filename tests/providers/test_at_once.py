"""Many models are worked on by a few threads, each of which takes the next one."""

from threading import Event

import pytest

from imageworks.providers.at_once import at_once


def test_results_come_in_the_order_of_what_was_asked() -> None:
    assert at_once(str, range(100), threads=3) == [str(number) for number in range(100)]
    assert at_once(str, [], threads=3) == []


def test_what_has_not_begun_does_not_begin_once_one_failed() -> None:
    seen: list[int] = []
    stopped = Event()

    def work(number: int) -> None:
        seen.append(number)
        if number == 1:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        at_once(work, range(100), threads=1, stop=stopped.set)
    assert seen == [0, 1]
    assert stopped.is_set()


def test_a_thread_takes_nothing_more_once_another_failed() -> None:
    seen: list[int] = []

    def work(number: int) -> None:
        seen.append(number)
        if number == 1:
            raise RuntimeError
        Event().wait(0.02)  # while it does, the other one has failed

    with pytest.raises(RuntimeError):
        at_once(work, range(200), threads=2)
    assert len(seen) < 200


def test_who_calls_it_off_stops_what_is_under_way() -> None:
    cancel, stopped = Event(), Event()

    def work(_: int) -> bool:
        cancel.set()
        return stopped.wait(10)

    assert at_once(work, range(2), threads=2, stop=stopped.set, cancel=cancel) == [True, True]
