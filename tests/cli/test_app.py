"""The whole app: quick to start, one message for each error, the same under both names."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from imageworks import __version__
from imageworks.cli import program as module
from imageworks.cli.app import run
from imageworks.cli.command_table import BY_NAME, COMMANDS, MAIN_GROUPS
from imageworks.cli.output import human_duration, paint, printable, table, wants_colour
from imageworks.foundation.errors import ExitCode, ImageworksError, UsageError
from imageworks.foundation.texts import human_bytes
from support.reconcile import HOST, NAME, World, command

HEAVY = (
    "asyncio",
    "httpx2",
    "huggingface_hub",
    "jsonschema",
    "numpy",
    "pygit2",
    "rich.progress",
    "ruamel",
    "sqlite3",
)
PROGRAMS = ("imageworks-models", "imageworks-download")
PROBE = """
import atexit, json, os, sys
before = set(sys.modules)  # whoever measures coverage has loaded some already
def tell(heavy=sys.argv.pop(1).split(",")):
    with open(os.environ["LOADED"], "w", encoding="utf-8") as stream:
        json.dump([name for name in heavy if name in sys.modules.keys() - before], stream)
atexit.register(tell)
sys.argv[0] = os.environ["PROGRAM"]
from imageworks.cli.app import main
main()
"""


def loaded_by(folder: Path, *words: str, program: str = PROGRAMS[0], **environment: str) -> tuple[list[str], str]:
    """Return which heavy libraries a command loads, and what it prints."""
    told = folder / "loaded.json"
    done = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(HEAVY), *words],
        env={**os.environ, "LOADED": str(told), "PROGRAM": program, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded: list[str] = json.loads(told.read_text(encoding="utf-8"))
    return loaded, done.stdout


def test_help_loads_nothing_heavy_and_names_every_command(tmp_path: Path) -> None:
    loaded, out = loaded_by(tmp_path, "--help")
    assert loaded == []
    for row in COMMANDS:
        assert (f"  {row.name} " in out) == (row.group in MAIN_GROUPS)
    assert all(f"  {row.name} " in loaded_by(tmp_path, "help", "--all")[1] for row in COMMANDS)


@pytest.mark.parametrize("name", ["reconcile", "status", "list"])
def test_the_help_of_a_command_loads_nothing_heavy(tmp_path: Path, name: str) -> None:
    loaded, out = loaded_by(tmp_path, name, "--help")
    assert loaded == []
    assert "--registry" in out


def test_the_version_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_by(tmp_path, "--version") == ([], f"imageworks-models {__version__}\n")


@pytest.mark.parametrize("program", PROGRAMS)
def test_completion_works_under_both_names_and_loads_nothing_heavy(tmp_path: Path, program: str) -> None:
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    words = {"COMP_WORDS": f"{program} reco", "COMP_CWORD": "1"}
    loaded, out = loaded_by(tmp_path, program=program, **{variable: "complete_bash"}, **words)
    assert (loaded, out.split()) == ([], ["reconcile"])


@pytest.mark.parametrize("program", PROGRAMS)
def test_both_console_scripts_are_installed_and_complete(program: str) -> None:
    script = Path(sys.executable).with_name(program)
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    environment = {**os.environ, variable: "complete_bash", "COMP_WORDS": f"{program} valid", "COMP_CWORD": "1"}
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["validate"]


def test_list_loads_nothing_heavy(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    # --json tells when each model was last used, which the state of this host knows.
    for words, wanted in ((("list",), []), (("list", "--json"), ["sqlite3"])):
        loaded, out = loaded_by(world.folder, *words, "--registry", str(world.root))
        assert loaded == wanted
        assert "safetensors" in out


def test_what_is_right_is_validated_and_planned_without_what_words_problems(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    for words, wanted in ((("validate",), {"ruamel"}), (("reconcile", "--dry-run"), {"pygit2", "sqlite3"})):
        loaded, _out = loaded_by(world.folder, *words, "--registry", str(world.root))
        assert set(loaded) <= wanted


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imageworks", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert done.stdout == f"imageworks-models {__version__}\n"


@pytest.mark.parametrize("name", ["fleet", "hosts", "hub", "export"])
def test_a_group_without_a_command_shows_its_help_and_no_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name]) == 64
    printed = capsys.readouterr()
    assert printed.err.startswith("Usage: ")
    assert f" {name} [OPTIONS] COMMAND" in printed.err
    assert not printed.out


def test_the_version_has_a_short_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-V"]) == 0
    assert capsys.readouterr().out == f"imageworks-models {__version__}\n"


def test_no_command_at_all_shows_the_help() -> None:
    result = command()
    assert result.code == ExitCode.USAGE
    assert "Usage:" in result.out + result.err


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let the app fail with any error, as one of its commands would."""

    def fail(error: BaseException) -> None:
        def broken(**_options: object) -> None:
            raise error

        monkeypatch.setattr(module, "make_application", lambda: broken)

    return fail


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ImageworksError("it broke", remedy="mend it"), 1, "error: it broke\n  mend it\n"),
        (UsageError("no such thing"), 64, "error: no such thing\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (typer.Abort(), 130, "interrupted\n"),
        (ValueError("a bug"), 1, "error: ValueError: a bug\n  This is a bug in imageworks-models."),
    ],
)
def test_each_error_becomes_one_message_and_its_exit_code(
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    failing(error)
    assert run(["list"]) == code
    assert capsys.readouterr().err.startswith(said)


def test_a_bug_shows_its_traceback_on_request(
    failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEWORKS_DEBUG", "1")
    failing(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        run(["list"])


def test_an_error_of_ours_shows_where_it_came_from_on_request(
    failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMAGEWORKS_DEBUG", "1")
    failing(ImageworksError("it broke"))
    assert run(["list"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    lister = subprocess.Popen(
        [sys.executable, "-m", "imageworks", "list", "--json", "--registry", world.root],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    assert lister.stdout is not None
    lister.stdout.close()
    _, error = lister.communicate()
    assert (lister.returncode, error) == (0, b"")


def test_nobody_who_reads_is_no_error_either_in_the_middle_of_much() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "imageworks", "schema", "manifest"]  # more than a buffer holds
    done = subprocess.run(words, stdout=writing, stderr=writing, timeout=120, check=False)
    os.close(writing)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["list", "hosts"])
def test_a_command_line_builds_only_what_it_can_mean(name: str) -> None:
    probe = "import sys; from imageworks.cli.app import run; run(sys.argv[1:]); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe, name, "--help"], capture_output=True, text=True, check=True)
    loaded = {one for one in done.stdout.split() if one.startswith("imageworks.cli.commands.") and one.count(".") == 4}
    assert loaded == {f"imageworks.cli.commands.{BY_NAME[name].place.partition(':')[0]}"}


# --- what commands print with ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (-2048, "-2.0 KiB"),
        (2**60, "1024.0 PiB"),
    ],
)
def test_sizes_are_shown_in_binary_units(count: int, shown: str) -> None:
    assert human_bytes(count) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (62.4, "1:02"), (3723, "1:02:03")])
def test_durations_are_shown_as_a_clock_does(seconds: float, shown: str) -> None:
    assert human_duration(seconds) == shown


def test_control_characters_are_shown_and_not_sent() -> None:
    assert printable("a\x1b[31mb\u202ec\td\n") == "a\\x1b[31mb\\u202ec\td\n"


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    terminal: bool,
    wanted: bool,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert wants_colour(sys.stdout) is wanted
    assert paint("x", "red", colour=wanted) == ("\x1b[31mx\x1b[0m" if wanted else "x")


def test_a_table_is_aligned_and_never_cut_when_piped() -> None:
    text = table(("NAME", "SIZE"), [("a" * 300, "1"), ("b", "22")], right=frozenset({1}))
    assert text.splitlines() == [f"{'NAME':300}  SIZE", f"{'a' * 300}     1", f"{'b':300}    22"]


def test_a_table_fits_the_terminal_and_keeps_its_first_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageworks.cli.output.terminal_width", lambda: 30)
    lines = table(("NAME", "REASON"), [("a-name", "why " * 20)]).splitlines()
    assert lines[1].startswith("a-name  why")
    assert len(lines[1]) <= 30
    assert lines[1].endswith("…")


def test_wide_characters_keep_a_table_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("通义千问 7b", "北京大学人工智能研究院"), ("llama 7b", "meta"), ("cafe\u0301 7b", "x")]
    assert table(("NAME", "PRODUCER"), rows).splitlines() == [
        "NAME         PRODUCER",
        "通义千问 7b  北京大学人工智能研究院",
        "llama 7b     meta",
        "cafe\u0301 7b      x",
    ]
    monkeypatch.setattr("imageworks.cli.output.terminal_width", lambda: 24)
    assert table(("NAME", "PRODUCER"), rows).splitlines()[1] == "通义千问 7b  北京大学人…"


def test_columns_that_are_too_wide_give_way_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageworks.cli.output.terminal_width", lambda: 40)
    shown = table(("NAME", "FORMAT", "PATH"), [("a", "safetensors", "/a/long/path/to/some/where/else")])
    assert shown.splitlines()[1] == "a     safetensors  /a/long/path/to/some…"
    monkeypatch.setattr("imageworks.cli.output.terminal_width", lambda: 26)
    shown = table(("NAME", "FORMAT", "PATH"), [("a", "safetensors", "/a/long/path/to/some/where/else")])
    assert shown.splitlines()[1] == "a     safetens…  /a/long/…"


def test_the_log_tells_each_step_as_a_line_of_json(world: World, isolated_environment: Path) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    log = isolated_environment / ".local/state/imageworks/logs/model_downloader.log"
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {"apply", "done"} <= {event["event"] for event in events}
    assert all(event["model"] == NAME for event in events if event["event"] in {"apply", "done"})
    assert HOST not in {event["event"] for event in events}
