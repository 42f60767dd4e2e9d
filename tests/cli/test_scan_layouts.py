"""``scan`` of folders that other programs made: each model by its own name and kind, or passed over with the reason."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from support.reconcile import World, command
from support.transfer import content, tree
from support.weights import U32, gguf_file, safetensors_file
from support.world import started_world

__all__ = ["started_world"]

COMMIT, OLDER = "a" * 40, "b" * 40


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def single(seed: str) -> bytes:
    return safetensors_file({seed: ("F16", [4], 8)})


def gguf(seed: str) -> bytes:
    return gguf_file([("general.quantization_version", U32, 2)], data=content(seed, 400))


def scanned(world: World, base: Path, *words: str) -> tuple[dict[str, dict[str, object]], str]:
    """Scan, check I2, and return what is recorded by the file or folder it is, with what was said."""
    before = tree(base)
    result = command("scan", "--base", base, *words, "--registry", world.root)
    assert result.code == 0, result.err
    world.check()
    assert tree(base) == before, "nothing is moved or changed"
    entries = [world.entry(name) for name in world.entries()] if (world.root / "discovered").is_dir() else []
    return {str(Path(str(entry["download_path"])).relative_to(base)): entry for entry in entries}, result.err


COMFY = {
    "checkpoints/sd_xl_base_1.0.safetensors": b"checkpoint",
    "checkpoints/SD1.5/dreamshaper_8.safetensors": b"checkpoint",
    "loras/detail-tweaker.safetensors": b"lora",
    "vae/ae.safetensors": b"vae",
    "controlnet/control_v11p_canny.safetensors": b"controlnet",
    "text_encoders/clip_l.safetensors": b"text-encoder",
    "text_encoders/t5xxl_fp16.safetensors": b"text-encoder",
    "diffusion_models/flux1-dev.safetensors": b"diffusion-model",
    "embeddings/easynegative.safetensors": b"embedding",
    "upscale_models/4x-UltraSharp.safetensors": b"upscaler",
}


@pytest.mark.parametrize("base", ["ComfyUI/models", "ComfyUI", "."])
def test_o16_each_file_of_comfyui_is_a_model_of_its_own_kind(world: World, base: str) -> None:
    folder = world.folder / "apps"
    files = {f"ComfyUI/models/{name}": single(name) for name in COMFY}
    put(folder, {**files, "ComfyUI/models/checkpoints/put_checkpoints_here": b""})
    found, _ = scanned(world, folder / base)
    inside = Path("ComfyUI/models").relative_to(base) if base != "." else Path("ComfyUI/models")
    kinds = {Path(path).relative_to(inside).as_posix(): entry["metadata"] for path, entry in found.items()}
    assert {path: str(said["kind"]) for path, said in kinds.items()} == {  # type: ignore[index] # a mapping
        path: kind.decode() for path, kind in COMFY.items()
    }
    assert {entry["backend"] for entry in found.values()} == {"unassigned"}
    again, _ = scanned(world, folder / base)
    assert again == found


def test_o16_forges_folders_and_one_category_alone_are_known_too(world: World) -> None:
    base = put(
        world.folder / "forge/models",
        {
            "Stable-diffusion/a.safetensors": single("a"),
            "Stable-diffusion/b.ckpt": b"PK",
            "Lora/c.safetensors": single("c"),
        },
    )
    found, _ = scanned(world, base)
    assert sorted(found) == ["Lora/c.safetensors", "Stable-diffusion/a.safetensors", "Stable-diffusion/b.ckpt"]
    result = command("scan", "--base", base / "Lora", "--dry-run", "--registry", world.root)
    assert "Scan: 0 to record, 1 recorded already." in result.out


def test_o16_same_names_in_two_categories_are_two_models(world: World) -> None:
    files = {"checkpoints/flux.safetensors": single("a"), "vae/flux.safetensors": single("b")}
    found, _ = scanned(world, put(world.folder / "models", files))
    assert len({entry["name"] for entry in found.values()}) == 2


def test_o16_a_folder_of_several_whole_models_is_not_one(world: World) -> None:
    files = {"mine/a.safetensors": single("a"), "mine/b.safetensors": single("b"), "acme/repo/README.md": b"# One\n"}
    files |= {"acme/repo/a.safetensors": single("c"), "acme/repo/b.safetensors": single("d")}
    found, _ = scanned(world, put(world.folder / "models", files))
    assert sorted(found) == ["acme/repo", "mine/a.safetensors", "mine/b.safetensors"]


def cached(hub: Path, repo: str, commit: str, files: dict[str, bytes], ref: str | None = "main") -> Path:
    """Write a repository into a Hugging Face cache as its library does: blobs by digest, snapshots of links."""
    folder = hub / f"models--{repo.replace('/', '--')}"
    for name, data in files.items():
        blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link = folder / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if ref:
        put(folder, {f"refs/{ref}": commit.encode()})
    return folder


MODEL = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}", "model.safetensors": single("cached")}


@pytest.mark.parametrize("base", ["huggingface", "huggingface/hub", "huggingface/hub/models--acme--tiny-1b"])
def test_o16_the_hugging_face_cache_is_recorded_by_repository_and_commit(world: World, base: str) -> None:
    hub = world.folder / "cache/huggingface/hub"
    folder = cached(hub, "acme/tiny-1b", COMMIT, MODEL)
    cached(hub, "acme/tiny-1b", OLDER, {**MODEL, "model.safetensors": single("older")}, ref=None)
    put(hub, {"version.txt": b"1", "datasets--acme--data/snapshots/x/data.parquet": b"x", ".locks/x": b""})
    found, said = scanned(world, world.folder / "cache" / base)
    resolved = {Path(path).name: entry["resolved"] for path, entry in found.items()}
    assert resolved == {
        COMMIT: {"repo": "acme/tiny-1b", "revision": COMMIT, "ref": "main"},
        OLDER: {"repo": "acme/tiny-1b", "revision": OLDER, "ref": None},
    }
    by_commit = {Path(path).name: entry for path, entry in found.items()}
    entry = by_commit[COMMIT]
    names = [str(by_commit[commit]["name"]) for commit in (COMMIT, OLDER)]
    assert names == ["tiny-1b-vllm-fp16", "acme-tiny-1b-vllm-fp16"], "what a branch names has the plain name"
    assert entry["download_path"] == str(folder / "snapshots" / COMMIT)
    assert entry["metadata"]["acquisition"] == "adopted"  # type: ignore[index] # a mapping
    assert entry["verification"] == "trust-on-first-use"
    assert ("datasets--acme--data" in said) is (not base.endswith("1b"))
    assert command("verify", "--registry", world.root).code == 0


def test_o16_a_snapshot_with_a_link_that_leads_nowhere_is_passed_over(world: World) -> None:
    hub = world.folder / "hub"
    folder = cached(hub, "acme/tiny-1b", COMMIT, MODEL)
    os.remove(folder / "blobs" / hashlib.sha256(MODEL["model.safetensors"]).hexdigest())  # noqa: PTH107 # one call
    cached(hub, "acme/whole", COMMIT, MODEL)
    found, said = scanned(world, hub)
    assert list(found) == [f"models--acme--whole/snapshots/{COMMIT}"]
    assert "models--acme--tiny-1b" in said


def test_o16_damaged_bytes_in_the_cache_are_not_recorded(world: World) -> None:
    folder = cached(world.folder / "hub", "acme/tiny-1b", COMMIT, MODEL)
    (folder / "blobs" / hashlib.sha256(MODEL["model.safetensors"]).hexdigest()).write_bytes(single("other"))
    result = command("scan", "--base", world.folder / "hub", "--registry", world.root)
    assert result.code == 1
    assert "model.safetensors is damaged" in result.err
    assert not (world.root / "discovered").exists()


def test_o16_a_link_out_of_the_cache_is_not_followed(world: World) -> None:
    """I8."""
    folder = cached(world.folder / "hub", "acme/tiny-1b", COMMIT, MODEL)
    (world.folder / "secret.safetensors").write_bytes(single("secret"))
    (folder / f"snapshots/{COMMIT}/more.safetensors").symlink_to(world.folder / "secret.safetensors")
    found, said = scanned(world, world.folder / "hub")
    assert found == {}
    assert "leads out of" in said


def test_o16_llama_cpps_cache_gives_repositories(world: World) -> None:
    base = put(
        world.folder / "llama.cpp",
        {
            "manifest=acme=tiny-GGUF=latest.json": b"{}",
            "acme_tiny-GGUF_tiny-Q4_K_M.gguf": gguf("a"),
            "acme_tiny-GGUF_mmproj-tiny-f16.gguf": gguf("b"),
            "acme_tiny-GGUF_tiny-Q4_K_M.gguf.etag": b"x",
        },
    )
    found, said = scanned(world, base)
    (entry,) = found.values()
    assert (entry["family"], entry["backend"], entry["quantization"]) == ("tiny", "gguf", "q4_k_m")
    assert "the projector of acme/tiny-GGUF" in said


def test_o16_ramalamas_store_gives_single_files(world: World) -> None:
    model = world.folder / "ramalama/store/huggingface/acme/tiny-GGUF"
    put(model, {"blobs/sha256-1": gguf("a"), "refs/latest.json": b"{}"})
    link = model / "snapshots/sha256-2/tiny-Q4_K_M.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../blobs/sha256-1")
    found, _ = scanned(world, world.folder / "ramalama")
    (entry,) = found.values()
    assert (entry["family"], entry["quantization"]) == ("tiny", "q4_k_m")


@pytest.mark.parametrize("name", ["models", "anything"])
def test_o16_stores_that_only_their_program_reads_are_passed_over_by_name(world: World, name: str) -> None:
    listed = {"models": [{"id": "sha256:1", "tags": ["ai/smollm2:360M-Q4_K_M"], "files": ["sha256:2"]}]}
    files = {"layout.json": b'{"version": "1.0.0"}', "models.json": json.dumps(listed).encode(), "blobs/sha256/2": b"G"}
    found, said = scanned(world, put(world.folder / "docker" / name, files))
    assert found == {}
    assert "ai/smollm2:360M-Q4_K_M: in Docker Model Runner's store" in said
    ollama = put(
        world.folder / "ollama" / name, {"manifests/registry.ollama.ai/library/q/7b": b"{}", "blobs/sha256-1": b""}
    )
    found, said = scanned(world, ollama)
    assert found == {}
    assert "import-ollama" in said


def test_o16_folders_in_a_circle_end(world: World) -> None:
    base = put(world.folder / "models/checkpoints", {"a.safetensors": single("a")})
    (base / "again").symlink_to(base)
    found, _ = scanned(world, base.parent)
    assert list(found) == ["checkpoints/a.safetensors"]
