"""What the one chosen model of several is called."""

import pytest

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.providers.selection.model import SelectionRequest
from imageworks.providers.selection.other_models import model_of
from imageworks.providers.selection.select import select

DUO = ["Duo-VL-2B-Q4_K_M.gguf", "Duo-VL-2B-Q8_0.gguf", "Duo-VL-8B-Q4_K_M.gguf", "mmproj-Duo-VL-2B-f16.gguf"]
TONGUES = ["english/model-Q4_K_M.gguf", "german/model-Q4_K_M.gguf"]
LORAS = ["loras/style_a.safetensors", "loras/style_b.safetensors", "vae/wan_vae.safetensors"]
SPLIT = [f"{size}/Big-{size}-Q8_0-0000{n}-of-00002.gguf" for size in ("7B", "70B") for n in (1, 2)]


@pytest.mark.parametrize(
    ("repo", "files", "request_", "name"),
    [
        ("acme/Duo-VL-GGUF", DUO, SelectionRequest(weights=("Duo-VL-2B-Q8_0.gguf",)), "duo-vl-2b"),
        ("acme/Duo-VL-GGUF", DUO, SelectionRequest(quantization="q8_0"), "duo-vl-2b"),
        ("acme/Duo-VL-GGUF", DUO, SelectionRequest(weights=("*Q4_K_M.gguf",)), None),
        ("acme/Duo-VL-GGUF", DUO[:2], SelectionRequest(quantization="q8_0"), None),
        ("acme/Tongues-GGUF", TONGUES, SelectionRequest(weights=("german/*",)), "tongues-german"),
        ("acme/Tongues-GGUF", TONGUES, SelectionRequest(subfolder="german"), "tongues-german"),
        ("acme/Two", ["tiny-Q8_0.gguf", "large-Q8_0.gguf"], SelectionRequest(weights=("tiny*",)), "two-tiny"),
        ("acme/Big-GGUF", SPLIT, SelectionRequest(weights=("7B/*",)), "big-7b"),
        (
            "acme/ears.cpp",
            ["ggml-tiny.bin", "ggml-base.bin"],
            SelectionRequest(weights=("*base.bin",)),
            "ears.cpp-ggml-base",
        ),
        ("acme/Wan", LORAS, SelectionRequest(weights=("*style_b*",)), "wan-style-b"),
        ("acme/Wan", LORAS, SelectionRequest(weights=("*vae.safetensors",)), "wan_vae"),
        ("acme/Wan", LORAS, SelectionRequest(), None),
        ("acme/plain", ["model.safetensors", "spk.pt"], SelectionRequest(weights=("model.safetensors",)), None),
        ("acme/plain", ["model.safetensors", "onnx/model.onnx"], SelectionRequest(subfolder="onnx"), None),
        ("acme/plain", ["model.safetensors", "v2/model.safetensors"], SelectionRequest(subfolder="v2"), "plain-v2"),
        ("acme/plain", ["v1/unet/model.safetensors", "v2/unet/model.safetensors", "v2/vae/model.safetensors"],
         SelectionRequest(subfolder="v2"), "plain-v2"),
        ("acme/plain", ["checkpoint-5/model.safetensors", "model.safetensors"],
         SelectionRequest(weights=("checkpoint-5/*",)), "plain-checkpoint-5"),
    ],
)  # fmt: skip
def test_d9_d10_a_model_of_several_is_called_by_what_tells_it(
    repo: str, files: list[str], request_: SelectionRequest, name: str | None
) -> None:
    listing = [RemoteFile(path, 1000, Digest(Algorithm.GIT_BLOB, "0" * 40), large=False) for path in files]
    assert model_of(repo, listing, select(listing, request_), request_) == name
    assert model_of(repo, listing[::-1], select(listing, request_), request_) == name
