"""What a scan records of what is on a disk: kinds 1, 3, 9, 13 and 14 of the reports, each with its neighbours."""

import io
import json
import zipfile

import pytest

from cli.test_scan import put, recorded, scan
from support.reconcile import World
from support.weights import BOOL, STRING, U32, gguf_file, safetensors_file

CONFIG = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "float16"}).encode()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 4976698672\n"
PAGE = b"<!DOCTYPE html><html><head><title>404</title></head></html>" + b" " * 9000
MODEL = gguf_file(
    [("general.architecture", STRING, "llama"), ("general.file_type", U32, 15)],
    [("blk.0.ffn_up.weight", [256, 8], 12, 0)],
    data=b"\0" * 1152,
)
WEIGHTS = safetensors_file({"a.weight": ("F16", [8, 8], 128)})


def projector(**flags: bool) -> bytes:
    pairs = [("general.architecture", STRING, "clip"), *((f"clip.{key}", BOOL, value) for key, value in flags.items())]
    return gguf_file(pairs, [("mm.0.weight", [32], 0, 0)], data=b"\0" * 128)


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("a.txt", "x" * 3000)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("Good-7B-Q4_K_M.gguf", PAGE, "page of text"),
        ("Good-8B-Q4_K_M.gguf", POINTER, "Git LFS pointer"),
        ("C-7B-Q4_K_M.gguf", b"\0" * 30_000, "zeros"),
        ("B-7B-Q4_K_M.gguf", MODEL[:40], "more than such a file can hold"),
        ("A-7B-Q4_K_M.gguf", MODEL[:-500], "should have"),
        ("D-7B-Q4_0.gguf", b"GGUF\1\0\0\0" + MODEL[8:], "version is 1"),
        ("D-7B-Q4_0.gguf", WEIGHTS, "safetensors file under another name"),
        ("D-7B.gguf", gguf_file([("general.type", STRING, "imatrix")]), "importance matrix"),
        ("model.safetensors", PAGE, "page of text"),
        ("model.safetensors", POINTER, "Git LFS pointer"),
        ("model.safetensors", archive(), "ZIP archive"),
        ("model.safetensors", WEIGHTS[:-100], "should have"),
        ("model.safetensors", WEIGHTS[:30], "header leads to byte"),
        ("model.safetensors", MODEL, "GGUF file under another name"),
        ("model.safetensors", b"\0" * 30_000, "zeros"),
        ("model.safetensors", b'{"error": "Invalid username or password."}', "JSON text"),
        ("model.safetensors", b"Access to model x is restricted.", "message of a server"),
        ("pytorch_model.bin", POINTER, "Git LFS pointer"),
        ("pytorch_model.bin", PAGE, "page of text"),
        ("model.onnx", POINTER, "Git LFS pointer"),
    ],
)
def test_detection_kind_1_what_is_no_model_is_a_reason_and_no_entry(
    world: World, name: str, data: bytes, reason: str
) -> None:
    put(world.weights / "acme/broken", {name: data, "config.json": CONFIG, "tokenizer.json": b"{}"})
    put(world.weights / "acme/sound", {"model.safetensors": WEIGHTS, "config.json": CONFIG, "tokenizer.json": b"{}"})
    result = scan(world)
    (line,) = [line for line in (result.out + result.err).splitlines() if "acme/broken" in line]
    assert name in line
    assert reason in line
    assert recorded(world) == ["sound-vllm-fp16"]


def test_detection_kind_1_each_broken_file_of_a_folder_is_named(world: World) -> None:
    shards = {f"model-0000{number}-of-00002.safetensors": POINTER for number in (1, 2)}
    put(world.weights / "acme/broken", {**shards, "config.json": CONFIG})
    put(world.weights / "acme/many", {"A-Q4_K_M.gguf": MODEL, "A-Q8_0.gguf": PAGE})
    result = scan(world)
    told = [line for line in (result.out + result.err).splitlines() if "passed over" in line]
    assert sum("acme/broken" in line for line in told) == 2
    assert sum("A-Q8_0.gguf" in line for line in told) == 1
    assert recorded(world) == ["many-gguf-q4_k_m"]


FLAT = {
    "Qwen3.5-9B-Q4_K_M.gguf": MODEL,
    "gemma-4-26B-A4B-it-Q4_K_M.gguf": MODEL,
    "gemma-4-26B-A4B-it.mmproj-q8_0.gguf": projector(has_vision_encoder=True),
}


@pytest.mark.parametrize("folder", ["acme/flat", "flat", "."])
def test_detection_kind_14_models_of_one_flat_folder_have_their_own_names(world: World, folder: str) -> None:
    put(world.weights / folder, FLAT)
    scan(world)
    assert recorded(world) == ["gemma-4-26b-a4b-it-gguf-q4_k_m", "qwen3.5-9b-gguf-q4_k_m"]


@pytest.mark.parametrize("folder", ["acme/flat", "."])
def test_detection_kind_9_a_projector_serves_its_own_model_alone(world: World, folder: str) -> None:
    put(world.weights / folder, FLAT)
    scan(world)
    sees = {name: world.entry(name)["capabilities"]["vision"] for name in recorded(world)}  # type: ignore[index]
    assert sees == {"gemma-4-26b-a4b-it-gguf-q4_k_m": True, "qwen3.5-9b-gguf-q4_k_m": False}


def test_detection_kind_9_a_projector_is_no_model_whatever_it_is_called(world: World) -> None:
    put(
        world.weights / "acme/one", {"A-7B-Q4_K_M.gguf": MODEL, "vision-tower.gguf": projector(has_vision_encoder=True)}
    )
    put(world.weights / "acme/alone", {"tower.gguf": projector(has_audio_encoder=True)})
    result = scan(world)
    assert recorded(world) == ["one-gguf-q4_k_m"]
    assert world.entry("one-gguf-q4_k_m")["capabilities"]["vision"] is True  # type: ignore[index]
    assert any("acme/alone" in line and "projector" in line for line in (result.out + result.err).splitlines())


def test_detection_kind_9_a_projector_that_hears_gives_no_sight(world: World) -> None:
    put(
        world.weights / "acme/Voxtral",
        {"V-3B-Q4_K_M.gguf": MODEL, "mmproj-V-3B-Q8_0.gguf": projector(has_audio_encoder=True)},
    )
    scan(world)
    (name,) = recorded(world)
    flags = world.entry(name)["capabilities"]
    assert (flags["audio"], flags["vision"]) == (True, False)  # type: ignore[index]


def complete(world: World, name: str) -> dict[str, str]:
    conditions = world.entry(name)["conditions"]
    assert isinstance(conditions, list)
    return next(one for one in conditions if one["type"] == "Complete")


@pytest.mark.parametrize(
    ("config", "more", "status"),
    [
        ({"model_type": "siglip_vision_model", "architectures": ["SiglipVisionModel"]}, {}, "True"),
        ({"model_type": "vit", "architectures": ["ViTForImageClassification"]}, {}, "True"),
        ({"model_type": "encodec", "architectures": ["EncodecModel"]}, {}, "True"),
        ({"architecture": "resnet50", "num_classes": 1000, "pretrained_cfg": {}}, {}, "True"),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, {}, "False"),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, {"tokenizer.json": b"{}"}, "True"),
        ({"model_type": "mistral", "architectures": ["MistralForCausalLM"]}, {"tekken.json": b"{}"}, "True"),
    ],
)
def test_detection_kind_13_only_what_its_kind_needs_is_missing(
    world: World, config: dict[str, object], more: dict[str, bytes], status: str
) -> None:
    put(world.weights / "acme/kind", {"config.json": json.dumps(config).encode(), "model.safetensors": WEIGHTS, **more})
    scan(world)
    (name,) = recorded(world)
    assert complete(world, name)["status"] == status


def test_detection_kind_13_an_unreadable_config_is_told(world: World) -> None:
    put(world.weights / "acme/kind", {"config.json": b"{not json", "model.safetensors": WEIGHTS})
    scan(world)
    (name,) = recorded(world)
    assert complete(world, name)["reason"] == "UnreadableConfig"


def test_detection_kind_3_a_card_that_is_not_sound_is_told_and_read(world: World) -> None:
    card = b"---\nlicense: apache-2.0\t\nbase_model:\n\t- o/base\n---\n"
    put(world.weights / "acme/card", {"config.json": CONFIG, "model.safetensors": WEIGHTS, "README.md": card})
    scan(world)
    (name,) = recorded(world)
    entry = world.entry(name)
    assert entry["license"] == "apache-2.0"
    assert any("front matter" in one for one in entry["metadata"]["warnings"])  # type: ignore[index]


def test_detection_a_name_that_people_know_is_kept_when_a_model_is_described_anew(world: World) -> None:
    folder = world.weights / "acme/Plain-7B"
    put(folder, {"config.json": CONFIG, "model.safetensors": WEIGHTS})
    scan(world)
    put(folder, {"model.safetensors": safetensors_file({"a.weight": ("BF16", [8, 8], 128)})})
    scan(world, "--update-existing")
    assert recorded(world) == ["plain-7b-vllm-fp16"]
    assert world.entry("plain-7b-vllm-fp16")["quantization"] == "bf16"
