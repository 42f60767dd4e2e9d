"""U2: nothing is applied that nobody asked for; a terminal on stdin is asked, whatever becomes of stdout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.reconcile import MODEL, NAME, QUANTS, REPO, Result, World, command
from support.terminal import Terminal
from support.transfer import tree

WAIT_SECONDS = 60


@pytest.fixture(autouse=True)
def declared(world: World) -> None:
    world.serve()
    world.declare()


def typed(world: World, *words: str, answer: str) -> Result:
    """Run the program with a terminal on stdin, and stdout and stderr in pipes."""
    master, terminal = os.openpty()
    try:
        os.write(master, answer.encode())
        done = subprocess.run(
            [sys.executable, "-m", "imageworks", *words, "--registry", world.root],
            stdin=terminal,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
    finally:
        os.close(terminal)
        os.close(master)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1)])
def test_u2_into_a_pipe_it_asks_on_stderr(world: World, answer: str, code: int) -> None:
    result = typed(world, "reconcile", "--no-progress", answer=answer)
    assert result.code == code, result
    assert "[y/N]" in result.err
    assert "[y/N]" not in result.out
    assert tree(world.weights) == ({f"{REPO}/{name}": data for name, data in MODEL.items()} if code == 0 else {})


@pytest.mark.parametrize("words", [(), ("--plan", "plan.json"), ("--json",), ("-q",), ("--prune",), ("--no-commit",)])
def test_u2_where_nobody_can_be_asked_nothing_is_done(
    world: World, words: tuple[str, ...], isolated_environment: Path
) -> None:
    assert command("reconcile", "--out", "plan.json", "--registry", world.root).code == 0
    before = tree(world.folder), tree(isolated_environment), world.head()
    result = command("reconcile", *words, "--no-progress", "--registry", world.root)
    assert result.code == 1, result
    assert "--yes" in result.err
    assert (tree(world.folder), tree(isolated_environment), world.head()) == before
    assert command("reconcile", *words, "--yes", "--no-progress", "--registry", world.root).code == 0


def test_u2_with_nothing_to_do_nobody_need_be_asked(world: World) -> None:
    world.reconcile()
    for words in ((), ("--detailed-exitcode",)):
        assert command("reconcile", *words, "--registry", world.root).code == 0


def test_u2_the_codes_of_a_look_stay(world: World) -> None:
    assert command("reconcile", "--dry-run", "--detailed-exitcode", "--registry", world.root).code == 2
    assert command("reconcile", "--yes", "--detailed-exitcode", "--registry", world.root).code == 2


def test_u2_going_back_is_asked_about_too(world: World, isolated_environment: Path) -> None:
    world.reconcile()
    first = world.head()
    world.serve(QUANTS, "acme/many-GGUF")
    assert command("download", "acme/many-GGUF", "--registry", world.root, "--no-progress").code == 0
    before = tree(world.folder), tree(isolated_environment), world.head()
    for words in (("restore", "--from", first), ("rollback",), ("restore", "--from", first, "--json")):
        result = command(*words, "--registry", world.root)
        assert result.code == 1, result
        assert "--yes" in result.err
        assert (tree(world.folder), tree(isolated_environment), world.head()) == before
    assert command("rollback", "--yes", "--registry", world.root).code == 0
    assert world.head() != before[2]


def test_u2_what_a_command_names_is_the_asking(world: World) -> None:
    """As the scripts of the commissioning document have it."""
    assert command("download", REPO, "--registry", world.root, "--no-progress").code == 0
    assert command("purge-deprecated", "--registry", world.root).code == 0
    assert command("remove", NAME, "--delete-files", "--registry", world.root).code == 1
    assert tree(world.weights) != {}
    assert command("remove", NAME, "--delete-files", "--force", "--registry", world.root).code == 0
    assert tree(world.weights) == {}


@pytest.mark.parametrize("answers", ["", "\n"])
def test_u2_the_end_of_the_input_is_no_yes(world: World, monkeypatch: pytest.MonkeyPatch, answers: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answers))
    assert command("reconcile", "--registry", world.root).code == 1
    assert tree(world.weights) == {}


def test_u2_without_any_stdin_nobody_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Terminal("y\n")
    closed.close()
    for stdin in (None, closed):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert command("reconcile", "--registry", world.root).code == 1
    assert tree(world.weights) == {}
