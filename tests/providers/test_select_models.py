"""What the one chosen model of several is called."""

import pytest

from imageworks.providers.select import select
from imageworks.providers.select_models import model_of
from imageworks.providers.select_values import Request
from imageworks.transfer.digests import Algorithm, Digest
from imageworks.transfer.files import RemoteFile

DUO = ["Duo-VL-2B-Q4_K_M.gguf", "Duo-VL-2B-Q8_0.gguf", "Duo-VL-8B-Q4_K_M.gguf", "mmproj-Duo-VL-2B-f16.gguf"]
TONGUES = ["english/model-Q4_K_M.gguf", "german/model-Q4_K_M.gguf"]
LORAS = ["loras/style_a.safetensors", "loras/style_b.safetensors", "vae/wan_vae.safetensors"]
SPLIT = [f"{size}/Big-{size}-Q8_0-0000{n}-of-00002.gguf" for size in ("7B", "70B") for n in (1, 2)]


@pytest.mark.parametrize(
    ("repo", "files", "request_", "name"),
    [
        ("acme/Duo-VL-GGUF", DUO, Request(weights=("Duo-VL-2B-Q8_0.gguf",)), "duo-vl-2b"),
        ("acme/Duo-VL-GGUF", DUO, Request(quantization="q8_0"), "duo-vl-2b"),
        ("acme/Duo-VL-GGUF", DUO, Request(weights=("*Q4_K_M.gguf",)), None),
        ("acme/Duo-VL-GGUF", DUO[:2], Request(quantization="q8_0"), None),
        ("acme/Tongues-GGUF", TONGUES, Request(weights=("german/*",)), "tongues-german"),
        ("acme/Tongues-GGUF", TONGUES, Request(subfolder="german"), "tongues-german"),
        ("acme/Two", ["tiny-Q8_0.gguf", "large-Q8_0.gguf"], Request(weights=("tiny*",)), "two-tiny"),
        ("acme/Big-GGUF", SPLIT, Request(weights=("7B/*",)), "big-7b"),
        ("acme/ears.cpp", ["ggml-tiny.bin", "ggml-base.bin"], Request(weights=("*base.bin",)), "ears.cpp-ggml-base"),
        ("acme/Wan", LORAS, Request(weights=("*style_b*",)), "wan-style-b"),
        ("acme/Wan", LORAS, Request(weights=("*vae.safetensors",)), "wan_vae"),
        ("acme/Wan", LORAS, Request(), None),
        ("acme/plain", ["model.safetensors", "spk.pt"], Request(weights=("model.safetensors",)), None),
        ("acme/plain", ["model.safetensors", "onnx/model.onnx"], Request(subfolder="onnx"), None),
        ("acme/plain", ["model.safetensors", "v2/model.safetensors"], Request(subfolder="v2"), "plain-v2"),
        ("acme/plain", ["v1/unet/model.safetensors", "v2/unet/model.safetensors", "v2/vae/model.safetensors"],
         Request(subfolder="v2"), "plain-v2"),
        ("acme/plain", ["checkpoint-5/model.safetensors", "model.safetensors"],
         Request(weights=("checkpoint-5/*",)), "plain-checkpoint-5"),
    ],
)  # fmt: skip
def test_d9_d10_a_model_of_several_is_called_by_what_tells_it(
    repo: str, files: list[str], request_: Request, name: str | None
) -> None:
    listing = [RemoteFile(path, 1000, Digest(Algorithm.GIT_BLOB, "0" * 40), large=False) for path in files]
    assert model_of(repo, listing, select(listing, request_), request_) == name
    assert model_of(repo, listing[::-1], select(listing, request_), request_) == name
