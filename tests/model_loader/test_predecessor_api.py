"""The calls and attributes of the predecessor's document and of its consumers, against a real registry."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.model_loader import CapabilityError, get_entry, list_models, load_registry, select_by_role, select_model
from imageworks.model_loader.download_adapter import RecordError, record_download
from imageworks.model_loader.models import RegistryEntry
from imageworks.model_loader.role_selection import list_models_for_role
from imageworks.model_loader.testing_filters import is_testing_entry
from imageworks.tools import model_downloader
from imageworks.tools.model_downloader import ModelDownloader
from imageworks.tools.model_downloader.config import get_config
from support.found import put
from support.reconcile import MODEL, REPO, World

VARIANT = "tiny-7b-vllm-awq"


@pytest.fixture(autouse=True)
def registry(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(world.root))
    return world


@pytest.fixture
def folder(world: World) -> Path:
    return put(world.folder / "my models/acme/tiny-7b-awq")


def test_p10_record_download_takes_all_that_its_callers_pass(world: World, folder: Path) -> None:
    entry = record_download(
        hf_id="acme/tiny-7b-awq",
        backend="vllm",
        format_type="awq",
        quantization=None,
        path=str(folder),
        location="linux_wsl",
        files=["model.safetensors", "not-there.bin"],
        size_bytes=1,
        source_provider="hf",
        roles=["caption", "keywords"],
        role_priority={"caption": 90},
        family_override=None,
        served_model_id="tiny-served",
        extra_metadata={"branch": "main", "acquisition": "installed", "nothing": None, "model_type": "wrong"},
        display_name="Tiny of ours",
    )
    assert (entry.name, entry.display_name, entry.served_model_id) == (VARIANT, "Tiny of ours", "tiny-served")
    assert "not-there.bin" not in entry.download_files
    assert entry.download_size_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert entry.source_provider == "huggingface"
    assert (entry.roles, entry.role_priority) == (("caption", "keywords"), {"caption": 90})
    assert entry.metadata["branch"] == "main"
    assert entry.metadata["acquisition"] == "adopted"
    assert "nothing" not in entry.metadata
    assert entry.managed
    world.check()
    assert world.reconcile("--dry-run", "--detailed-exitcode").code == 0
    before = world.head()
    again = record_download(
        hf_id="acme/tiny-7b-awq", backend="vllm", format_type="awq", quantization=None, path=str(folder), location=None
    )
    assert (again, world.head()) == (entry, before)
    more = record_download(hf_id="acme/tiny-7b-awq", backend="vllm", path=str(folder), roles=["description"])
    assert more.roles == ("caption", "description", "keywords")
    assert list_models_for_role("description") == [VARIANT]


def test_p10_a_model_in_ollama_is_not_looked_for_in_a_folder(world: World) -> None:
    before = world.head()
    with pytest.raises(RecordError) as refused:
        record_download(backend="ollama", path="ollama://qwen2.5vl:7b", source_provider="ollama")
    assert "import-ollama" in str(refused.value.remedy)
    assert world.head() == before


def test_p10_a_download_has_the_fields_of_its_entry(world: World) -> None:
    world.serve()
    model = ModelDownloader().download(REPO)
    assert model.download_path == str(world.weights / REPO)
    entry = get_entry(model.name)
    for name in (
        *(
            "download_format",
            "download_location",
            "download_size_bytes",
            "download_files",
            "download_directory_checksum",
        ),
        *(
            "downloaded_at",
            "backend",
            "backend_config",
            "capabilities",
            "metadata",
            "served_model_id",
            "artifacts",
            "family",
        ),
    ):
        assert getattr(model, name) == getattr(entry, name), name
    again = copy.deepcopy(model)
    assert again == model
    with pytest.raises(AttributeError):
        _ = model.nothing_of_the_kind


def test_p10_statistics_are_a_mapping_too(world: World) -> None:
    world.serve()
    downloader = ModelDownloader()
    model = downloader.download(REPO)
    stats = downloader.get_stats()
    assert stats["total_models"] == stats.models == 1
    assert stats["total_size_bytes"] == model.size_bytes
    assert stats["by_format"] == {"safetensors": 1}
    assert stats["by_location"] == {"linux_wsl": 1}
    assert json.loads(json.dumps(dict(stats)))["total_models"] == 1
    assert stats.get("nothing") is None


def test_p10_what_is_no_model_does_not_verify() -> None:
    assert ModelDownloader().verify_model("nope") is False


def test_p10_the_adapter_is_reached_from_the_downloader_too() -> None:
    assert model_downloader.record_download is record_download
    assert model_downloader.list_downloads() == []


@pytest.fixture(name="served")
def declared_models(world: World) -> World:
    vision, files = json.dumps({"model_type": "llava", "vision_config": {"depth": 2}}).encode(), dict(MODEL)
    world.serve({**files, "config.json": vision, "chat_template.jinja": b"{{ messages }}"}, "acme/eyes-7b")
    world.serve()
    roles = ["caption", "embedding"]
    world.declare(
        "eyes", source={"huggingface": "acme/eyes-7b"}, backend="vllm", role_priority={"caption": 5}, roles=roles
    )
    config = {"port": 8001, "host": "gpu1", "extra_args": ["--x"]}
    world.declare("blind", backend="lmdeploy", role_priority={"caption": 99}, backend_config=config, roles=roles)
    world.declare("far", source={"huggingface": "acme/nowhere"}, hosts=["elsewhere"], backend="vllm", roles=roles)
    world.declare("old", source={"path": str(world.weights / "none")}, deprecated=True, roles=roles)
    world.reconcile(code=1)
    return world


def test_p11_a_role_gives_a_model_that_can_see(served: World) -> None:
    del served
    assert select_by_role("caption") == "eyes"
    assert select_by_role("embedding", preferred=["nope", "blind"]) == "blind"
    with pytest.raises(CapabilityError):
        select_by_role("caption", require_capabilities=["audio"])
    with pytest.raises(RuntimeError):
        select_by_role("nobody has it")
    assert set(list_models()) == set(load_registry()) >= {"eyes", "blind"}


def test_p11_a_model_says_how_it_is_reached(served: World) -> None:
    del served
    chosen = select_model("eyes", require_capabilities=["vision"])
    assert (chosen.endpoint_url, chosen.backend) == ("http://localhost:24001/v1", "vllm")
    assert chosen.internal_model_id == get_entry("eyes").served_model_id
    assert chosen.capabilities["vision"] is True
    assert select_model("blind").endpoint_url == "http://gpu1:8001/v1"
    with pytest.raises(CapabilityError):
        select_model("blind", require_capabilities=["vision"])
    with pytest.raises(KeyError):
        select_model("nope")


def test_p11_attributes_are_there_as_consumers_read_them(served: World) -> None:
    entry = get_entry("eyes")
    assert entry.chat_template.path == str(served.weights / "acme/eyes-7b/chat_template.jinja")
    assert entry.chat_template["path"] == "chat_template.jinja"
    assert entry.generation_defaults.temperature is None
    assert entry.probes.vision is None
    assert entry.backend_alternatives == ()
    assert get_entry("blind").chat_template.path is None
    assert is_testing_entry(entry.name, entry) is False
    assert is_testing_entry("x-testzzz-vllm", entry) is True


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("imageworks.apps.color_narrator", "select_by_role"),
        ("imageworks.tools.model_downloader.registry", "record_download"),
    ],
)
def test_p11_what_is_not_ours_says_whom_to_ask(module: str, words: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    assert f"ImportError: {'ColorNarrator' if 'color' in module else module} is" in done.stderr
    assert words in done.stderr


def test_p11_folders_are_asked_for_as_other_applications_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_config().linux_wsl.root == world.weights.parent
    assert get_config().registry_path == world.root
    monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(world.folder / "elsewhere"))
    monkeypatch.setenv("IMAGEWORKS_LMSTUDIO_ROOT", str(world.folder / "studio"))
    assert get_config().linux_wsl.root == world.folder / "elsewhere"
    assert get_config().windows_lmstudio.root == world.folder / "studio"
    assert isinstance(get_config(), model_downloader.DownloaderConfig)
    assert RegistryEntry("nothing", "unassigned").chat_template.path is None


def test_p10_one_word_is_one_word_wherever_several_may_stand(world: World, folder: Path) -> None:
    world.serve()
    downloader = ModelDownloader()
    model = downloader.download(
        REPO, "safetensors", world.folder / "second", roles="caption", exclude="*.md", weights="model.safetensors"
    )
    assert model.path.is_relative_to(world.folder / "second")
    assert not (model.path / "README.md").exists()
    assert get_entry(model.name).roles == ("caption",)
    assert record_download(path=folder, backend="vllm", roles="keywords").roles == ("keywords",)
    with pytest.raises(CapabilityError, match="no vision"):
        select_model(model.name, require_capabilities="vision")
    with pytest.raises(CapabilityError, match="vision"):
        select_by_role("keywords", require_capabilities="vision", preferred="tiny")


def test_p10_what_is_not_known_of_a_model_may_be_none() -> None:
    found = model_downloader.FormatDetector().detect_comprehensive("acme/x-awq", None, None)
    assert [one.format_type for one in found] == ["awq"]
