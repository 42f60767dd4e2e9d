"""The budget of requests: what the headers say, shared by all threads, on a clock that only sleeping moves."""

import threading

import pytest

from imageworks.providers.huggingface.errors import RateLimitedError
from imageworks.providers.huggingface.rate_limit import Pace, QuotaName, asked_wait
from support.providers import Clock


def pace(clock: Clock, told: list[str] | None = None) -> Pace:
    return Pace(now=clock.now, sleep=clock.sleep, told=None if told is None else told.append)


def ask(budget: Pace, left: int | None, seconds: int = 200, quota: QuotaName = QuotaName.RESOLVERS) -> None:
    budget.acquire(quota, "hub")
    budget.release(quota, None if left is None else {"ratelimit": f'"{quota}";r={left};t={seconds}'})


def test_nothing_waits_while_requests_are_left() -> None:
    clock = Clock()
    budget = pace(clock)
    for left in (3, 2, 1):
        ask(budget, left)
    assert clock.slept == []


def test_the_last_request_makes_the_next_wait_a_second_longer_than_the_window() -> None:
    clock, told = Clock(), list[str]()
    budget = pace(clock, told)
    ask(budget, 0, 201)
    ask(budget, 2999, 300)
    assert clock.slept == [202.0]
    assert told == ["hub asks to wait 202 s before the next request"]


def test_requests_without_an_answer_still_count() -> None:
    clock = Clock()
    budget = pace(clock)
    ask(budget, 2)
    ask(budget, None)
    ask(budget, None)
    assert clock.slept == []
    ask(budget, None)
    assert clock.slept == [201.0]


def test_quotas_are_apart() -> None:
    clock = Clock()
    budget = pace(clock)
    ask(budget, 0, quota=QuotaName.API)
    ask(budget, 5, quota=QuotaName.RESOLVERS)
    assert clock.slept == []


def test_a_window_beyond_reason_is_an_error_with_its_length() -> None:
    clock = Clock()
    budget = pace(clock)
    ask(budget, 0, 3600)
    with pytest.raises(RateLimitedError, match="3601 s") as caught:
        ask(budget, 1)
    assert caught.value.retry_after == 3601.0
    assert clock.slept == []


def test_threads_under_way_are_counted_against_what_is_left() -> None:
    clock = Clock()
    budget = pace(clock)
    for _ in range(3):
        budget.acquire(QuotaName.RESOLVERS, "hub")
    budget.release(QuotaName.RESOLVERS, {"ratelimit": '"resolvers";r=2;t=10'})
    assert clock.slept == []
    budget.acquire(QuotaName.RESOLVERS, "hub")  # two are left on the hub, and two are under way
    assert clock.slept == [11.0]


def test_many_threads_never_ask_more_than_allowed() -> None:
    clock = Clock()
    budget = pace(clock)
    guard = threading.Lock()
    window = {"ends": clock.now() + 100, "left": 10}
    refused = 0

    def worker() -> None:
        nonlocal refused
        for _ in range(10):
            budget.acquire(QuotaName.RESOLVERS, "hub")
            with guard:
                if clock.now() >= window["ends"]:
                    window.update(ends=clock.now() + 100, left=10)
                refused += window["left"] == 0
                window["left"] = max(window["left"] - 1, 0)
                seconds = int(window["ends"] - clock.now())
                budget.release(QuotaName.RESOLVERS, {"ratelimit": f'"resolvers";r={int(window["left"])};t={seconds}'})

    ask(budget, 10, 100)
    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == 0
    assert clock.slept


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"ratelimit": '"api";r=0;t=30', "retry-after": "5"}, 31.0),
        ({"ratelimit": '"api";r=7;t=30', "retry-after": "5"}, 5.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, 999_999_999.0),
        ({"retry-after": "\xb2"}, None),
        ({"retry-after": f"Mon, {'9' * 20} Jan 2020 00:00:00 GMT"}, None),
        ({"retry-after": f"Wed, 01 Jan 2020 00:00:00 +{'9' * 20}"}, None),
        ({}, None),
    ],
)
def test_how_long_an_answer_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_wait(headers, lambda: 10.0) == seconds


def test_a_closed_client_wakes_whoever_waits() -> None:
    waiting = threading.Event()
    budget = Pace(told=lambda _text: waiting.set())
    ask(budget, 0, 300)
    errors: list[RateLimitedError] = []

    def wait_for_the_next_window() -> None:
        try:
            ask(budget, 1)
        except RateLimitedError as error:
            errors.append(error)

    thread = threading.Thread(target=wait_for_the_next_window)
    thread.start()
    assert waiting.wait(10)
    budget.stop()
    thread.join(10)
    assert len(errors) == 1
    assert errors[0].retryable
