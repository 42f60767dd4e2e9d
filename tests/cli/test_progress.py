"""How far work is: plain lines, a display on a terminal, or nothing."""

import io
from pathlib import Path

import pytest

from imageworks.cli.views import progress as views
from imageworks.cli.views.progress import (
    INTERVAL_SECONDS,
    MOST_LINES,
    LiveProgress,
    NotesOnly,
    PlainProgress,
    show_progress,
)
from imageworks.files.digests import Algorithm, hash_files
from imageworks.files.progress import READING, Progress, TotalProgress

MIB = 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def plain(stream: io.StringIO, clock: Clock) -> PlainProgress:
    return PlainProgress(stream, clock)


# --- lines, where no terminal is ---------------------------------------------------------------------------------


def test_each_model_is_told_as_it_begins_and_ends(plain: PlainProgress, stream: io.StringIO, clock: Clock) -> None:
    plain.start("tiny", 4 * MIB)
    clock.seconds = 2
    plain.advance("tiny", 4 * MIB)
    plain.verify("tiny", 4 * MIB)
    plain.finish("tiny")
    plain.close()
    assert stream.getvalue().splitlines() == ["tiny: fetching 4.0 MiB", "tiny: 4.0 MiB in 0:02 (2.0 MiB/s)"]


def test_u6_the_total_comes_from_the_plan_and_does_not_grow(
    plain: PlainProgress, stream: io.StringIO, clock: Clock
) -> None:
    for name in ("a", "b", "c", "d"):
        plain.expect(name, 10 * MIB)
    plain.start("a", 10 * MIB)
    plain.start("b", 10 * MIB)
    plain.advance("a", 10 * MIB)
    plain.finish("a")
    clock.seconds = INTERVAL_SECONDS
    plain.advance("b", 10 * MIB - 1)
    plain.advance("b", 1)
    assert stream.getvalue().splitlines()[-1] == (
        "1 of 4 models done, 49 %: 20.0 MiB of 40.0 MiB, 4.0 MiB/s, 0:05 left; now b"
    )


def test_what_is_here_already_counts_for_the_whole_and_not_for_the_speed(
    plain: PlainProgress, stream: io.StringIO, clock: Clock
) -> None:
    plain.expect("resumed", 100 * MIB, here_bytes=60 * MIB)
    plain.reuse("resumed", 7 * MIB)
    plain.start("resumed", 100 * MIB)
    clock.seconds = INTERVAL_SECONDS
    plain.advance("resumed", 70 * MIB)
    assert stream.getvalue().splitlines() == [
        "resumed: fetching 100.0 MiB (60.0 MiB here already)",
        "70 %: 70.0 MiB of 100.0 MiB, 2.0 MiB/s, 0:15 left; 7.0 MiB reused; now resumed",
    ]


def test_files_that_were_whole_already_are_no_part_of_what_is_here(
    plain: PlainProgress, stream: io.StringIO, clock: Clock
) -> None:
    plain.expect("resumed", 100 * MIB, here_bytes=60 * MIB)
    plain.start("resumed", 50 * MIB)
    clock.seconds = 5
    plain.advance("resumed", 20 * MIB)
    assert stream.getvalue().splitlines()[-1].startswith("40 %: 20.0 MiB of 50.0 MiB, 2.0 MiB/s, ")


def test_u7_reading_tells_name_speed_and_time_left(plain: PlainProgress, stream: io.StringIO, clock: Clock) -> None:
    plain.expect("/weights/acme/tiny/a.safetensors", 10 * MIB)
    plain.expect("/weights/acme/tiny/b.safetensors", 10 * MIB)
    plain.start("/weights/acme/tiny/a.safetensors", 10 * MIB, READING)
    clock.seconds = 5
    plain.advance("/weights/acme/tiny/a.safetensors", 10 * MIB)
    plain.finish("/weights/acme/tiny/a.safetensors")
    plain.start("/weights/acme/tiny/b.safetensors", 10 * MIB, READING)
    plain.advance("/weights/acme/tiny/b.safetensors", 5 * MIB)
    clock.seconds = 10
    plain.advance("/weights/acme/tiny/b.safetensors", 5 * MIB)
    plain.finish("/weights/acme/tiny/b.safetensors")
    plain.close()
    assert stream.getvalue().splitlines() == [
        "reading 2 files, 20.0 MiB",
        "0 of 2 files done, 50 %: 10.0 MiB of 20.0 MiB, 2.0 MiB/s, 0:05 left; now tiny/a.safetensors",
        "1 of 2 files done, 100 %: 20.0 MiB of 20.0 MiB, 2.0 MiB/s; now tiny/b.safetensors",
        "2 of 2 files done, read 20.0 MiB in 0:10 (2.0 MiB/s)",
    ]


def test_however_many_models_there_are_the_rate_of_lines_is_bounded(
    plain: PlainProgress, stream: io.StringIO, clock: Clock
) -> None:
    names = [f"model-{at}" for at in range(500)]
    for name in names:
        plain.expect(name, MIB)
    for name in names:
        clock.seconds += 0.01
        plain.start(name, MIB)
        plain.advance(name, MIB)
        plain.finish(name)
    plain.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) <= MOST_LINES + 5 + 2
    assert lines[-1].startswith("500 of 500 models done, fetched 500.0 MiB in 0:05 ")


def test_a_model_with_nothing_to_fetch_is_not_told(plain: PlainProgress, stream: io.StringIO) -> None:
    plain.start("tiny", 0)
    plain.finish("tiny")
    plain.finish("never-begun")
    plain.advance("never-begun", 1)
    plain.verify("never-begun", 1)
    plain.close()
    assert stream.getvalue() == ""


def test_a_model_that_was_given_up_is_not_told_as_done(plain: PlainProgress, stream: io.StringIO) -> None:
    plain.start("tiny", 4 * MIB)
    plain.advance("tiny", MIB)
    plain.finish("tiny")
    plain.close()
    assert stream.getvalue().splitlines() == ["tiny: fetching 4.0 MiB", "tiny: stopped at 25 % of 4.0 MiB"]


def test_notes_are_told_without_control_characters(plain: PlainProgress, stream: io.StringIO) -> None:
    plain.note("hub", "waits\x1b[2J")
    assert stream.getvalue() == "hub: waits\\x1b[2J\n"


# --- which of them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quiet", "wanted", "kind"), [(True, True, Progress), (False, False, NotesOnly), (False, True, PlainProgress)]
)
def test_without_a_terminal_lines_are_enough(quiet: bool, wanted: bool, kind: type) -> None:
    with show_progress(quiet=quiet, wanted=wanted, stream=io.StringIO()) as progress:
        assert type(progress) is kind


@pytest.mark.parametrize(("term", "kind"), [("dumb", PlainProgress), ("xterm", LiveProgress)])
def test_u7_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, term: str, kind: type) -> None:
    monkeypatch.setenv("TERM", term)
    with show_progress(stream=Terminal()) as progress:
        assert type(progress) is kind


def test_without_progress_notes_still_come(capsys: pytest.CaptureFixture[str]) -> None:
    NotesOnly().note("hub", "waits")
    assert capsys.readouterr().err == "hub: waits\n"


def test_a_terminal_is_left_alone_until_something_begins_and_when_all_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with show_progress(stream=stream) as progress:
        assert isinstance(progress, LiveProgress)
        assert stream.getvalue() == ""
        progress.start("tiny", 100)
        progress.advance("tiny", 100)
        progress.finish("tiny")
        assert stream.getvalue().endswith("tiny: fetched 100 B\n"), "somebody may be asked something now"
        progress.note("tiny", "[bold]as it is")
    assert "fetched 100 B" in stream.getvalue()
    assert "tiny: [bold]as it is" in stream.getvalue()


def test_a_path_is_shown_by_its_last_parts_and_drives_no_terminal() -> None:
    assert views.shown_label("/weights/acme/tiny/a\n\x1b.bin") == "tiny/a\\n\\x1b.bin"
    assert views.shown_label("acme/tiny") == "acme/tiny"


# --- what is read ------------------------------------------------------------------------------------------------


def test_files_that_are_hashed_are_told_by_name(tmp_path: Path, plain: PlainProgress, stream: io.StringIO) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x" * MIB)
    found = dict(hash_files([tmp_path / "a", tmp_path / "b", tmp_path / "gone"], Algorithm.SHA256, progress=plain))
    plain.close()
    assert isinstance(found[tmp_path / "gone"], OSError)
    first, last = stream.getvalue().splitlines()
    assert first == "reading 3 files, 2.0 MiB"
    assert last.startswith("3 of 3 files done, read 2.0 MiB")


def test_one_function_hears_of_the_bytes_of_all(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    (tmp_path / "a").write_bytes(b"xyz")
    (tmp_path / "b").write_bytes(b"xy")
    list(
        hash_files(
            [tmp_path / "a", tmp_path / "b"], Algorithm.SHA256, progress=TotalProgress(lambda *at: told.append(at))
        )
    )
    assert told[-1] == (5, 5)
