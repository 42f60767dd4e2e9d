"""Every command takes what ``list`` prints, and whatever else only one model is called."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from imageworks.model_loader.registry import UnknownModelError, get_entry
from imageworks.tools.model_downloader import ModelDownloader
from support.git import typed_at_shell
from support.reconcile import Result, World, command
from support.terminal import Terminal
from support.world import started_world

__all__ = ["started_world"]

NAMES = ("gamma-2b-vllm", "gamma-7b-chat-vllm", "delta-vllm")


@pytest.fixture(name="three")
def three_models(world: World) -> World:
    for name, repo in zip(NAMES, ("acme/gamma-2b", "acme/gamma-7b-chat", "beta/delta"), strict=True):
        world.serve(name=repo)
        world.declare(name, source={"huggingface": repo}, backend="vllm")
    world.declare(
        NAMES[2],
        source={"huggingface": "beta/delta"},
        backend="vllm",
        display_name="Delta (the big one)",
        served_model_id="delta:latest",
        model_aliases=["Dee"],
    )
    world.reconcile()
    run(world, "pin")
    return world


def run(world: World, *words: str, code: int = 0) -> Result:
    result = command(*words, "--registry", world.root)
    assert result.code == code, result.out + result.err
    return result


SPELLINGS = (
    NAMES[2],
    "DELTA-vllm",
    "Delta (the big one)",
    "delta (THE big one)",
    "delta:latest",
    "delta",
    "dee",
    "beta/delta",
    "https://huggingface.co/beta/delta",
    "del",
)
COMMANDS = (
    ("verify", "{}"),
    ("status", "{}"),
    ("reconcile", "{}", "--dry-run"),
    ("pin", "{}"),
    ("outdated", "{}", "--offline"),
    ("history", "{}"),
    ("show", "{}"),
    ("show", "{}@HEAD"),
    ("blame", "{}"),
    ("diff", "--name", "{}", "HEAD~1..HEAD"),
    ("restore", "{}", "--from", "HEAD~3", "--dry-run", "--no-reconcile"),
    ("launch", "vllm", "{}", "--print"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_u3_every_command_takes_every_name(three: World, words: tuple[str, ...]) -> None:
    def ask(spelling: str) -> tuple[str, str]:
        done = run(three, *(word.format(spelling) for word in words))
        return done.out, done.err

    wanted = ask(NAMES[2])
    assert [spelling for spelling in SPELLINGS if ask(spelling) != wanted] == []


def test_u3_what_list_prints_can_be_typed(three: World) -> None:
    names = run(three, "list", "-q").out.splitlines()
    assert names == sorted(NAMES)
    shown = {model["name"]: model for model in json.loads(run(three, "list", "--json").out)}
    for line in run(three, "list").out.splitlines()[1:]:
        title = line.split("  ")[0]
        found = json.loads(run(three, "show", title, "--json").out)["name"]
        assert found in shown
        shown.pop(found)
    assert shown == {}


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_u3_a_name_of_several_lists_them(three: World, words: tuple[str, ...]) -> None:
    refused = run(three, *(word.format("gamma") for word in words), code=1)
    assert NAMES[0] in refused.err
    assert NAMES[1] in refused.err


def test_a_name_that_nobody_has_is_refused_alike_by_every_command(three: World) -> None:
    more = (
        ("update", "{}", "--dry-run"),
        ("remove", "{}", "--yes"),
        ("promote", "{}"),
        ("reconcile", "--yes", "--confirm", "{}"),
        ("verify", "{}", "--repair"),
        ("launch", "ollama", "{}", "--print"),
        ("export", "kserve", "{}"),
    )
    three.declare("drafted", source={"huggingface": "beta/delta"}, location="second", commit=False)
    for words in (*COMMANDS, *more):
        refused = run(three, *(word.format("delta-vlm") for word in words), code=1)
        assert NAMES[2] in refused.err, (words, refused.err)
        assert "models/drafted.yaml" not in refused.err
    for words in COMMANDS[:4]:
        refused = run(three, *(word.format("drafted") for word in words), code=1)
        assert "models/drafted.yaml is not committed" in refused.err
        shown, typed = re.findall("`(.*?)`", refused.err)
        assert "drafted" in run(three, *shlex.split(shown)[1:]).out
    typed_at_shell(typed)
    assert run(three, *(word.format("drafted") for word in COMMANDS[2])).err == ""


def test_u3_a_deprecated_model_gives_way(three: World) -> None:
    three.declare(NAMES[0], source={"huggingface": "acme/gamma-2b"}, backend="vllm", deprecated=True)
    three.reconcile()
    assert json.loads(run(three, "show", "gamma", "--json").out)["name"] == NAMES[1]
    line = next(line for line in run(three, "list", "--show-deprecated").out.splitlines() if "[deprecated]" in line)
    assert json.loads(run(three, "show", line.split("  ")[0], "--json").out)["name"] == NAMES[0]


def test_u3_a_model_that_is_gone_is_found_in_history_by_its_own_name(three: World) -> None:
    three.delete(NAMES[0])
    three.declare("gamma-2b-vllm-again", source={"huggingface": "acme/gamma-2b"}, backend="vllm", location="second")
    assert NAMES[0] in run(three, "history", NAMES[0]).out
    assert "again" not in run(three, "history", NAMES[0]).out.split("\n")[0]


@pytest.mark.parametrize("spelling", SPELLINGS[:-1])
def test_u3_a_whole_name_removes(three: World, spelling: str) -> None:
    assert NAMES[2] in run(three, "remove", spelling, "--force").out


@pytest.mark.parametrize("flags", [("--force",), ()], ids=["forced", "nobody to ask"])
def test_u3_the_beginning_of_a_name_removes_nothing_unasked(three: World, flags: tuple[str, ...]) -> None:
    before = three.head()
    refused = run(three, "remove", "del", *flags, code=1)
    assert f"Did you mean '{NAMES[2]}'?" in refused.err
    assert three.head() == before


def test_u3_at_a_terminal_the_beginning_is_asked_about_by_its_whole_name(
    three: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert f"Remove {NAMES[2]}" in run(three, "remove", "del").err


def test_u3_python_takes_the_same_names(three: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(three.root))
    downloader = ModelDownloader()
    for spelling in SPELLINGS:
        assert get_entry(spelling).name == NAMES[2]
        assert downloader.verify_model(spelling) is True
    with pytest.raises(UnknownModelError) as several:
        get_entry("gamma")
    assert several.value.matches == NAMES[:2]
    with pytest.raises(KeyError, match="no model is called 'nope'"):
        get_entry("nope")
    removed = downloader.remove_model("Delta (the big one)", delete_files=True)
    assert removed.name == NAMES[2]


def test_u3_the_script_of_the_registry_takes_them_too(three: World, tmp_path: Path) -> None:
    from imageworks.cli.app import run as run_app
    from imageworks.cli.scripts.model_registry import app

    del tmp_path
    for spelling in SPELLINGS:
        assert run_app(["verify", spelling, "--registry", str(three.root)], application=app) == 0
        assert run_app(["show", spelling, "--registry", str(three.root)], application=app) == 0
    assert run_app(["verify", "dee", "--lock", "--registry", str(three.root)], application=app) == 0
    assert run_app(["verify", "beta/delta", "--unlock", "--registry", str(three.root)], application=app) == 0
