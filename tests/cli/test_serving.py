"""``resolve``, ``launch`` and ``serve`` as a user runs them, with small real programs in the servers' place."""

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imageworks.host.settings import load_host_settings
from imageworks.serving.last_used import last_accessed
from support.reconcile import World, command
from support.serving import chat_model, program
from support.transfer import tree

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
NAME = "qwen-vl-vllm"


@pytest.fixture(name="model")
def declared_model(world: World) -> Path:
    """A chat model with roles, arguments and a port, declared and reconciled; returns its folder."""
    folder = chat_model(world.folder / "weights/acme/Qwen VL", generation=False)
    world.declare(
        NAME,
        source={"path": str(folder)},
        backend="vllm",
        served_model_id="qwen",
        roles=["caption", "keywords"],
        role_priority={"caption": 90},
        backend_config={"port": 24001, "extra_args": ["--max-model-len", "8192"]},
    )
    world.reconcile("-y")
    return folder


def used() -> list[str]:
    return list(last_accessed(load_host_settings().state_dir))


# --- resolve -----------------------------------------------------------------------------------------------------


def test_a_role_is_resolved_to_one_name_which_counts_as_used(world: World, model: Path) -> None:
    chat_model(world.folder / "weights/acme/other")
    world.declare("another", source={"path": str(model.parent / "other")}, roles=["caption"])
    world.reconcile("-y")
    result = command("resolve", "--role", "caption", "--registry", world.root)
    assert (result.code, result.out, result.err) == (0, f"{NAME}\n", "")
    assert used() == [NAME]
    listed = json.loads(command("list", "--json", "--registry", world.root).out)
    assert {model["name"]: bool(model["last_accessed"]) for model in listed} == {NAME: True, "another": False}
    standing = command("status", "--json", "--registry", world.root).json["models"]
    assert isinstance(standing, list)
    assert {model["name"]: bool(model["last_accessed"]) for model in standing} == {NAME: True, "another": False}


def test_the_last_use_never_reaches_git(world: World, model: Path) -> None:
    before = tree(world.root)
    command("resolve", "--role", "caption", "--registry", world.root)
    assert tree(world.root) == before
    assert model.is_dir()
    committed = {path: data for path, data in before.items() if path != "model_registry.json"}  # git ignores that one
    assert len(committed) < len(before)
    assert all(b"last_accessed" not in data for data in committed.values())


def test_all_shows_the_order_and_counts_as_no_use(world: World, model: Path) -> None:
    world.declare("not-here", roles=["caption"], role_priority={"caption": 99})
    result = command("resolve", "--role", "caption", "--all", "--json", "--registry", world.root)
    assert (result.json["format_version"], result.json["role"]) == (1, "caption")
    models = result.json["models"]
    assert isinstance(models, list)
    one, other = models
    assert (other["name"], other["installed"]) == ("not-here", False)
    assert one == {
        "name": NAME,
        "display_name": one["display_name"],
        "priority": 90,
        "backend": "vllm",
        "served_model_id": "qwen",
        "base_url": "http://localhost:24001/v1",
        "model_path": str(model),
        "installed": True,
        "deprecated": False,
        "capabilities": one["capabilities"],
    }
    shown = command("resolve", "--role", "keywords", "--all", "--registry", world.root).out.splitlines()
    assert shown[0].split() == ["VARIANT", "PRIORITY", "BACKEND", "INSTALLED", "DEPRECATED"]
    assert shown[1].split() == [NAME, "0", "vllm", "yes", "no"]
    assert used() == []


def test_one_role_in_json_has_what_a_consumer_needs(world: World, model: Path) -> None:
    found = command("resolve", "--role", "caption", "--json", "--registry", world.root).json["model"]
    assert isinstance(found, dict)
    assert (found["name"], found["model_path"]) == (NAME, str(model))


def test_no_model_for_a_role_is_a_failure_that_says_why(world: World, model: Path) -> None:
    result = command("resolve", "--role", "captoin", "--registry", world.root)
    assert (result.code, result.out) == (1, "")
    assert "no model has the role 'captoin'" in result.err
    model.rename(model.with_name("moved away"))
    for words in ((), ("--all",), ("--json",)):
        result = command("resolve", "--role", "caption", *words, "--registry", world.root)
        assert (result.code, result.out) == (1, "")
        assert f"no installed model has the role 'caption': {NAME} (not installed)" in result.err
    assert used() == []


# --- launch ------------------------------------------------------------------------------------------------------


def test_print_shows_what_would_run_and_writes_nothing(world: World, model: Path) -> None:
    """I4."""
    state = tree(load_host_settings().state_dir)
    result = command("launch", "vllm", NAME, "--print", "--registry", world.root, "--", "--max-model-len=4096")
    assert result.code == 0
    assert shlex.split(result.out) == [
        *("vllm", "serve", str(model), "--served-model-name=qwen", "--host=127.0.0.1", "--port=24001"),
        "--max-model-len=4096",
    ]
    assert "warning: qwen-vl-vllm: no generation_config.json" in result.err
    assert tree(load_host_settings().state_dir) == state


def launched(world: World, *words: str, programs: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "imageworks", "launch", *words],
        cwd=world.root,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "VLLM_API_KEY": "my-server-key"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_server_takes_the_process_over_with_its_words_and_exit_code(world: World, model: Path) -> None:
    record = program(world.folder / "some programs", "vllm", code=7)
    done = launched(world, "vllm", "qwen", "--port", "9", "--", "--api-key", "sk-1", programs=record.parent)
    assert done.returncode == 7
    assert record.read_text(encoding="utf-8").splitlines() == [
        *("serve", str(model), "--served-model-name=qwen", "--host=127.0.0.1"),
        *("--max-model-len", "8192", "--port=9", "--api-key", "sk-1"),
    ]
    assert used() == [NAME]
    log = (load_host_settings().log_dir / "model_downloader.log").read_text(encoding="utf-8")
    assert '"event": "launch"' in log
    assert "sk-1" not in log + done.stderr


def test_lmdeploy_and_ollama_are_launched_likewise(world: World, model: Path) -> None:
    record = program(world.folder / "some programs", "lmdeploy")
    done = launched(world, "lmdeploy", NAME, programs=record.parent)
    assert done.returncode == 0
    assert record.read_text(encoding="utf-8").splitlines()[:3] == ["serve", "api_server", str(model)]
    assert "declared for vllm; its extra_args are left out" in done.stderr
    refused = launched(world, "ollama", NAME, programs=record.parent)
    assert refused.returncode == 1
    assert "is not one of Ollama's models" in refused.stderr


def test_a_missing_program_is_one_clear_error(world: World, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(world.folder))
    result = command("launch", "vllm", str(model), "--registry", world.root)
    assert result.code == 1
    assert "error: vllm not found on PATH\n  Install it with `pip install vllm`" in result.err
    assert used() == []


@pytest.mark.parametrize(
    ("words", "code"),
    [(("sglang", NAME), 64), (("vllm",), 64), (("vllm", NAME, "--port", "0"), 64), (("vllm", "no-such"), 1)],
)
def test_a_wrong_command_line_is_told(world: World, words: tuple[str, ...], code: int) -> None:
    result = command("launch", *words, "--registry", world.root)
    assert result.code == code
    assert result.err


@pytest.mark.parametrize("server", ["vllm", "lmdeploy"])
def test_the_documented_scripts_take_a_path_or_a_name(isolated_environment: Path, tmp_path: Path, server: str) -> None:
    chat_model(isolated_environment / "ai-models/weights/existing/Qwen2.5-VL-7B-Instruct-AWQ", template=False)
    record = program(tmp_path / "some programs", server)
    done = subprocess.run(
        [
            *(sys.executable, SCRIPTS / f"start_{server}_server.py"),
            *("--model", "~/ai-models/weights/existing/Qwen2.5-VL-7B-Instruct-AWQ", "--tp", "2"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{record.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done
    words = record.read_text(encoding="utf-8").splitlines()
    assert words[-2:] == ["--tp", "2"]
    assert f"{isolated_environment}/ai-models/weights/existing/Qwen2.5-VL-7B-Instruct-AWQ" in words
    assert "no chat template" in done.stderr


def test_o12_what_a_server_needs_is_told_before_it_starts_and_no_longer_once_it_is_given(
    world: World, tmp_path: Path
) -> None:
    folder = chat_model(tmp_path / "Qwen3-Reranker-0.6B")
    config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "auto_map": {"AutoModel": "x.Y"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    record = program(world.folder / "some programs", "vllm")
    done = launched(world, "vllm", str(folder), programs=record.parent)
    assert done.returncode == 0
    needed = next(line for line in done.stderr.splitlines() if "--hf_overrides" in line)
    assert "--runner pooling" in needed
    assert "`--trust-remote-code`" in done.stderr
    overrides = shlex.split(needed.partition("`")[2].partition("`")[0])
    done = launched(world, "vllm", str(folder), "--", *overrides, "--trust-remote-code", programs=record.parent)
    assert record.read_text(encoding="utf-8").splitlines()[-5:] == [*overrides, "--trust-remote-code"]
    assert "--hf_overrides" not in done.stderr.partition("starting:")[0]


@pytest.mark.usefixtures("isolated_environment")
def test_o12_what_surely_cannot_be_served_is_refused_with_the_server_that_can(tmp_path: Path) -> None:
    folder = chat_model(tmp_path / "m-bnb")
    said = {"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    refused = command("launch", "lmdeploy", str(folder), "--print")
    assert (refused.code, refused.out) == (1, "")
    assert f"launch vllm {folder}" in refused.err
    taken = command("launch", "vllm", str(folder), "--print")
    assert taken.code == 0
    assert "vllm-bnb-plugin" in taken.err


# --- serve -------------------------------------------------------------------------------------------------------


@contextmanager
def serving(world: World, *words: str, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run the command; yields the process and the URL that it printed."""
    with subprocess.Popen(
        [sys.executable, "-m", "imageworks", "serve", "--port", "0", *words],
        cwd=world.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def names(url: str) -> list[str]:
    with urllib.request.urlopen(f"{url}/models", timeout=60) as reply:  # noqa: S310 # of our own on loopback
        return [model["id"] for model in json.loads(reply.read())["data"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_follows_commits_and_ends_cleanly(world: World, model: Path, number: signal.Signals) -> None:
    state = tree(load_host_settings().state_dir)
    with serving(world) as (process, url):
        assert names(url) == [NAME]
        other = chat_model(model.parent / "other")
        assert tree(load_host_settings().state_dir) == state
        world.declare("another", source={"path": str(other)})
        world.reconcile("-y")
        assert names(url) == ["another", NAME]
        process.send_signal(number)
        rest, talk = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")
    assert talk.startswith("Serving 1 model of testhost.")
    assert '"GET /v1/models HTTP/1.1" 200' in talk
    assert talk.endswith("Ended.\n")
    assert "warning" not in talk


def test_the_proxys_variables_show_more(world: World, model: Path) -> None:
    chat_model(world.folder / "weights/t")
    world.declare("mine-testzzz", source={"path": str(world.folder / "weights/t")})
    world.reconcile("-y")
    model.rename(model.with_name("moved away"))
    with serving(world, "--quiet") as (_, url):
        assert names(url) == []
    with serving(world, CHAT_PROXY_INCLUDE_TEST_MODELS="1", CHAT_PROXY_INCLUDE_NON_INSTALLED="1") as (_, url):
        assert names(url) == ["mine-testzzz", NAME]
    with serving(world, CHAT_PROXY_INCLUDE_TEST_MODELS="0", CHAT_PROXY_INCLUDE_NON_INSTALLED="true") as (_, url):
        assert names(url) == [NAME]


def test_it_warns_when_others_can_reach_it(world: World) -> None:
    with serving(world, "--host", "0.0.0.0", "--insecure") as (process, url):  # noqa: S104 # what is to be warned of
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=60)
    assert url.startswith("http://0.0.0.0:")
    assert "warning: listening on 0.0.0.0: everybody who can reach this machine" in talk


def test_a_taken_port_is_one_clear_error(world: World) -> None:
    with serving(world) as (_, url):
        taken = url.rpartition(":")[2].removesuffix("/v1")
        result = command("serve", "--port", taken, "--registry", world.root)
    assert result.code == 1
    assert f"error: cannot listen on 127.0.0.1:{taken}: " in result.err
