"""What a person sees of progress on a real terminal, frame by frame as it stands there."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.screen import Screen

PROGRAM = Path(__file__).with_name("progress_program.py")
SIZES = {"narrow": (40, 24), "usual": (80, 24), "low": (80, 8), "wide": (120, 40)}


@contextmanager
def half_way(folder: Path, size: tuple[int, int], **variables: str) -> Iterator[tuple[Screen, Path]]:
    """Yield a screen on which half of forty models are done, with the file that lets the program end."""
    reached, leave = folder / "reached", folder / "leave"
    environment: Mapping[str, str] = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **variables}
    environment = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
    words = (sys.executable, str(PROGRAM), str(reached), str(leave))
    with Screen(words, size, environment) as screen:
        screen.wait(lambda: reached.exists() and any("20 of 40" in line for line in screen.lines))
        yield screen, leave


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_u6_what_runs_is_seen_and_what_ended_takes_one_line(tmp_path: Path, size: tuple[int, int]) -> None:
    def is_right(lines: list[str]) -> bool:
        running = [line for line in lines if line.startswith("model-")]
        most = min(4, size[1] - 5)
        wide = size[0] < 80 or all("50 %" in line and "5.0/10.0 MiB" in line for line in running)
        return (
            wide
            and [line.split("-")[1] for line in running] == ["20", "21", "22", "23"][: len(running)]
            and len(running) >= most
            and lines[-1].startswith("20 of 40 models done, 55 %: 220.0 MiB"[: size[0] - 8])
            and len(lines[-1]) < size[0] - 2  # an interrupt is echoed there
            and (size[0] < 80 or "of 400.0 MiB" in lines[-1])  # the total is known from the start
            and any(line.startswith("hub: a note above") for line in lines[: -len(running) - 1])
        )

    with half_way(tmp_path, size) as (screen, leave):
        screen.wait(lambda: is_right(screen.lines))
        leave.touch()
        assert screen.end() == 0
        assert not [line for line in screen.lines if line.startswith("model-")]
        told = [line for line in screen.lines if "of 40 models done" in line]
        assert len(told) == 1
        assert told[0].startswith("20 of 40 models done, ")


def test_u6_nothing_stands_there_twice_after_an_interrupt(tmp_path: Path) -> None:
    with half_way(tmp_path, SIZES["usual"]) as (screen, _leave):
        screen.type(b"\x03")
        screen.end()
        assert len([line for line in screen.lines if "interrupted; what came so far is kept" in line]) == 1
        assert len([line for line in screen.lines if "of 40 models done" in line]) == 1
        assert not [line for line in screen.lines if "/10.0 MiB" in line]


def test_u6_colours_are_neutral_and_none_where_none_is_wanted(tmp_path: Path) -> None:
    red = (b"\x1b[31m", b"\x1b[91m", b"\x1b[38;5;197m", b"249;38;114")
    with half_way(tmp_path, SIZES["usual"]) as (screen, leave):
        leave.touch()
        screen.end()
        assert b"\x1b[36m" in screen.raw
        assert not any(code in screen.raw for code in red)
    plain = tmp_path / "plain"
    plain.mkdir()
    with half_way(plain, SIZES["usual"], NO_COLOR="1") as (screen, leave):
        leave.touch()
        screen.end()
        assert b"\x1b[36m" not in screen.raw


def test_u13_a_terminal_of_ascii_gets_plain_signs(tmp_path: Path) -> None:
    with half_way(tmp_path, SIZES["wide"], PYTHONIOENCODING="ascii") as (screen, leave):
        screen.wait(lambda: sum("#####-----" in line for line in screen.lines) == 4)
        leave.touch()
        assert screen.end() == 0
        assert screen.raw.isascii()


def test_u7_a_dumb_terminal_gets_lines_and_no_control(tmp_path: Path) -> None:
    reached, leave = tmp_path / "reached", tmp_path / "leave"
    leave.touch()
    environment = {**os.environ, "TERM": "dumb"}
    with Screen((sys.executable, str(PROGRAM), str(reached), str(leave)), SIZES["usual"], environment) as screen:
        assert screen.end() == 0
        assert b"\x1b" not in screen.raw
        assert b"20 of 40 models done" in screen.raw
