"""Launch is data, not code: what a registry may say of starting a server, through the command line and Python."""
# ruff: noqa: S104, S108, ANN401 # what is to be refused; manifests hold anything

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from imageworks.apps.vlm_backend import start_lmdeploy_server, start_vllm_server
from imageworks.registry.settings.server_options import QWEN3_RERANKER
from imageworks.registry.snapshot import SnapshotError
from imageworks.serving.command_line import LaunchError
from support.git import git
from support.reconcile import HOST, World, command
from support.recorded import write_snapshot
from support.serving import chat_model, program
from support.world import started_world

__all__ = ["started_world"]

NAME = "m-vllm"


def declared(world: World, *, backend: str = "vllm", **fields: Any) -> Path:
    folder = world.folder / "weights/acme/m"
    if not folder.exists():
        chat_model(folder)
    world.declare(NAME, source={"path": str(folder)}, backend=backend, **fields)
    world.reconcile("-y")
    return folder


def launch(world: World, *words: str, server: str = "vllm", code: int = 0) -> list[str]:
    result = command("launch", server, NAME, "--print", "--registry", world.root, *words)
    assert result.code == code, result
    return shlex.split(result.out) if code == 0 else [result.err]


@pytest.mark.parametrize(
    "fields",
    [
        {"served_model_id": "--trust-remote-code"},
        {"served_model_id": "-h"},
        {"model_aliases": ["good", "--trust-remote-code"]},
        {"backend_config": {"host": "--trust-remote-code"}},
    ],
)
def test_x5_no_name_of_a_manifest_can_be_an_option(world: World, fields: dict[str, Any]) -> None:
    world.declare(NAME, **fields)
    result = command("validate", "--registry", world.root)
    assert result.code == 1
    assert f"models/{NAME}.yaml:1:" in result.err + result.out


@pytest.mark.parametrize("field", ["served_model_id", "model_aliases"])
def test_x5_an_entry_that_was_changed_by_hand_gives_no_option_either(world: World, field: str) -> None:
    declared(world)
    file = world.root / f"discovered/{HOST}/{NAME}.json"
    entry = json.loads(file.read_bytes())
    entry[field] = "--trust-remote-code" if field == "served_model_id" else ["--trust-remote-code"]
    world.write(f"discovered/{HOST}/{NAME}.json", json.dumps(entry))
    write_snapshot(world)  # whoever changes the one can change the other
    assert "would take for an option" in launch(world, code=1)[0]


@pytest.mark.parametrize(
    ("server", "extra"),
    [
        ("vllm", ["--tool-parser-plugin", "/tmp/x.py"]),
        ("vllm", ["--tool_parser_plugin=/tmp/x.py"]),
        ("vllm", ["--trust-remote-code"]),
        ("vllm", ["--trust-remote"]),
        ("vllm", ["--middleware", "evil.Middleware"]),
        ("vllm", ["--logits-processors", "evil:Processor"]),
        ("vllm", ["--worker-extension-cls", "evil.Worker"]),
        ("vllm", ["--speculative-config", '{"model": "evil/draft"}']),
        ("vllm", ["--hf-overrides", '{"auto_map": {"AutoModel": "evil--x.Y"}}']),
        ("vllm", ["--load-format", "pt"]),
        ("vllm", ["--config", "/tmp/x.yaml"]),
        ("vllm", ["--chat-template", "/etc/passwd"]),
        ("vllm", ["--host", "0.0.0.0"]),
        ("vllm", ["--host=::"]),
        ("vllm", ["--allowed-origins", '["*"]']),
        ("vllm", ["--an-option-of-tomorrow"]),
        ("vllm", ["-z"]),
        ("vllm", ["/another/model"]),
        ("vllm", ["--dtype", "auto", "evil/another-model"]),
        ("vllm", ["--seed=1", "evil/another-model"]),
        ("lmdeploy", ["--tp", "2", "evil/another-model"]),
        ("lmdeploy", ["--trust-remote-code"]),
        ("lmdeploy", ["--server-name", "0.0.0.0"]),
        ("lmdeploy", ["--adapters", "/tmp/evil"]),
        ("lmdeploy", ["--speculative-draft-model", "evil/x"]),
        ("lmdeploy", ["--tool-parser-plugin", "x"]),
    ],
)
def test_x5_options_that_do_more_than_tune_are_a_persons_to_say(
    world: World, isolated_environment: Path, server: str, extra: list[str]
) -> None:
    declared(world, backend=server, backend_config={"extra_args": extra})
    said = launch(world, server=server, code=1)[0]
    assert "only you or this host's settings may say" in said
    with pytest.raises(LaunchError):
        (start_vllm_server if server == "vllm" else start_lmdeploy_server)(NAME, registry=world.root)
    if not extra[0].startswith("--"):
        return
    assert launch(world, "--", *extra, server=server)[-len(extra) :] == extra, "the remedy works"
    option = extra[0].partition("=")[0].replace("_", "-")
    world.user_config(isolated_environment, f'roots = ["{world.folder}"]\nallowed_launch_options = ["{option}"]\n')
    assert launch(world, server=server)[-len(extra) :] == extra, "and the lasting one"


@pytest.mark.parametrize(
    ("server", "extra"),
    [
        ("vllm", ["--max-model-len", "8192", "--gpu_memory_utilization=0.9", "-tp", "2", "-O3"]),
        ("vllm", ["--host", "127.0.0.1", "--load-format", "safetensors", "--no-enable-prefix-caching"]),
        (
            "vllm",
            [
                "--hf_overrides",
                json.dumps(QWEN3_RERANKER),
            ],
        ),
        ("lmdeploy", ["--tp", "2", "--session-len", "8192", "--backend", "pytorch", "--server-name=localhost"]),
    ],
)
def test_x5_options_that_tune_are_taken_from_the_manifest(world: World, server: str, extra: list[str]) -> None:
    declared(world, backend=server, backend_config={"extra_args": extra})
    words = launch(world, server=server)
    assert [word for word in words if word in extra] == extra


@pytest.mark.parametrize(("server", "option"), [("vllm", "--host"), ("lmdeploy", "--server-name")])
def test_x5_a_manifest_cannot_open_the_machine(
    world: World, isolated_environment: Path, server: str, option: str
) -> None:
    declared(world, backend=server, backend_config={"host": "0.0.0.0"})
    said = launch(world, server=server, code=1)[0]
    assert option in said
    assert f"{option}=127.0.0.1" in launch(world, "--host", "127.0.0.1", server=server)
    assert f"{option}=0.0.0.0" in launch(world, "--host", "0.0.0.0", server=server)
    world.user_config(isolated_environment, f'roots = ["{world.folder}"]\nallowed_launch_options = ["{option}"]\n')
    assert f"{option}=0.0.0.0" in launch(world, server=server)


@pytest.mark.parametrize("place", ["registry", "project"])
def test_x5_what_travels_with_a_repository_allows_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    declared(world, backend_config={"extra_args": ["--trust-remote-code"]})
    if place == "project":
        table = '[tool.imageworks.model-downloader]\nallowed_launch_options = ["--trust-remote-code"]\n'
        world.write("pyproject.toml", table)
        monkeypatch.chdir(world.root)
    else:
        world.configure(allowed_launch_options=["--trust-remote-code"])
    assert "--trust-remote-code" in launch(world, code=1)[0]


def test_x5_the_policy_against_remote_code_sees_options(world: World) -> None:
    world.configure(policies={"forbid_remote_code": True})
    world.declare(NAME, backend="vllm", backend_config={"extra_args": ["--max-model-len", "1", "--trust-remote-code"]})
    result = command("validate", "--registry", world.root)
    assert result.code == 1
    assert "policies.forbid_remote_code: --trust-remote-code" in result.err + result.out
    world.declare(NAME, backend="vllm", backend_config={"extra_args": ["--max-model-len", "1"]})
    assert command("validate", "--registry", world.root).code == 0


def test_x5_a_pull_request_shows_what_launch_would_run(world: World) -> None:
    declared(world, backend_config={"port": 24001})
    world.declare(
        NAME,
        source={"path": str(world.folder / "weights/acme/m")},
        backend="vllm",
        backend_config={"port": 24001, "extra_args": ["--tool-parser-plugin", "/tmp/x.py"]},
    )
    shown = command("reconcile", "--dry-run", "--format", "markdown", "--base", "HEAD~1", "--registry", world.root).out
    assert "--tool-parser-plugin /tmp/x.py" in shown
    assert "not obeyed unless the host allows it: `--tool-parser-plugin loads code or another model`" in shown
    assert "\nNo changes.\n" not in shown


def reviewed(world: World) -> str:
    words = ("reconcile", "--dry-run", "--format", "markdown", "--base", "HEAD~1", "--all-hosts")
    return command(*words, "--registry", world.root).out


@pytest.mark.parametrize(
    ("backend", "key", "before", "after", "said"),
    [
        ("vllm", "backend_config", {"port": 1}, {"port": 2}, "--port=2"),
        ("vllm", "backend_config", {"port": 1, "extra_args": ["--seed", "1"]}, None, "--seed"),
        ("lmdeploy", "backend_config", {"port": 1}, {"port": 2}, "--server-port=2"),
        ("lmdeploy", "served_model_id", "mine", "yours", "--model-name=yours"),
        ("gguf", "backend_config", {"port": 1}, {"base_url": "http://evil.example/v1"}, "http://evil.example/v1"),
        ("lmstudio", "backend_config", None, {"host": "evil.example", "port": 1}, "http://evil.example:1/v1"),
        ("ollama", "backend_config", {"port": 1}, {"host": "evil.example", "port": 1}, "http://evil.example:1/v1"),
        ("vllm", "model_aliases", ["a"], ["a", "gpt-4"], "gpt-4"),
        ("vllm", "chat_template", None, {"source": "external", "path": "/tmp/evil.jinja"}, "/tmp/evil.jinja"),
        ("vllm", "generation_defaults", {"temperature": 0}, {"temperature": 2}, '{"temperature": 2}'),
        ("vllm", "roles", ["tag"], ["tag", "caption"], '["tag", "caption"]'),
        ("vllm", "role_priority", {"tag": 1}, {"tag": 99}, '{"tag": 99}'),
        ("vllm", "deprecated", None, True, "`deprecated`: nothing → `true`"),
        ("unassigned", "roles", ["tag"], None, '`["tag"]` → nothing'),
    ],
)
def test_x5_each_thing_that_decides_what_runs_is_reviewed(
    world: World, backend: str, key: str, before: Any, after: Any, said: str
) -> None:
    source = {"ollama": "qwen2.5:7b"} if backend == "ollama" else {"path": str(world.weights / "acme/m")}
    for value in (before, after):
        fields: dict[str, Any] = {} if value is None else {key: value}
        world.declare(NAME, source=source, backend=backend, **fields)
    shown = reviewed(world)
    assert "**How servers are started**" in shown
    assert f"`{key}`" in shown
    assert said in shown


@pytest.mark.parametrize(("before", "after"), [("vllm", "lmdeploy"), ("vllm", "gguf"), ("gguf", "vllm")])
def test_x5_another_server_is_reviewed(world: World, before: str, after: str) -> None:
    for backend in (before, after):
        world.declare(NAME, source={"path": str(world.weights / "acme/m")}, backend=backend)
    assert f'`backend`: `"{before}"` → `"{after}"`' in reviewed(world)


def test_x5_a_model_that_is_started_no_more_is_reviewed(world: World) -> None:
    world.declare(NAME, source={"path": str(world.weights / "acme/m")}, backend="vllm", roles=["tag"])
    world.delete(NAME)
    shown = reviewed(world)
    assert f"- `{NAME}`: nothing instead of `vllm serve" in shown
    assert '`roles`: `["tag"]` → nothing' in shown


def test_x3_a_record_that_a_request_changes_is_reviewed(world: World) -> None:
    declared(world, backend_config={"port": 24001})
    file = f"discovered/{HOST}/{NAME}.json"
    entry = json.loads((world.root / file).read_bytes())
    world.write(file, json.dumps({**entry, "download_path": "/tmp/evil"}))
    shown = reviewed(world)
    assert f"**Records that this request changes:** `{NAME}`" in shown
    assert "No changes." not in shown.partition(f"#### Host `{HOST}`")[2].partition("####")[0]


def test_x5_what_decides_nothing_is_not_reviewed(world: World) -> None:
    for label in ("a", "b"):
        world.declare(NAME, source={"path": str(world.weights / "acme/m")}, backend="vllm", labels={"x": label})
    assert "How servers are started" not in reviewed(world)


# --- the snapshot is never obeyed ---------------------------------------------------------------------------------


def test_x3_a_forged_snapshot_is_never_obeyed(world: World) -> None:
    declared(world, roles=["caption"], backend_config={"port": 24001})
    (world.folder / "bin").mkdir()
    words = launch(world)
    resolved = command("resolve", "--role", "caption", "--all", "--json", "--registry", world.root).out
    (world.folder / "evil").mkdir()
    forged = json.loads((world.root / f"snapshot/{HOST}.json").read_bytes())
    forged[0] |= {
        "download_path": str(world.folder / "evil"),
        "backend_config": {"host": "0.0.0.0", "port": 1, "extra_args": ["--trust-remote-code"]},
    }
    world.write(f"snapshot/{HOST}.json", json.dumps([*forged, {**forged[0], "name": "another", "roles": ["caption"]}]))
    assert f"snapshot/{HOST}.json" in launch(world, code=1)[0]
    refused = command("resolve", "--role", "caption", "--all", "--json", "--registry", world.root)
    assert (refused.code, refused.out) == (1, "")
    with pytest.raises(SnapshotError):
        start_vllm_server(NAME, registry=world.root)
    world.reconcile()
    assert launch(world) == words, "the remedy works"
    assert command("resolve", "--role", "caption", "--all", "--json", "--registry", world.root).out == resolved
    record = program(world.folder / "bin", "vllm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(record.parent), prepend=":")
        assert start_vllm_server(NAME, registry=world.root).wait(timeout=60) == 0
    assert record.read_text(encoding="utf-8").splitlines() == words[1:]
    git(world.root, "rm", "--quiet", "--force", f"snapshot/{HOST}.json")
    world.commit("Remove the snapshot")
    assert launch(world) == words


def test_x4_a_template_is_the_one_whose_digest_the_manifest_says(world: World) -> None:
    text = "{{ messages }}\n"
    world.write("templates/chat.jinja", text)
    template = {"source": "external", "path": "templates/chat.jinja"}
    declared(world, chat_template=template | {"sha256": hashlib.sha256(text.encode()).hexdigest()})
    assert launch(world)[-1].endswith("templates/chat.jinja")
    world.write("templates/chat.jinja", "{{ evil }}\n")
    assert "chat_template.sha256" in launch(world, code=1)[0]
    declared(world, chat_template=template)  # without a digest, whatever stands there
    assert launch(world)[-1].endswith("templates/chat.jinja")


# --- Ollama -------------------------------------------------------------------------------------------------------


def recorded_in_ollama(world: World, **manifest: Any) -> None:
    entry = {
        "schema_version": 1,
        "name": NAME,
        "managed": True,
        "backend": "ollama",
        "served_model_id": "qwen2.5:7b",
        "source_provider": "ollama",
        "download_path": "ollama://qwen2.5:7b",
        "backend_config": {"host": "localhost", "port": 11434},
    }
    world.write(f"discovered/{HOST}/{NAME}.json", json.dumps(entry))
    world.declare(NAME, source={"ollama": "qwen2.5:7b"}, backend="ollama", **manifest)


def test_x5_ollama_runs_what_was_recorded_and_not_what_a_manifest_calls_it(world: World) -> None:
    recorded_in_ollama(world, served_model_id="evil.example/library/backdoor:latest")
    assert launch(world, server="ollama") == ["ollama", "run", "qwen2.5:7b"]
    world.delete(NAME)
    assert launch(world, server="ollama") == ["ollama", "run", "qwen2.5:7b"]


def test_x5_ollama_runs_nothing_that_is_not_recorded(world: World) -> None:
    world.declare(NAME, source={"ollama": "evil.example/library/backdoor:latest"}, backend="ollama")
    assert f"reconcile {NAME}" in launch(world, server="ollama", code=1)[0]


def test_x5_ollama_pulls_nothing_for_files_that_it_was_never_given(world: World) -> None:
    declared(world, backend="ollama")
    assert "is not recorded in Ollama's store" in launch(world, server="ollama", code=1)[0]


def test_x5_ollama_pulls_nothing_that_it_refused_before(world: World) -> None:
    recorded_in_ollama(world)
    file = f"discovered/{HOST}/{NAME}.json"
    entry = json.loads((world.root / file).read_bytes())
    entry["conditions"] = [{"type": "Ready", "status": "False", "reason": "NotInstalled", "message": "never installed"}]
    world.write(file, json.dumps(entry))
    assert "is not recorded in Ollama's store" in launch(world, server="ollama", code=1)[0]


@pytest.mark.parametrize(
    "words", [("--port", "9999"), ("--host", "0.0.0.0"), ("--host", ""), ("--port", "9999", "--host", "0.0.0.0")]
)
def test_o11_an_address_for_ollama_is_refused_with_the_variable_that_does_it(
    world: World, words: tuple[str, ...]
) -> None:
    recorded_in_ollama(world)
    said = launch(world, *words, server="ollama", code=64)[0]
    assert all(word in said for word in words if word.startswith("--"))
    assert "OLLAMA_HOST" in said


@pytest.mark.parametrize(
    ("server", "options"), [("vllm", ("--host", "--port")), ("lmdeploy", ("--server-name", "--server-port"))]
)
def test_o11_every_option_works_on_the_other_servers(world: World, server: str, options: tuple[str, str]) -> None:
    declared(world, backend=server)
    words = launch(world, "--host", "127.0.0.2", "--port", "9999", server=server)
    assert [f"{options[0]}=127.0.0.2", f"{options[1]}=9999"] == words[-2:]
    launch(world, "--host", "", server=server, code=64)
