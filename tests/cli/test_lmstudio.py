"""LM Studio's folder as a location, and the models that LM Studio brought there itself."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from support.reconcile import HOST, Result, World, command
from support.transfer import content
from support.weights import U32, gguf_file

PUBLISHER = "lmstudio community"
MODEL = "Seer-7B-GGUF"
FOLDER = f"{PUBLISHER}/{MODEL}"
REPO = "acme/Seer-7B-GGUF"
LOCATION = {
    "locations": {
        "linux_wsl": {"path": "~/unused"},
        "lmstudio": {"path": "~/.lmstudio/models", "layout": "publisher/repo", "kind": "lmstudio"},
    },
    "routing": {"gguf": "lmstudio", "default": "linux_wsl"},
}


def gguf(seed: str) -> bytes:
    return gguf_file([("general.quantization_version", U32, 2)], data=content(seed, 400))


SEER = {"Seer-7B-Q4_K_M.gguf": gguf("four"), "mmproj-Seer-7B-f16.gguf": gguf("eyes")}
QUANTS = {**SEER, "Seer-7B-Q8_0.gguf": gguf("eight"), "README.md": b"# Seer\n"}


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def drift(world: World) -> dict[str, str]:
    listed = world.plan().json["drift"]
    assert isinstance(listed, list)
    return {item["name"]: item["message"] for item in listed}


def scan(world: World, base: Path) -> Result:
    result = command("scan", "--base", base, "--registry", world.root)
    assert result.code == 0, result
    world.check()
    return result


@pytest.fixture
def studio(isolated_environment: Path) -> Path:
    folder = isolated_environment / ".lmstudio/models"
    folder.mkdir(parents=True)
    return folder


def test_what_lm_studio_downloaded_is_drift_until_it_is_recorded(world: World, studio: Path) -> None:
    put(studio / FOLDER, {**SEER, "Seer-7B-Q8_0.gguf.part": b"half"})
    put(studio / "someone/empty", {"readme.txt": b""})
    ((name, message),) = drift(world).items()
    assert name == FOLDER
    assert f"found in LM Studio at {studio / FOLDER} (2 files, " in message
    assert f"`scan --base '{studio}'` records it" in message
    assert "No changes" in world.reconcile("--detailed-exitcode").out
    assert world.status()[FOLDER] == ("undeclared", "no-files", "undeclared")
    (studio / FOLDER / "Seer-7B-Q8_0.gguf.part").unlink()
    scan(world, studio)
    assert drift(world) == {}


def test_a_scan_records_it_as_lm_studio_serves_it(world: World, studio: Path) -> None:
    put(studio / FOLDER, SEER)
    scan(world, studio)
    (name,) = world.entries()
    assert name == "seer-7b-lmstudio-gguf-q4_k_m"
    entry = world.entry(name)
    assert entry["backend"] == "lmstudio"
    assert entry["served_model_id"] == f"{FOLDER}/Seer-7B-Q4_K_M.gguf"
    assert entry["download_path"] == str(studio / FOLDER)
    assert entry["download_files"] == ["Seer-7B-Q4_K_M.gguf", "mmproj-Seer-7B-f16.gguf"]
    capabilities = entry["capabilities"]
    assert isinstance(capabilities, dict)
    assert capabilities["vision"] is True
    assert world.snapshot()[name]["backend"] == "lmstudio"
    before = world.head()
    scan(world, studio)
    assert world.head() == before


def test_each_quantization_is_a_model_and_the_projector_stays_beside_them(world: World, studio: Path) -> None:
    put(studio / FOLDER, QUANTS)
    scan(world, studio)
    assert {name: world.entry(name)["served_model_id"] for name in world.entries()} == {
        "seer-7b-lmstudio-gguf-q4_k_m": f"{FOLDER}/Seer-7B-Q4_K_M.gguf",
        "seer-7b-lmstudio-gguf-q8_0": f"{FOLDER}/Seer-7B-Q8_0.gguf",
    }
    assert all((studio / FOLDER / name).read_bytes() == data for name, data in QUANTS.items())
    assert drift(world) == {}


@pytest.mark.parametrize("place", ["{}", "alone/{}", "one/two/three/{}"])
def test_what_stands_at_another_depth_is_nothing_to_lm_studio(world: World, studio: Path, place: str) -> None:
    put(studio, {place.format("Seer-7B-Q4_K_M.gguf"): SEER["Seer-7B-Q4_K_M.gguf"]})
    assert drift(world) == {}
    scan(world, studio)
    assert [world.entry(name)["backend"] for name in world.entries()] == ["gguf"]


def test_models_are_installed_where_lm_studio_sees_them_with_their_projector(world: World, studio: Path) -> None:
    world.serve(QUANTS, REPO)
    world.configure(**LOCATION, hosts={HOST: {}})
    for label in ("q4_k_m", "q8_0"):
        world.declare(f"seer-{label}", source={"huggingface": REPO}, quantization=label)
    world.reconcile()
    below = sorted(path.relative_to(studio).as_posix() for path in studio.rglob("*.gguf"))
    assert below == sorted(f"{REPO}/{name}" for name in QUANTS if name.endswith(".gguf"))
    assert drift(world) == {}
    assert command("remove", "seer-q8_0", "--delete-files", "--force", "--registry", world.root).code == 0
    assert sorted(path.name for path in (studio / REPO).glob("*.gguf")) == sorted(SEER)
    assert "No changes" in world.reconcile("--detailed-exitcode").out


def test_what_lm_studio_downloaded_is_adopted_where_it_is_declared(world: World, studio: Path) -> None:
    world.serve({**SEER, "README.md": b"# Seer\n"}, REPO)
    put(studio / REPO, {**SEER, "README.md": b"# Seer\n"})
    world.configure(**LOCATION, hosts={HOST: {}})
    world.declare("seer", source={"huggingface": REPO})
    assert drift(world) == {}
    assert world.plan().changes == {"seer": ("adopt", "found")}
    world.reconcile()
    assert world.entry("seer")["download_files"] == ["README.md", "Seer-7B-Q4_K_M.gguf", "mmproj-Seer-7B-f16.gguf"]


def test_a_model_without_a_publisher_gets_one(world: World, studio: Path) -> None:
    world.configure(**LOCATION, hosts={HOST: {}})
    source = world.weights / "mine"
    put(source, {"mine-Q4_K_M.gguf": gguf("mine")})
    world.declare("mine", source={"path": str(source)}, location="lmstudio")
    world.reconcile()
    assert (studio / "local/mine/mine-Q4_K_M.gguf").read_bytes() == gguf("mine")
    assert drift(world) == {}


def test_a_plan_warns_of_weights_that_lm_studio_would_not_see(world: World, studio: Path) -> None:
    world.serve({"Q4_K_M/Seer-7B-Q4_K_M.gguf": SEER["Seer-7B-Q4_K_M.gguf"]}, REPO)
    world.configure(**LOCATION, hosts={HOST: {}})
    world.declare("seer", source={"huggingface": REPO})
    warning = "LM Studio looks only directly in publisher/model, so it will not see Q4_K_M/Seer-7B-Q4_K_M.gguf"
    assert warning in world.reconcile("--dry-run").out
    world.declare("seer", source={"huggingface": REPO}, location=str(studio))
    assert warning in world.reconcile("--dry-run").out
    world.declare("seer", source={"huggingface": REPO}, location="linux_wsl")
    assert "LM Studio looks" not in world.reconcile("--dry-run").out
