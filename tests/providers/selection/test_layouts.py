"""Real repositories' layouts, each with its right set: names typed in as facts, in the files beside this one.

A layout begins with ``== repository``. Each ``?`` line is a request, and has a column of ``+`` (comes) and ``-`` (stays
away) before the files; without one the plain request is meant. A ``!`` line is a request that is refused, and why;
``.`` files are for those alone. ``{4}`` stands for four shards, ``{0..14}of14`` for fifteen that count from zero.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.providers.selection.model import SelectionError, SelectionRequest
from imageworks.providers.selection.select import select

FOLDER = Path(__file__).parent / "layouts"
UNITS = {"K": 10**3, "M": 10**6, "G": 10**9}
LISTS = ("include", "exclude", "weights")


@dataclass
class Layout:
    """One repository: its files, what is asked of it, and what is right."""

    repo: str
    asked: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, tuple[int, str]] = field(default_factory=dict)


def layouts() -> Iterator[Layout]:
    for path in sorted(FOLDER.glob("*.txt")):
        for block in re.split(r"^== ", path.read_text(), flags=re.MULTILINE)[1:]:
            repo, *lines = block.splitlines()
            layout = Layout(repo.strip())
            for line in filter(str.strip, lines):
                _read(layout, line)
            if not layout.asked and any(set(marks) & set("+-") for _, marks in layout.files.values()):
                layout.asked = ["-"]
            yield layout


def _read(layout: Layout, line: str) -> None:
    marks, *words = shlex.split(line)
    if marks == "?":
        layout.asked.append(words[0])
    elif marks == "!":
        layout.refused.append((words[0], words[1]))
    else:
        size = 1000
        if re.fullmatch(r"\d+[KMG]", words[-1]):
            size = int(words[-1][:-1]) * UNITS[words.pop()[-1]]
        for word in words:
            layout.files.update(dict.fromkeys(_expanded(word), (size, marks)))


def _expanded(word: str) -> list[str]:
    if found := re.search(r"\{(\d+)\}", word):
        count = int(found[1])
        numbers = [f"{one:05d}-of-{count:05d}" for one in range(1, count + 1)]
    elif found := re.search(r"\{(\d+)\.\.(\d+)\}of(\d+)", word):
        numbers = [f"{one:05d}-of-{int(found[3]):05d}" for one in range(int(found[1]), int(found[2]) + 1)]
    else:
        return [word]
    return [word[: found.start()] + one + word[found.end() :] for one in numbers]


def _request(text: str) -> SelectionRequest:
    said = dict(one.split("=", 1) for one in text.split(";")) if text != "-" else {}
    lists = {key: tuple(said.pop(key).split(",")) for key in LISTS if key in said}
    optional = said.pop("optional", None) is not None
    return SelectionRequest(
        format=said.get("format"),
        quantization=said.get("quantization"),
        subfolder=said.get("subfolder"),
        optional=optional,
        include=lists.get("include", ()),
        exclude=lists.get("exclude", ()),
        weights=lists.get("weights", ()),
    )


def _listing(layout: Layout) -> list[RemoteFile]:
    digest = Digest(Algorithm.GIT_BLOB, "0" * 40)
    return [RemoteFile(path, size, digest, large=False) for path, (size, _) in layout.files.items()]


ALL = list(layouts())


def test_there_are_many_layouts_and_each_once() -> None:
    assert len(ALL) >= 80
    assert len({layout.repo for layout in ALL}) == len(ALL)


@pytest.mark.parametrize(
    ("layout", "column"),
    [pytest.param(one, column, id=f"{one.repo} {text}") for one in ALL for column, text in enumerate(one.asked)],
)
def test_each_layout_gets_its_right_set(layout: Layout, column: int) -> None:
    assert all(len(marks) == len(layout.asked) for _, marks in layout.files.values())
    selection = select(_listing(layout), _request(layout.asked[column]))
    right = {path for path, (_, marks) in layout.files.items() if marks[column] == "+"}
    assert {file.path for file in selection.files} == right
    assert {one.path for one in selection.left_out} == layout.files.keys() - right
    for one in selection.left_out:  # what stands for it comes
        assert not one.instead or one.instead in right


@pytest.mark.parametrize(
    ("layout", "text", "reason"),
    [pytest.param(one, text, reason, id=f"{one.repo} {text}") for one in ALL for text, reason in one.refused],
)
def test_each_layout_refuses_what_it_has_not(layout: Layout, text: str, reason: str) -> None:
    with pytest.raises(SelectionError) as caught:
        select(_listing(layout), _request(text))
    assert caught.value.reason == reason
    assert caught.value.remedy
