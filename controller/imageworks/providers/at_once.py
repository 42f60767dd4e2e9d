"""Work on many models by a few threads, each of which takes the next one."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import Final, TypeVar

CANCEL_SECONDS: Final = 0.1
"""How often it is asked whether somebody called it off."""
Subject = TypeVar("Subject")
Result = TypeVar("Result")


def at_once(
    work: Callable[[Subject], Result],
    subjects: Sequence[Subject],
    *,
    threads: int,
    stop: Callable[[], object] = bool,
    cancel: Event | None = None,
) -> list[Result]:
    """Return what some work gives for each subject, in their order; a future for each of ten thousand takes 20 MB.

    Args:
        work: Done for each subject.
        subjects: What is worked on.
        threads: At most so many at once.
        stop: Ends what is under way, when another one failed, on ^C, and when it is called off.
        cancel: Set by another thread to call it off; then the work has to see that for itself.
    """
    if not subjects:
        return []
    left = deque(enumerate(subjects))
    results: dict[int, Result] = {}

    def take() -> None:
        while True:
            try:
                place, subject = left.popleft()
            except IndexError:
                return
            try:
                results[place] = work(subject)
            except BaseException:
                left.clear()  # what has not begun does not begin
                raise

    with ThreadPoolExecutor(min(threads, len(subjects)), thread_name_prefix="model") as pool:
        workers = [pool.submit(take) for _ in range(min(threads, len(subjects)))]
        try:
            while cancel is not None and wait(workers, CANCEL_SECONDS).not_done:
                if cancel.is_set():
                    stop()
                    break
            for worker in workers:
                worker.result()
        except BaseException:
            left.clear()
            stop()
            raise
    return [results[place] for place in range(len(subjects))]
