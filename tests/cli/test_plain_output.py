"""U13: no encoding of the terminal ends a command; U4: whoever fails says why, on stderr, however quiet."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.reconcile import MODEL, NAME, REPO, World, command

ASCII = {"PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
ODD = "ünïcode ✅ 模型 🦙"


def plain(world: World, *words: str, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the program where stdout and stderr take ASCII only."""
    done = subprocess.run(
        [sys.executable, "-m", "imageworks", *words],
        cwd=world.root,
        env={**os.environ, **ASCII, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert b"UnicodeEncodeError" not in done.stderr, done.stderr
    assert b"bug in imageworks" not in done.stderr, done.stderr
    assert done.stderr.isascii(), done.stderr
    assert done.stdout.isascii(), done.stdout
    return done


@pytest.fixture
def odd(world: World) -> World:
    world.serve({**MODEL, "ünïcode 模型.txt": b"text"})
    text = f'schema_version: 1\nsource: {{huggingface: {REPO}}}\ndisplay_name: "{ODD}"\nroles: [caption]\n'
    world.write(f"models/{NAME}.yaml", text)
    return world


def test_u13_plain_signs_where_the_terminal_takes_ascii_only(odd: World) -> None:
    assert plain(odd, "reconcile", "--yes").returncode == 0
    assert b"[ok]" in plain(odd, "verify").stdout
    (odd.weights / REPO / "config.json").write_bytes(b"other")
    assert b"[failed]" in plain(odd, "verify").stdout
    for words in (
        ("--help",),
        ("verify", "--help"),
        ("list", "--show-installed", "--details"),
        ("status",),
        ("reconcile", "--dry-run"),
        ("reconcile", "--dry-run", "--format", "markdown"),
        ("history",),
        ("show", NAME),
        ("blame", NAME),
        ("diff",),
        ("stats",),
        ("list-roles",),
        ("config",),
        ("clean", "--dry-run"),
        ("analyze", REPO),
        ("verify", ODD),
        ("no-such-command-ü",),
        ("reconcile", "--no-such-option-ü"),
        ("reconcile", "models/ü.yaml"),
    ):
        plain(odd, *words)
    done = plain(odd, "download", REPO, "--force")
    assert done.returncode == 0, done
    assert b"[ok] " in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_u13_json_says_the_same_in_every_encoding(odd: World, encoding: str) -> None:
    odd.reconcile()
    for command_name in ("list", "status"):
        done = subprocess.run(
            [sys.executable, "-m", "imageworks", command_name, "--json"],
            cwd=odd.root,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout.decode(encoding))
        assert command_name == "status" or ODD in {model["display_name"] for model in document}


def test_u13_a_path_of_bytes_that_are_no_text_is_shown(odd: World) -> None:
    for variables in ({}, {"PYTHONIOENCODING": "utf-8"}):
        done = subprocess.run(
            [sys.executable, "-m", "imageworks", "list", "--registry", os.fsencode(odd.folder) + b"/caf\xe9"],
            env={**os.environ, **ASCII, **variables},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 64
        assert b"\\udce9" in done.stderr


def test_u13_the_scripts_print_plain_signs_too(odd: World) -> None:
    odd.reconcile()
    script = Path(__file__).parents[2] / "scripts/start_vllm_server.py"
    done = subprocess.run(
        [sys.executable, script, "--model", NAME, "--print"],
        cwd=odd.root,
        env={**os.environ, **ASCII},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    assert (done.stdout + done.stderr).isascii()


@pytest.mark.parametrize("words", [("-q",), ("-q", "--dry-run"), ("--json", "--dry-run"), ()])
def test_u4_a_run_that_fails_says_why_on_stderr(world: World, words: tuple[str, ...]) -> None:
    world.declare(source={"huggingface": "acme/nowhere"})
    result = command("reconcile", *words, "--yes", "--no-progress", "--registry", world.root)
    assert result.code == 1
    assert NAME in result.err
    if "-q" in words:
        assert result.out == ""
    status = command("status", "--registry", world.root)
    assert (status.code, NAME in status.err) == (1, True)


def test_u4_a_manifest_that_cannot_be_read_is_an_error_too(world: World) -> None:
    world.write("models/broken.yaml", "schema_version: [")
    result = command("reconcile", "-q", "--yes", "--registry", world.root)
    assert (result.code, result.out) == (1, "")
    assert "models/broken.yaml:2:" in result.err
