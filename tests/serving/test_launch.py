"""The command lines that serve models, from a record and a folder."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from imageworks.host.settings import HostSettings, load_host_settings
from imageworks.registry.entries.entry import Entry
from imageworks.registry.entries.merge import HostModels
from imageworks.serving.command_line import LaunchError, Server, Wishes, command_line, target_of
from imageworks.serving.preflight import check, declared_template
from imageworks.serving.prepare import NOTHING_RECORDED, prepare
from support.serving import TEMPLATE, chat_model, merged
from support.transfer import gguf_content
from support.weights import safetensors_file


def line(model: Mapping[str, object], server: Server = Server.VLLM, **wishes: object) -> list[str]:
    target, _ = target_of(model, server, recorded=model)
    return command_line(server, target, Wishes(**wishes))  # type: ignore[arg-type] # by the names of its fields


def recorded(model: Mapping[str, object]) -> HostModels:
    return HostModels([model], {str(model["name"]): Entry(str(model["name"]), model)})


def test_vllm_gets_path_names_and_a_loopback_address() -> None:
    model = merged("m", "/my models/m", served_model_id="qwen", model_aliases=["qwen-vl", "qwen"])
    assert line(model) == [
        *("vllm", "serve", "/my models/m", "--served-model-name", "qwen", "qwen-vl", "--host=127.0.0.1")
    ]


def test_lmdeploy_has_its_own_words_for_the_same() -> None:
    model = merged("m", "/w/m", backend="lmdeploy", backend_config={"port": 24001, "host": "127.0.0.7"})
    assert line(model, Server.LMDEPLOY) == [
        *("lmdeploy", "serve", "api_server", "/w/m", "--model-name=m"),
        *("--server-name=127.0.0.7", "--server-port=24001"),
    ]


def test_ollama_is_asked_for_the_name_it_knows() -> None:
    model = merged("q", "/s/q", backend="ollama", served_model_id="qwen2.5vl:7b", model_aliases=["x"])
    assert line(model, Server.OLLAMA, extra=("--keepalive", "1h")) == [
        *("ollama", "run", "qwen2.5vl:7b", "--keepalive", "1h")
    ]


@pytest.mark.parametrize("name", ["host", "port"])
def test_options_win_over_the_manifests_arguments_and_words_after_the_dashes_over_both(name: str) -> None:
    extra = ["--host", "127.0.0.3", "--port=1", "--max-model-len", "8192"]
    model = merged("m", "/w/m", backend_config={"port": 24001, "host": "localhost", "extra_args": extra})
    own = line(model)
    assert own[4:] == extra
    asked = line(model, host="127.0.0.2", port=9)
    assert asked[4:] == ["--max-model-len", "8192", "--host=127.0.0.2", "--port=9"]
    words = line(model, host="127.0.0.2", port=9, extra=(f"--{name}", "7", "--max_model_len=1"))
    assert [word for word in words if word.startswith(f"--{name}")] == [f"--{name}"]
    assert words[-3:] == [f"--{name}", "7", "--max_model_len=1"]
    assert "8192" not in words


def test_a_model_for_another_server_leaves_its_arguments_and_says_so() -> None:
    model = merged("m", "/w/m", backend="lmdeploy", backend_config={"extra_args": ["--tp", "2"]}, deprecated=True)
    target, notes = target_of(model, Server.VLLM)
    assert target.extra == ()
    assert notes == ("m is deprecated", "m is declared for lmdeploy; its extra_args are left out")


@pytest.mark.parametrize(("backend", "remedy"), [("vllm", "launch vllm"), ("gguf", "with vllm or lmdeploy")])
def test_ollama_cannot_serve_what_is_not_its_own(backend: str, remedy: str) -> None:
    with pytest.raises(LaunchError, match="not one of Ollama's models") as caught:
        target_of(merged("m", "/w/m", backend=backend), Server.OLLAMA)
    assert remedy in str(caught.value.remedy)


@pytest.mark.parametrize("path", [None, "ollama://m"])
def test_a_model_without_files_cannot_be_served(path: str | None) -> None:
    with pytest.raises(LaunchError, match="m has no files on this host"):
        target_of(merged("m", path), Server.VLLM)


def test_only_ollama_reads_its_store() -> None:
    model = merged("m", "/home/me/.ollama/models", backend="ollama", source_provider="ollama")
    with pytest.raises(LaunchError, match="in Ollama's store") as caught:
        target_of(model, Server.VLLM)
    assert "launch ollama m" in str(caught.value.remedy)


# --- a look at the files -----------------------------------------------------------------------------------------


def warnings(server: Server, folder: Path) -> tuple[str, ...]:
    target, _ = target_of(merged("m", folder, backend=server.value), server)
    return check(server, target).warnings


@pytest.mark.parametrize("server", [Server.VLLM, Server.LMDEPLOY])
def test_a_complete_chat_model_is_nothing_to_warn_of(tmp_path: Path, server: Server) -> None:
    assert warnings(server, chat_model(tmp_path / "m")) == ()


@pytest.mark.parametrize("server", [Server.VLLM, Server.LMDEPLOY])
def test_a_missing_template_and_generation_config_are_told_before_it_starts(tmp_path: Path, server: Server) -> None:
    first, second = warnings(server, chat_model(tmp_path / "m", template=False, generation=False))
    assert first.startswith("m: no chat template: replies may be blank")
    assert second.startswith("m: no generation_config.json")


def test_a_missing_tokenizer_is_refused_unless_another_is_given(tmp_path: Path) -> None:
    folder = chat_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(LaunchError, match="no tokenizer is there"):
        warnings(Server.VLLM, folder)
    target, _ = target_of(merged("m", folder), Server.VLLM)
    assert check(Server.VLLM, target, words=("--tokenizer", "acme/base")).target.path == folder


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    folder = chat_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    with pytest.raises(LaunchError, match=r"not complete: .*shards 2 of 2 are missing") as caught:
        warnings(Server.VLLM, folder)
    assert "verify m --repair" in str(caught.value.remedy)


def test_weights_that_break_off_are_refused(tmp_path: Path) -> None:
    folder = chat_model(tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(safetensors_file({"w": ("F16", (16, 16), 512)})[:-100])
    with pytest.raises(LaunchError, match="not complete"):
        warnings(Server.VLLM, folder)


def test_a_folder_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="is not there"):
        warnings(Server.VLLM, tmp_path / "gone")


def test_vllm_is_given_the_one_gguf_file_and_lmdeploy_none(tmp_path: Path) -> None:
    for name in ("m-Q4_K_M.gguf", "mmproj-m.gguf"):
        (tmp_path / name).write_bytes(gguf_content(name, 300))
    model = merged("m", tmp_path, download_format="gguf")
    checked = check(Server.VLLM, target_of(model, Server.VLLM)[0])
    assert checked.target.path == tmp_path / "m-Q4_K_M.gguf"
    assert "experimental" in " ".join(checked.warnings)
    with pytest.raises(LaunchError, match=r"LMDeploy .* reads no GGUF"):
        check(Server.LMDEPLOY, target_of(model, Server.LMDEPLOY)[0])
    (tmp_path / "m-Q8_0.gguf").write_bytes(gguf_content("q8", 300))
    with pytest.raises(LaunchError, match="holds 2 GGUF files"):
        check(Server.VLLM, target_of(model, Server.VLLM)[0])


# --- chat templates ----------------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> HostSettings:
    return load_host_settings(start=tmp_path)


def templated(folder: Path, path: str, **fields: object) -> Mapping[str, object]:
    return merged("m", folder, chat_template={"source": "external", "path": path}, **fields)


def test_a_declared_template_is_given_to_vllm_and_silences_the_warning(tmp_path: Path, host: HostSettings) -> None:
    folder = chat_model(tmp_path / "w/m", template=False)
    (tmp_path / "registry/templates").mkdir(parents=True)
    (tmp_path / "registry/templates/my own.jinja").write_text(TEMPLATE, encoding="utf-8")
    model = templated(folder, "templates/my own.jinja")
    template = declared_template(model, tmp_path / "registry", host)
    checked = check(Server.VLLM, target_of(model, Server.VLLM)[0], template=template)
    assert checked.warnings == ()
    words = command_line(Server.VLLM, checked.target, Wishes())
    assert words[-1] == f"--chat-template={tmp_path}/registry/templates/my own.jinja"


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_a_template_that_the_loader_finds_by_itself_is_not_given(tmp_path: Path, host: HostSettings, name: str) -> None:
    folder = chat_model(tmp_path / "m", template=False)
    (folder / name).write_text(TEMPLATE, encoding="utf-8")
    template = declared_template(templated(folder, name), tmp_path, host)
    for server in (Server.VLLM, Server.LMDEPLOY):
        checked = check(server, target_of(merged("m", folder), server)[0], template=template)
        assert checked.target.template is None


@pytest.mark.parametrize(
    ("server", "name", "told"),
    [(Server.LMDEPLOY, "own.jinja", "LMDeploy takes its own JSON"), (Server.VLLM, "own.json", "vLLM takes a Jinja")],
)
def test_a_template_in_the_others_form_is_told_and_not_given(
    tmp_path: Path, host: HostSettings, server: Server, name: str, told: str
) -> None:
    folder = chat_model(tmp_path / "m")
    (folder / name).write_text(TEMPLATE, encoding="utf-8")
    template = declared_template(templated(folder, name), tmp_path, host)
    checked = check(server, target_of(merged("m", folder, backend=server.value), server)[0], template=template)
    assert checked.target.template is None
    assert told in " ".join(checked.warnings)


def test_lmdeploy_takes_its_own_description(tmp_path: Path, host: HostSettings) -> None:
    folder = chat_model(tmp_path / "m")
    (folder / "own.json").write_text("{}", encoding="utf-8")
    model = templated(folder, "own.json", backend="lmdeploy")
    template = declared_template(model, tmp_path, host)
    checked = check(Server.LMDEPLOY, target_of(model, Server.LMDEPLOY)[0], template=template)
    words = command_line(Server.LMDEPLOY, checked.target, Wishes())
    assert words[-1] == f"--chat-template={folder}/own.json"


def test_a_template_that_is_not_there_is_refused(tmp_path: Path, host: HostSettings) -> None:
    with pytest.raises(LaunchError, match=r"the chat template gone\.jinja is neither in"):
        declared_template(templated(chat_model(tmp_path / "m"), "gone.jinja"), tmp_path / "registry", host)


def test_a_template_outside_what_the_host_allows_is_refused(tmp_path: Path, host: HostSettings) -> None:
    """I8."""
    secret = tmp_path / "secret"
    secret.write_text("x", encoding="utf-8")
    folder = chat_model(tmp_path / "w/m")
    (tmp_path / "registry").mkdir()
    for named in (str(secret), "../../secret"):
        with pytest.raises(LaunchError, match="outside the folders that this host allows"):
            declared_template(templated(folder, named), tmp_path / "registry", host)


# --- a path instead of a name ------------------------------------------------------------------------------------


def test_a_path_is_served_without_any_registry(isolated_environment: Path, host: HostSettings) -> None:
    folder = chat_model(isolated_environment / "ai-models/weights/existing/Qwen 2 AWQ", generation=False)
    launch = prepare(
        NOTHING_RECORDED, None, host, Server.VLLM, "~/ai-models/weights/existing/Qwen 2 AWQ", Wishes(port=8)
    )
    assert launch.model is None
    assert list(launch.words) == [
        *("vllm", "serve", str(folder), "--served-model-name=Qwen 2 AWQ", "--host=127.0.0.1", "--port=8")
    ]
    assert launch.warnings == ("Qwen 2 AWQ: no generation_config.json: the server's own sampling defaults apply",)


def test_a_model_of_ollamas_needs_no_look_at_files(tmp_path: Path, host: HostSettings) -> None:
    model = merged("q-ollama-gguf", "ollama://q:7b", backend="ollama", served_model_id="q:7b")
    launch = prepare(recorded(model), tmp_path, host, Server.OLLAMA, "q:7b", Wishes())
    assert (launch.model, launch.words, launch.warnings) == ("q-ollama-gguf", ("ollama", "run", "q:7b"), ())


def test_the_path_of_a_recorded_model_is_served_as_it_is_declared(tmp_path: Path, host: HostSettings) -> None:
    folder = chat_model(tmp_path / "w/m")
    model = merged("m-vllm", folder, served_model_id="m", backend_config={"port": 5})
    launch = prepare(recorded(model), tmp_path, host, Server.VLLM, f"{folder}/", Wishes())
    assert launch.model == "m-vllm"
    assert launch.words[-1] == "--port=5"


def test_a_path_that_is_not_there_is_told(tmp_path: Path, host: HostSettings) -> None:
    with pytest.raises(LaunchError, match="gone is not there"):
        prepare(NOTHING_RECORDED, None, host, Server.VLLM, f"{tmp_path}/gone", Wishes())
