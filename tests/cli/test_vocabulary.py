"""One vocabulary of options on all commands: the same words everywhere, before the command too; earlier ones stay."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageworks.cli.group import every_command, examples_of
from imageworks.cli.program import make_application
from support.reconcile import NAME, World, command

COMMANDS = {
    words: one
    for words, one in every_command()
    if not one.hidden and (words == "locations" or not hasattr(one, "commands"))
}
EVERYWHERE = ("-C", "--registry", "-q", "--quiet", "-v", "--verbose", "--color", "-h", "--help")
ONLY_SHOWS = frozenset(
    {
        "analyze", "blame", "diff", "doctor", "fleet status",
        "export ansible", "export kserve", "export kubernetes", "export llama-server", "export llama-swap",
        "export ome", "export ray", "export systemd", "export taskscheduler",
        "help", "history", "hosts list", "hub serve", "list",
        "list-roles", "locations", "outdated", "page", "preview-simple-slugs", "resolve", "schema", "search", "serve",
        "show", "snapshot check", "snapshot show", "stats", "status", "validate",
    }
)  # fmt: skip
"""What changes nothing; whatever is not here has ``--dry-run`` and ``--yes``."""
ONE_LETTER = {
    "-C": "--registry", "-q": "--quiet", "-v": "--verbose", "-y": "--yes", "-h": "--help", "-f": "--format",
    "-l": "--location", "-b": "--backend", "-d": "--details", "-n": "--limit", "-o": "--include-optional",
}  # fmt: skip


def spellings(words: str) -> Iterator[str]:
    command = COMMANDS[words]
    yield from ("-h", "--help")
    for param in command.params:
        yield from (*param.opts, *param.secondary_opts)


@pytest.mark.parametrize("words", COMMANDS)
def test_u14_every_command_has_the_shared_options(words: str) -> None:
    there = set(spellings(words))
    assert set(EVERYWHERE) - there == set()
    assert "--json" in there
    if words not in ONLY_SHOWS:
        assert {"--dry-run", "--yes", "-y"} - there == set()


@pytest.mark.parametrize("words", COMMANDS)
def test_u14_no_option_is_there_twice(words: str) -> None:
    said = list(spellings(words))
    assert len(said) == len(set(said))


@pytest.mark.parametrize("words", COMMANDS)
def test_u14_a_letter_means_the_same_everywhere(words: str) -> None:
    for param in COMMANDS[words].params:
        for letter in (one for one in param.opts if re.fullmatch("-[A-Za-z]", one)):
            assert ONE_LETTER[letter] in param.opts, (words, letter)


@pytest.mark.parametrize("words", COMMANDS)
def test_u9_help_ends_with_examples_that_can_be_typed(words: str) -> None:
    lines = examples_of(COMMANDS[words])
    assert lines, words
    helped = command(*words.split(), "--help").out
    assert helped.rstrip().endswith(lines[-1])
    for line in lines:
        program, *typed = shlex.split(line.partition("  #")[0])
        assert program == "imageworks-models"
        assert " ".join(typed).startswith(words)
        parse(typed)


def parse(words: list[str]) -> None:
    """Let the parser read a command line, and run nothing."""
    import typer

    root = typer.main.get_command(make_application())
    context = root.make_context("imageworks-models", words, resilient_parsing=False)
    while hasattr(context.command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
        name, found, rest = context.command.resolve_command(context, rest)
        assert found is not None
        context = found.make_context(name, rest, parent=context)


def test_u14_options_may_stand_before_the_command(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    for words in (
        ("-C", world.root, "list", "-q"),
        ("--registry", world.root, "-q", "ls"),
        ("-q", "list", "-C", world.root),
    ):
        assert command(*words).out.split() == [NAME]
    nested = command("-C", world.root, "hosts", "list", "--json")
    assert "testhost" in {one["name"] for one in json.loads(nested.out)["hosts"]}


def test_u14_what_stands_behind_the_command_wins(world: World, tmp_path: Path) -> None:
    world.declare()
    assert command("-C", tmp_path / "nowhere", "validate", "-C", world.root).code == 0


@pytest.mark.parametrize(
    ("words", "environment", "coloured"),
    [
        (("--color", "always"), {}, True),
        (("--color=always",), {"NO_COLOR": "1"}, True),
        (("--color", "never"), {"FORCE_COLOR": "1"}, False),
        (("--color", "auto"), {"FORCE_COLOR": "1"}, True),
        ((), {"TERM": "dumb"}, False),
        ((), {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [True, False])
def test_u14_colour_is_as_the_option_says_else_as_the_environment_does(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    environment: dict[str, str],
    coloured: bool,
    before: bool,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    world.serve()
    world.declare()
    line = ("reconcile", "--dry-run", "-C", str(world.root))
    assert ("\x1b[" in command(*((*words, *line) if before else (*line, *words))).out) == coloured


def test_u14_quiet_leaves_errors_and_what_was_asked_for(world: World) -> None:
    world.declare(source={"huggingface": "acme/none"})
    noisy, quiet = (command("validate", "-C", world.root, *words) for words in ((), ("-q",)))
    assert noisy.err
    assert (quiet.out, quiet.err) == (noisy.out, "")
    unknown = command("show", "nothing-here", "-q", "-C", world.root)
    assert unknown.code == 1
    assert unknown.err.startswith("error:")


DRY: dict[str, tuple[str, ...]] = {
    "remove": (NAME, "--purge", "--delete-files"),
    "verify": ("--repair",),
    "pin": (),
    "update": (),
    "scan": (),
    "reconcile": ("--prune",),
    "restore": ("--from", "HEAD"),
    "snapshot rebuild": (),
    "snapshot install-merge-driver": (),
    "init": ("{folder}/new",),
    "config": ("--allow", "{folder}/elsewhere"),
    "purge-hf": (),
    "launch": ("vllm", NAME),
}
"""Commands that change something, and what makes them."""


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_u14_a_dry_run_writes_nothing_and_json_is_json(world: World, isolated_environment: Path) -> None:
    world.serve()
    world.declare(backend="vllm")
    world.reconcile()
    before, head = everything(world.root), world.head()
    config = isolated_environment / ".config"
    settings = everything(config)
    for name, words in DRY.items():
        given = [word.format(folder=world.folder) for word in words]
        result = command(*name.split(), *given, "--dry-run", "--json", "-C", world.root)
        assert result.code == 0, (name, result)
        json.loads(result.out)
        assert everything(world.root) == before, name
        assert everything(config) == settings, name
    assert world.head() == head
    assert not (world.folder / "new").exists()


def test_u4_a_quiet_run_prints_why_it_failed(world: World) -> None:
    world.write("models/broken.yaml", "schema_version: 1\nsource: {huggingface: 3}\n")
    result = command("reconcile", "-q", "--yes", "-C", world.root)
    assert (result.code, result.out) == (1, "")
    assert "models/broken.yaml:2" in result.err


def test_u14_verbose_tells_each_step(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    plain, steps = (command("pin", "-C", world.root, *words) for words in (("--dry-run",), ("-v",)))
    assert plain.code == steps.code == 0
    assert "seconds=" not in plain.err
    assert "seconds=" in steps.err


@pytest.mark.parametrize("words", [("--format", "json"), ("--format", "JSON"), ("--json",)])
def test_u14_list_takes_format_json_for_what_it_says(world: World, words: tuple[str, ...]) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    listed = json.loads(command("list", *words, "-C", world.root).out)
    assert [one["name"] for one in listed] == [NAME]
