"""How far downloads are: plain lines, bars, or nothing."""

import io
import re

import pytest

from imageworks.cli.progress import INTERVAL_SECONDS, BarProgress, NotesOnly, PlainProgress, show_progress
from imageworks.transfer.files import NullProgress

MIB = 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_model_is_told_as_it_begins_and_ends() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = PlainProgress(stream, clock)
    progress.start("tiny", 4 * MIB)
    clock.seconds = 2
    progress.advance("tiny", 4 * MIB)
    progress.verify("tiny", 4 * MIB)
    progress.finish("tiny")
    assert stream.getvalue().splitlines() == ["tiny: fetching 4.0 MiB", "tiny: 4.0 MiB in 0:02 (2.0 MiB/s)"]


def test_all_models_together_are_told_at_intervals_with_speed_and_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = PlainProgress(stream, clock)
    progress.start("a", 10 * MIB)
    progress.start("b", 10 * MIB)
    progress.advance("a", MIB)
    clock.seconds = INTERVAL_SECONDS
    progress.advance("b", 9 * MIB)
    progress.advance("b", 1)
    assert stream.getvalue().splitlines()[2:] == ["50 %: 10.0 MiB of 20.0 MiB, 2.0 MiB/s, 0:05 left"]


def test_a_model_with_nothing_to_fetch_is_not_told() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, Clock())
    progress.start("tiny", 0)
    progress.finish("tiny")
    progress.finish("never-begun")
    progress.verify("never-begun", 1)
    assert stream.getvalue() == ""


def test_notes_are_told_without_control_characters() -> None:
    stream = io.StringIO()
    PlainProgress(stream, Clock()).note("hub", "waits\x1b[2J")
    assert stream.getvalue() == "hub: waits\\x1b[2J\n"


def test_a_terminal_gets_a_bar_for_each_model_and_one_for_all() -> None:
    stream = Terminal()
    with show_progress(quiet=False, wanted=True, stream=stream) as progress:
        assert isinstance(progress, BarProgress)
        progress.start("tiny", 100)
        progress.start("other", 300)
        progress.advance("tiny", 100)
        progress.advance("never-begun", 1)
        progress.verify("tiny", 100)
        progress.note("tiny", "[bold]as it is")
        progress.finish("tiny")
        tasks = {task.description: (task.completed, task.total) for task in progress._bars.tasks}
    assert tasks == {"total": (100, 400), "tiny": (100, 100), "other": (0, 300)}
    assert "tiny: [bold]as it is" in stream.getvalue()


@pytest.mark.parametrize(
    ("quiet", "wanted", "kind"), [(True, True, NullProgress), (False, False, NotesOnly), (False, True, PlainProgress)]
)
def test_without_a_terminal_lines_are_enough(quiet: bool, wanted: bool, kind: type) -> None:
    with show_progress(quiet=quiet, wanted=wanted, stream=io.StringIO()) as progress:
        assert type(progress) is kind


def test_without_progress_notes_still_come(capsys: pytest.CaptureFixture[str]) -> None:
    NotesOnly().note("hub", "waits")
    assert capsys.readouterr().err == "hub: waits\n"


def test_a_long_name_gives_way_to_the_numbers_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with show_progress(quiet=False, wanted=True, stream=stream) as progress:
        progress.start("a-model-with-a-very-long-name-of-its-own-vllm-fp16", 32 * MIB)
        progress.advance("a-model-with-a-very-long-name-of-its-own-vllm-fp16", 16 * MIB)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    last = [line for line in re.split(r"[\r\n]+", plain) if line.strip()][-1]
    assert last.startswith("a-model-with-a-v…ts-own-vllm-fp16 ")
    assert "16.0/32.0 MiB" in last
    assert len(last) <= 80
