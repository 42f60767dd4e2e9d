"""The ``list`` command: what the last change recorded, under the names that people read."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import imageworks.cli.commands.follow.list  # noqa: F401 # before a test patches what it imports
from support.reconcile import HOST, NAME, REPO, Result, World, command
from support.recorded import record

VARIANT = "llama-12.2b-ollama-gguf-q4_k_m"
HEAVY = ("sqlite3", "pygit2", "httpx2", "jsonschema", "rich", "huggingface_hub", "ruamel", "_ruamel_yaml")


@pytest.fixture
def installed(world: World) -> World:
    world.serve()
    world.declare(backend="vllm", roles=["caption"])
    world.write("models/logical.yaml", '{"schema_version": 1, "roles": ["caption"]}')
    world.reconcile()
    return world


def model(name: str = VARIANT, **fields: object) -> dict[str, object]:
    """Return a recorded model."""
    return {
        "name": name,
        "managed": False,
        "backend": "ollama",
        "download_format": "gguf",
        "quantization": "q4_k_m",
        "download_path": f"/nowhere/{name}",
        "download_location": "linux_wsl",
        **fields,
    }


def listed(world: World, *words: str) -> Result:
    result = command("list", *words, "--registry", world.root)
    assert result.code == 0, result
    return result


def names(world: World, *words: str) -> list[str]:
    return [one["name"] for one in json.loads(listed(world, *words, "--json").out)]


def test_nothing_recorded_says_what_to_do(world: World) -> None:
    assert f"Nothing is recorded for {HOST} yet" in listed(world).out


def test_each_model_stands_in_a_line_with_what_it_is(installed: World) -> None:
    lines = listed(installed).out.splitlines()
    assert lines[0].split() == ["NAME", "FORMAT", "QUANT", "PRODUCER", "CAPS", "SIZE", "AGE", "WHERE"]
    assert lines[1].split() == ["tiny", "1b", "safetensors", "acme", "text", "58.6", "KiB", "now", "linux_wsl"]
    assert len(lines) == 2
    assert listed(installed).err == "1 model, 58.6 KiB, as recorded; `status` looks at the disks\n"


def test_the_name_is_the_one_that_people_read(world: World) -> None:
    record(world, model(family="llama-12.2b"), model("named", display_name="My favourite"))
    assert [line[:20].strip() for line in listed(world).out.splitlines()[1:]] == [
        "llama 12.2b (Q4 K M)",
        "My favourite",
    ]


@pytest.mark.parametrize("option", ["--details", "--show-internal-names"])
def test_the_variant_name_that_other_commands_take_can_be_seen(world: World, option: str) -> None:
    record(world, model(family="llama-12.2b"))
    assert VARIANT not in listed(world).out
    assert VARIANT in listed(world, option).out


def test_details_show_roles_served_name_location_and_path(world: World) -> None:
    record(world, model(roles=["caption", "keywords"], served_model_id="llama:12b"))
    heading, line = listed(world, "-d").out.splitlines()
    assert {"VARIANT", "ROLES", "SERVED", "LOCATION", "PATH", "BACKEND"} <= set(heading.split())
    assert {"caption,keywords", "llama:12b", "linux_wsl", f"/nowhere/{VARIANT}", "ollama"} <= set(line.split())


def test_backend_and_installed_are_shown_when_asked_for(installed: World) -> None:
    heading, line = listed(installed, "--show-backend", "--show-installed").out.splitlines()
    assert heading.split()[-2:] == ["BACKEND", "INST"]
    assert line.split()[-2:] == ["vllm", "✓"]
    shutil.rmtree(installed.weights / REPO)
    assert listed(installed, "--show-installed").out.splitlines()[1].endswith("✗")


def test_logical_models_are_shown_when_asked_for(installed: World) -> None:
    assert names(installed) == [NAME]
    assert names(installed, "--include-logical") == ["logical", NAME]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["awq", "ollama"]),
        (("--format", "awq"), ["awq"]),
        (("-f", "W4G128"), ["awq"]),
        (("-f", "gguf,awq"), ["awq", "ollama"]),
        (("-f", "onnx"), []),
        (("--backend", "ollama"), ["ollama"]),
        (("-b", "VLLM"), ["awq"]),
        (("--location", "second"), ["awq"]),
        (("-l", "/nowhere/ollama"), ["ollama"]),
        (("--show-deprecated",), ["awq", "old", "ollama"]),
        (("--include-testing",), ["awq", "marked", "my-testzzz", "ollama"]),
    ],
)
def test_options_choose_models(world: World, words: tuple[str, ...], expected: list[str]) -> None:
    awq = {
        "download_format": "safetensors",
        "quantization": "awq",
        "backend": "vllm",
        "download_location": "second",
        "metadata": {"quantization_details": {"method": "awq", "compact": "w4g128"}},
    }
    record(
        world,
        model("awq", **awq),
        model("marked", metadata={"testing": True}),
        model("my-testzzz"),
        model("old", deprecated=True),
        model("ollama"),
    )
    assert names(world, *words) == expected


def test_more_testing_names_come_from_the_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record(world, model("scratch-1"), model("kept"))
    monkeypatch.setenv("IMAGEWORKS_TEST_MODEL_PATTERNS", "^scratch")
    assert names(world) == ["kept"]
    monkeypatch.setenv("IMAGEWORKS_TEST_MODEL_PATTERNS", "(")
    assert "IMAGEWORKS_TEST_MODEL_PATTERNS" in command("list", "--registry", world.root).err


def test_dedupe_keeps_the_one_that_says_most(world: World) -> None:
    poor, rich = model("a", family="llama"), model("b", family="llama", roles=["caption"], license="mit")
    record(world, poor, rich, model("c", family="llama", quantization="q8_0"))
    assert names(world, "--dedupe") == ["b", "c"]


def test_nothing_that_fits_says_what_is_hidden(world: World) -> None:
    record(world, model(deprecated=True))
    assert "of 1 that is recorded" in listed(world).out
    assert "--show-deprecated" in listed(world).out


def test_json_is_the_snapshot_with_what_is_still_there(installed: World) -> None:
    (before,) = json.loads(listed(installed, "--json").out)
    added = {"installed": True, "unavailable": None, "quantization": None, "producer": "acme", "last_accessed": None}
    assert before == {**installed.snapshot()[NAME], **added}
    shutil.rmtree(installed.weights / REPO)
    (after,) = json.loads(listed(installed, "--json").out)
    assert after == {**before, "installed": False}


@pytest.mark.parametrize(
    ("fields", "producer"),
    [
        ({"producer": "recorded"}, "recorded"),
        ({"resolved": {"repo": "TheBloke/x"}}, "thebloke"),
        ({"served_model_id": "hf.co/Bartowski/x-GGUF:Q4_K_M"}, "bartowski"),
        ({"download_path": "{weights}/Owner/x"}, "owner"),
        ({}, None),
    ],
)
def test_json_names_the_producer(world: World, fields: dict[str, object], producer: str | None) -> None:
    told = {key: v.replace("{weights}", str(world.weights)) if isinstance(v, str) else v for key, v in fields.items()}
    record(world, model(VARIANT, **told))
    assert json.loads(listed(world, "--json").out)[0]["producer"] == producer


def test_json_of_nothing_is_an_empty_list(world: World) -> None:
    assert json.loads(listed(world, "--json").out) == []


def test_a_narrow_terminal_gets_a_block_for_each_model(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageworks.cli.output.terminal_width", lambda: 50)
    record(world, model(family="llama-12.2b", producer="somebody", download_size_bytes=1024))
    lines = listed(world, "--details").out.splitlines()
    assert lines[0] == "llama 12.2b (Q4 K M)"
    assert f"  variant    {VARIANT}" in lines
    assert "  size       1.0 KiB" in lines


def test_a_name_never_drives_the_terminal(world: World) -> None:
    record(world, model(display_name="red \x1b[31m"))
    assert "\x1b" not in listed(world).out


def test_a_snapshot_that_is_none_names_its_file(installed: World) -> None:
    installed.write(f"snapshot/{HOST}.json", "{}")
    result = command("list", "--registry", installed.root)
    assert result.code == 1
    assert f"snapshot/{HOST}.json" in result.err


def test_a_registry_that_is_none_is_a_wrong_command_line(world: World) -> None:
    result = command("list", "--registry", world.folder / "nowhere")
    assert result.code == 64
    assert "has no registry.yaml" in result.err


@pytest.mark.parametrize("words", ["list", "list --json", "list --details", "list-roles"])
def test_only_this_hosts_note_is_read_and_no_heavy_library(
    installed: World, isolated_environment: Path, tmp_path: Path, words: str
) -> None:
    next(isolated_environment.rglob("state.sqlite3")).unlink()  # what was used when, and which drives are there
    program = (
        "import sys; before = set(sys.modules);"  # whoever measures coverage has loaded some already
        "from imageworks.cli.app import run; code = run(sys.argv[1:]);"
        f"print(sorted((set(sys.modules) - before) & set({HEAVY})), file=sys.stderr); sys.exit(code)"
    )
    command_line = [sys.executable, "-c", program, *words.split(), "--registry", str(installed.root)]
    done = subprocess.run(command_line, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_columns_that_are_always_shown_fit_eighty(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("commands.follow.list", "output"):  # the one imports from the other
        monkeypatch.setattr(f"imageworks.cli.{place}.terminal_width", lambda: 80)
    able = dict.fromkeys(("text", "vision", "tools", "reasoning"), True)
    shown = {"display_name": "mistral 7b-instruct-v0.2 (Q4 K M)", "producer": "thebloke", "capabilities": able}
    when = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    record(world, model(VARIANT, **shown, download_size_bytes=813_000_000, downloaded_at=when))
    heading, line = listed(world).out.splitlines()
    assert heading.split() == ["NAME", "FORMAT", "QUANT", "PRODUCER", "CAPS", "SIZE"]
    assert line.startswith("mistral 7b-instruct-v0.2 (Q4 K M)  gguf    q4_k_m  thebloke  reasoni…  775.3 MiB")
    assert len(line) <= 80
    monkeypatch.setattr("imageworks.cli.output.terminal_width", lambda: 120)
    monkeypatch.setattr("imageworks.cli.commands.follow.list.terminal_width", lambda: 120)
    heading, line = listed(world).out.splitlines()
    assert heading.split()[5:] == ["SIZE", "AGE", "WHERE"]
    assert line.split()[-2:] == ["3d", "linux_wsl"]


def test_a_table_with_a_long_name_stays_one_at_eighty(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("commands.follow.list", "output"):  # the one imports from the other
        monkeypatch.setattr(f"imageworks.cli.{place}.terminal_width", lambda: 80)
    title = "deepseek r1-distill-llama 70b-instruct (Q4 K M)"
    record(world, model(display_name=title, producer="somebody", download_size_bytes=9))
    heading, line = listed(world).out.splitlines()
    assert heading.split()[0] == "NAME"
    assert line.startswith(title)
    assert len(line) <= 80
