"""The ``reconcile`` command: its options, what it prints, and what it ends with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.cli.commands.follow import reconcile_steps as command_module
from imageworks.plan.plan import Action, Change, Plan, Reason
from imageworks.registry.documents.schema import check
from support.git import git
from support.reconcile import HOST, MODEL, NAME, REPO, World, command
from support.terminal import Terminal
from support.transfer import tree

# --- output and exit codes ---------------------------------------------------------------------------------------


def test_json_keeps_to_the_plans_schema(world: World) -> None:
    world.serve()
    world.declare()
    world.declare("nowhere", source={"huggingface": "acme/nowhere"})
    document = world.plan(code=1).json
    assert check("plan", document) == []  # type: ignore[arg-type]
    assert document["summary"] == {"add": 1, "change": 0, "destroy": 0}


def test_json_of_an_applied_plan_goes_to_stdout_and_its_report_to_stderr(world: World) -> None:
    world.serve()
    world.declare()
    result = world.reconcile("--json")
    assert check("plan", result.json) == []  # type: ignore[arg-type]
    report = json.loads(result.err.splitlines()[-1])
    assert (report["format_version"], report["commit"]) == (1, world.head())
    assert [(one["name"], one["done"]) for one in report["outcomes"]] == [(NAME, True)]


def test_markdown_is_printed_when_asked_for(world: World) -> None:
    world.serve()
    world.declare()
    text = world.reconcile("--dry-run", "--format", "markdown", valid=False).out
    assert f"| `+` | `{NAME}` | install (missing) |" in text


def test_quiet_says_nothing_when_all_goes_well(world: World) -> None:
    world.serve()
    world.declare()
    result = world.reconcile("--quiet")
    assert (result.out, result.err) == ("", "")


def test_the_detailed_exit_code_tells_changes_from_none_and_from_errors(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile("--dry-run", "--detailed-exitcode", code=2, valid=False)
    world.reconcile("--detailed-exitcode", code=2)
    world.reconcile("--detailed-exitcode", code=0)
    world.declare("nowhere", source={"huggingface": "acme/nowhere"})
    world.reconcile("--detailed-exitcode", code=1)


def test_a_plain_run_ends_with_success_whether_or_not_something_changed(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile("--dry-run", code=0, valid=False)
    world.reconcile(code=0)


@pytest.mark.parametrize(
    "words",
    [("--no-such-option",), ("--format", "yaml"), ("--jobs", "0"), ("--dry-run", "--plan", "x")],
)
def test_a_wrong_command_line_ends_with_64(world: World, words: tuple[str, ...]) -> None:
    world.reconcile(*words, code=64)


def test_a_misspelt_name_gets_the_nearest_one(world: World) -> None:
    world.serve()
    world.declare()
    assert f"Did you mean '{NAME}'?" in world.reconcile("tiny-2", code=1).err


# --- saved plans -------------------------------------------------------------------------------------------------


def test_a_saved_plan_is_applied_as_it_was_reviewed(world: World) -> None:
    world.serve()
    world.declare()
    saved = world.folder / "plan.json"
    world.reconcile("--out", saved)
    assert tree(world.weights) == {}
    assert check("plan", json.loads(saved.read_bytes())) == []
    world.reconcile("--plan", saved)
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_saved_plan_is_refused_once_the_branch_has_moved(world: World) -> None:
    world.serve()
    world.declare()
    saved = world.folder / "plan.json"
    world.reconcile("--out", saved)
    world.declare(display_name="Edited meanwhile")
    result = world.reconcile("--plan", saved, code=1)
    assert "stale: registry revision is not what it was" in result.err
    assert tree(world.weights) == {}


def test_a_saved_plan_is_refused_once_the_disk_is_another(world: World) -> None:
    world.serve()
    world.declare()
    saved = world.folder / "plan.json"
    world.reconcile("--out", saved)
    (world.weights / REPO).mkdir(parents=True)
    (world.weights / REPO / "config.json").write_bytes(b"mine")
    result = world.reconcile("--plan", saved, code=1)
    assert "stale: changes is not what it was" in result.err


def test_a_saved_plan_of_another_host_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve()
    world.declare()
    saved = world.folder / "plan.json"
    world.reconcile("--out", saved)
    monkeypatch.setenv("IMAGEWORKS_HOST", "elsewhere")
    assert "stale: host is not what it was" in world.reconcile("--plan", saved, code=1).err


@pytest.mark.parametrize("content", [None, b"not json", b"[]", b'{"format_version": 2}'])
def test_what_is_no_saved_plan_is_refused(world: World, content: bytes | None) -> None:
    saved = world.folder / "plan.json"
    if content is not None:
        saved.write_bytes(content)
    assert str(saved) in world.reconcile("--plan", saved, code=64).err


def test_a_plan_that_cannot_be_saved_says_where(world: World) -> None:
    result = world.reconcile("--out", world.folder / "no-such-folder" / "plan.json", code=1)
    assert "plan.json: cannot be written" in result.err


# --- other options -----------------------------------------------------------------------------------------------


def test_no_commit_brings_the_files_and_leaves_git_alone(world: World) -> None:
    world.serve()
    world.declare()
    head = world.head()
    world.reconcile("--no-commit")
    assert tree(world.weights / REPO) == dict(MODEL)
    assert world.head() == head
    assert git(world.git_root, "status", "--porcelain") == ""


def test_offline_blocks_what_needs_the_hub_and_keeps_the_rest(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.declare("other", source={"huggingface": "acme/other"})
    world.served.forget()
    result = world.reconcile("--offline", code=1)
    assert result.planned["other"] == ("blocked", "offline")
    assert "1 model unchanged." in result.out
    assert world.served.requests == 0


def test_offline_adopts_nothing_and_repairs_from_this_machine(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.served.forget()
    assert world.reconcile("--offline").code == 0
    assert world.served.requests == 0


def test_a_second_controller_is_told_who_holds_the_lock(world: World) -> None:
    """I10."""
    from imageworks.git.repository import RegistryRepository

    world.serve()
    world.declare()
    with RegistryRepository.open(world.root, host=HOST).lock():
        done = subprocess.run(
            [sys.executable, "-m", "imageworks", "reconcile", "--registry", world.root, "--yes"],
            env=dict(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert str(os.getpid()) in done.stderr
    assert tree(world.weights) == {}


def test_progress_is_told_in_plain_lines_where_there_is_no_terminal(world: World) -> None:
    world.serve()
    world.declare()
    result = command("reconcile", "--yes", "--registry", world.root)
    assert f"{NAME}: fetching 58.6 KiB" in result.err


def test_no_token_is_needed_for_aria2_to_be_missed(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.serve()
    world.declare()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    result = command("reconcile", "--yes", "--registry", world.root)
    assert result.code == 1
    assert "aria2c" in result.err
    assert tree(world.weights) == {}


# --- questions ---------------------------------------------------------------------------------------------------


REMOVAL = Change("gone", Action.REMOVE, Reason.UNDECLARED, bytes_freed=2048, needs_confirmation=True)
INSTALL = Change("new", Action.INSTALL, Reason.MISSING)


QUESTION = "Remove gone, 2.0 KiB? Type its name: "
AGREE = "Apply this plan? [y/N]: "


def asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: str, *changes: Change, **how: object
) -> tuple[dict[str, str] | None, str]:
    """Return what is left out, and what somebody at a terminal was asked."""
    monkeypatch.setattr(sys, "stdin", Terminal(answers))
    options = {"asked_names": set(), "yes": False, **how}
    left = command_module._ask(Plan(HOST, None, changes=changes), **options)  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert out == "", "stdout is data, and may be a pipe"
    return left, err


@pytest.mark.parametrize(
    ("answers", "skipped"),
    [
        ("gone\ny\n", set()),
        ("yes\ny\n", {"gone"}),
        ("\ny\n", {"gone"}),
        ("gone\nn\n", None),
        ("gone\n", None),
        ("gone\nwhat\nyes\n", set()),
    ],
)
def test_a_terminal_is_asked_for_the_name_and_then_for_the_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: str, skipped: set[str] | None
) -> None:
    left, said = asked(monkeypatch, capsys, answers, REMOVAL, INSTALL)
    assert said.startswith(QUESTION + AGREE)
    assert (None if left is None else set(left)) == skipped


def test_yes_asks_for_names_of_removals_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(monkeypatch, capsys, "gone\n", REMOVAL, INSTALL, yes=True) == ({}, QUESTION)


def test_confirmed_names_are_not_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(monkeypatch, capsys, "", REMOVAL, asked_names={"gone"}, yes=True) == ({}, "")


def test_where_nothing_is_left_to_do_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left, said = asked(monkeypatch, capsys, "no\n", REMOVAL)
    assert left == {"gone": "not confirmed; run again with --confirm gone"}
    assert said == QUESTION
