"""The first screen, the help of each command, and the page of the manual: one source, whole sentences."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.cli.command_table import ALIASES, BY_NAME, COMMANDS, MAIN_GROUPS, CommandRow
from imageworks.cli.first_screen import screen
from imageworks.cli.group import every_command, text_of
from support.reconcile import command


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_u9_the_sentence_of_the_table_is_the_command_s_own(row: CommandRow) -> None:
    (found,) = (one for words, one in every_command() if words == row.name)
    assert text_of(found).partition("\n")[0] == row.summary
    assert row.summary.endswith(".")


@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("everything", [False, True])
def test_u9_the_first_screen_cuts_no_sentence_and_keeps_to_the_width(width: int, everything: bool) -> None:
    lines = screen(everything=everything, width=width).splitlines()
    words = " ".join(" ".join(lines).split())
    shown = [row for row in COMMANDS if everything or row.group in MAIN_GROUPS]
    assert [row.name for row in shown if row.summary not in words] == []
    assert max(map(len, lines)) <= max(width, len("  imageworks-models [OPTIONS] COMMAND [ARGUMENTS]...") + 5)


def test_u9_the_first_screen_has_groups_examples_and_aliases() -> None:
    text = screen(everything=False, width=80)
    assert [line[:-1] for line in text.splitlines() if line[:-1] in MAIN_GROUPS] == list(MAIN_GROUPS)
    assert len(re.findall("^  imageworks-models ", text, re.MULTILINE)) == 3
    assert all(re.search(rf"\b{alias}\b", text) for alias in ALIASES)
    assert "purge-hf" not in text
    assert "purge-hf" in command("help", "--all").out


def test_u9_the_first_screen_imports_no_command_and_no_typer() -> None:
    probe = "import sys; from imageworks.cli.app import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = done.stderr.split()
    assert [name for name in loaded if name.partition(".")[0] in {"typer", "logging", "json"}] == []
    assert [name for name in loaded if name.startswith("imageworks.")] == [
        "imageworks.cli", "imageworks.cli.command_table", "imageworks.cli.first_screen", "imageworks.cli.streams",
        "imageworks.cli.app",
    ]  # fmt: skip


def test_no_words_at_all_are_a_mistake_that_shows_what_to_type_first() -> None:
    result = command()
    assert (result.code, result.out) == (64, "")
    assert "Start here:" in result.err


@pytest.mark.parametrize("words", [(name,) for name in BY_NAME] + [("hosts", "retire"), ("snapshot", "check")])
def test_help_of_a_command_is_its_help(words: tuple[str, ...]) -> None:
    explained, helped = command("help", *words), command(*words, "--help")
    assert (explained.code, helped.code) == (0, 0)
    shown = helped.out.rstrip().splitlines()
    assert explained.out.splitlines()[1 : len(shown)] == shown[1:]


@pytest.mark.parametrize("code", ["lock-held", "insufficient-space", "launch"])
def test_help_explains_the_codes_of_errors_and_reasons(code: str) -> None:
    result = command("help", code)
    assert result.code == 0
    assert f"{code}: " in result.out
    assert re.search(rf"docs/\w+\.md#{code}", result.out)


def test_an_error_names_the_code_under_which_more_is_said() -> None:
    refused = command("verify", "no-such-model")
    (code,) = re.findall(r"More: imageworks-models help (\S+)", refused.err)
    assert command("help", code).code == 0


def test_help_of_what_is_no_command_says_what_was_meant() -> None:
    result = command("help", "reconsile")
    assert result.code == 64
    assert "'reconcile'" in result.err


def test_the_page_of_the_manual_has_every_command_and_is_troff(tmp_path: Path) -> None:
    page = command("help", "--man").out
    assert [row.name for row in COMMANDS if f".B {row.name.replace('-', chr(92) + '-')}\n" not in page] == []
    assert page.startswith(".TH IMAGEWORKS-MODELS 1")
    assert [
        line
        for line in page.splitlines()
        if line[:1] in {".", "'"} and not re.match(r"\.(TH|S[HS]|TP|PP|B|I|nf|fi)\b", line)
    ] == []
    renderer = shutil.which("mandoc") or shutil.which("man")
    if renderer is None:
        pytest.skip("neither man nor mandoc is installed")
    (tmp_path / "page.1").write_text(page, encoding="utf-8")
    words = (
        [renderer, "-l", str(tmp_path / "page.1")] if renderer.endswith("man") else [renderer, str(tmp_path / "page.1")]
    )
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "80"}
    )
    assert done.returncode == 0, done.stderr
    assert "reconcile" in done.stdout


@pytest.mark.parametrize(
    ("name", "headings"),
    [
        ("reconcile", ["Arguments", "Options", "For reviews and scripts", "What is removed", "Git", "Transfer"]),
        ("download", ["Arguments", "Options", "What is chosen", "What is declared"]),
        ("list", ["What is chosen", "What is shown"]),
    ],
)
def test_u9_options_stand_in_groups_and_the_shared_ones_last(name: str, headings: list[str]) -> None:
    shown = [line[:-1] for line in command(name, "--help").out.splitlines() if re.fullmatch(r"\S.*:", line)]
    assert [one for one in shown if one in headings] == headings
    assert shown[-2:] == ["Shared options", "Examples"]


@pytest.mark.parametrize(("alias", "name"), [(alias, words[0]) for alias, words in ALIASES.items()])
def test_an_alias_is_the_command_that_it_stands_for(alias: str, name: str) -> None:
    assert command(alias, "--help").out == command(name, "--help").out
