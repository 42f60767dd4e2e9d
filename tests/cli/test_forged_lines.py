"""What stands in a registry's names and records begins no line of its own, and drives no terminal."""

import json
import shlex
import subprocess

import pytest

from support.git import git
from support.reconcile import HOST, NAME, World, command

FORGED = "No changes. 1 model as declared"
ESCAPE = "\x1b]0;pwned\x07"


def lines(text: str) -> list[str]:
    assert "\x1b" not in text
    return text.splitlines()


@pytest.mark.parametrize("folder", ["models", f"discovered/{HOST}", "snapshot"])
def test_x11_the_name_of_a_file_forges_no_line(world: World, folder: str) -> None:
    suffix = ".yaml" if folder == "models" else ".json"
    world.write(f"{folder}/a\n{FORGED}{ESCAPE}{suffix}", "{}")
    ran = [
        command("validate", "--registry", world.root),
        command("snapshot", "check", "--registry", world.root),
        command("reconcile", "--dry-run", "--registry", world.root),
        command("reconcile", "--dry-run", "--all-hosts", "--format", "markdown", "--registry", world.root),
        command("status", "--registry", world.root),
        command("list", "--registry", world.root),
    ]
    assert ran[0].code == 1
    told = [(number, line) for number, one in enumerate(ran) for line in lines(one.out) + lines(one.err)]
    assert not [one for one in told if one[1].startswith(FORGED)]


def test_x11_what_a_record_says_forges_no_row(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    file = f"discovered/{HOST}/{NAME}.json"
    entry = json.loads((world.root / file).read_text(encoding="utf-8"))
    forged = f"x\n{FORGED}{ESCAPE}"
    entry |= {"display_name": forged, "family": forged, "license": forged, "quantization": forged}
    entry["capabilities"] |= {forged: True}
    world.write(file, json.dumps(entry, indent=2))
    command("snapshot", "rebuild", "--registry", world.root)
    git(world.git_root, "add", "--all")
    world.commit("Forge")
    for words in (["list", "--details"], ["list"], ["status"], ["stats"], ["list-roles"], ["show", NAME]):
        ran = command(*words, "--registry", world.root)
        assert ran.code == 0
        assert not [line for line in lines(ran.out) + lines(ran.err) if line.startswith(FORGED)]


def test_x11_no_name_of_a_file_is_a_program_in_a_command_that_is_told(world: World) -> None:
    name = "$(touch pwned)"
    world.write(f"discovered/{name}/m.json", "{}", commit=False)
    world.write(f"discovered/{name}.json", "{}", commit=False)
    world.write(f"snapshot/{name}.json", "[]\n", commit=False)
    world.write("models/A$(touch pwned).yaml", "x: 1\n", commit=False)
    world.write("models/a$(touch pwned).yaml", "x: 1\n")
    ran = [
        command("validate", "--registry", world.root),
        command("snapshot", "check", "--registry", world.root),
        command("hosts", "list", "--registry", world.root),
    ]
    told = [word for one in ran for word in (one.out + one.err).split("`")[1::2]]
    told += [
        line.partition("remove one: ")[2] for one in ran for line in one.out.splitlines() if "remove one: " in line
    ]
    commands = [shlex.split(one) for one in told if "touch" in one]
    assert {tuple(one[:2]) for one in commands} >= {("git", "rm"), ("imageworks-models", "hosts")}
    assert all(any(name in word for word in one) for one in commands), "each name is one word"
    for one in told:
        if "touch" in one and one.startswith("git rm"):
            subprocess.run(["/bin/sh", "-c", one], cwd=world.root, check=True, capture_output=True)
    assert not (world.root / "pwned").exists()
