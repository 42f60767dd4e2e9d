"""The Python door to servers, with small real programs in their place."""

from pathlib import Path

import pytest

from imageworks.apps.vlm_backend import start_lmdeploy_server, start_vllm_server
from imageworks.host.settings import load_host_settings
from imageworks.registry.entries.lookup import UnknownModelError
from imageworks.serving.command_line import LaunchError
from imageworks.serving.last_used import last_accessed
from support.reconcile import World
from support.serving import chat_model, program
from support.world import started_world

__all__ = ["started_world"]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "some programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def test_vllm_is_started_by_the_models_name_and_returned_running(world: World, programs: Path) -> None:
    record = program(programs, "vllm", code=3)
    folder = chat_model(world.folder / "weights/acme/llama-7b-awq")
    world.declare("llama-7b-instruct-awq", source={"path": str(folder)}, backend="vllm", model_aliases=["llama"])
    world.reconcile("-y")
    process = start_vllm_server(model_name="llama", port=8001, extra_args=["--max-model-len", "1"], registry=world.root)
    assert process.wait(timeout=60) == 3
    assert record.read_text(encoding="utf-8").splitlines() == [
        *("serve", str(folder), "--served-model-name", "llama-7b-instruct-awq", "llama", "--host=127.0.0.1"),
        *("--port=8001", "--max-model-len", "1"),
    ]
    assert list(last_accessed(load_host_settings().state_dir)) == ["llama-7b-instruct-awq"]


def test_lmdeploy_is_started_by_a_path_without_a_registry(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = program(programs, "lmdeploy")
    folder = chat_model(tmp_path / "my model", template=False)
    with pytest.warns(UserWarning, match="my model: no chat template") as told:
        assert start_lmdeploy_server(str(folder), host="127.0.0.9").wait(timeout=60) == 0
    assert told[0].filename == __file__
    assert record.read_text(encoding="utf-8").splitlines() == [
        *("serve", "api_server", str(folder), "--model-name=my model", "--server-name=127.0.0.9")
    ]


def test_a_program_that_is_not_there_or_cannot_run_is_an_error_of_ours(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = chat_model(tmp_path / "m")
    with pytest.raises(LaunchError, match="vllm not found on PATH") as caught:
        start_vllm_server(str(folder))
    assert "pip install vllm" in str(caught.value.remedy)
    script = programs / "vllm"
    script.write_text("#!/no/such/interpreter\n", encoding="utf-8")
    script.chmod(0o755)
    with pytest.raises(LaunchError, match="cannot be run"):
        start_vllm_server(str(folder))


def test_an_unknown_model_is_an_error_of_ours(world: World) -> None:
    with pytest.raises(UnknownModelError, match="nothing"):
        start_vllm_server("nothing", registry=world.root)
