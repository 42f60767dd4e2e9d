"""What a person reads at a terminal: no word is broken, and what is to be typed stands in one piece."""

import os
import re
import shlex
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageworks.cli.output import columns, wrapped
from support.reconcile import NAME, REPO, World, command
from support.registry import PROGRAM
from support.screen import Screen

WORDS = st.lists(
    st.sampled_from(["a", "word", "`type --this now`", "(`x y`),", "/a/long/path/of/a/file", "模型"]), min_size=1
)
COLUMNS = 80
BESIDE = 20
"""What may stand before a word that is too long for any line."""


@given(WORDS, st.integers(1, 60), st.integers(0, 4))
def test_words_stay_whole_and_lines_fit_where_they_can(words: list[str], width: int, indent: int) -> None:
    lines = wrapped(" " * indent + " ".join(words), width)
    assert [word for line in lines for word in re.findall(r"(?:`[^`]*`|\S)+", line)] == words
    assert all(columns(line) <= width or line.strip() in words for line in lines)


def seen(world: World, *words: str, code: int) -> Sequence[str]:
    """Return the lines that a program wrote to a terminal, as it wrote them."""
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"}
    with Screen([*PROGRAM, *words, "--registry", str(world.root)], (COLUMNS, 24), environment) as screen:
        assert screen.end() == code, screen.lines
        return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", screen.raw.decode()).replace("\r", "").splitlines()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("doctor",), 0),
        (("plan",), 1),
        (("blame", NAME), 0),
        (("download", f"{REPO}-that-is-not-there-and-has-a-long-name"), 1),
        (("reconcile", "--interval", "soon", "--nonsense"), 64),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_no_line_breaks_within_a_word_or_a_command(world: World, words: tuple[str, ...], code: int) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.declare("elsewhere", location="/srv/models/of/somebody/else/with/a/long/name")
    for line in seen(world, *words, code=code):
        assert line.count("`") % 2 == 0, line
        assert columns(line) <= COLUMNS or columns(re.findall(r"(?:`[^`]*`|\S)+", line)[-1]) > COLUMNS - BESIDE, line


def test_what_is_to_be_typed_to_allow_a_folder_allows_it(world: World) -> None:
    folder = world.folder.parent / "some where"
    world.serve()
    world.declare(location=str(folder))
    told = command("plan", "--registry", world.root).out
    typed = re.findall("`imageworks-models (.*?)`", " ".join(told.split()))
    [allow] = [shlex.split(one) for one in typed if one.startswith("config")]
    assert command(*allow).code == 0
    assert "blocked" not in command("plan", "--registry", world.root).out


def test_an_interrupt_at_a_question_tells_of_nothing_that_came(world: World) -> None:
    world.serve()
    world.declare()
    environment = {**os.environ, "TERM": "xterm-256color"}
    with Screen([*PROGRAM, "reconcile", "--registry", str(world.root)], (COLUMNS, 24), environment) as screen:
        screen.wait(lambda: any("[y/N]" in line for line in screen.lines))
        screen.type(b"\x03")
        assert screen.end() == 130
        assert screen.lines[-1].endswith("interrupted")
