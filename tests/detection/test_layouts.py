"""Known layouts by tables: names in, models out."""

from collections.abc import Collection

import pytest

from imageworks.detection.layouts import (
    CATEGORIES,
    FoundLayout,
    Layout,
    docker_models,
    hub_repository,
    layout_of,
    llama_cpp_models,
    ramalama_models,
    single_files,
)

A, B = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("name", "files", "folders", "layout"),
    [
        ("checkpoints", ["x.safetensors"], [], Layout.CATEGORY),
        ("Stable-diffusion", ["x.ckpt"], [], Layout.CATEGORY),
        ("Lora", [], [], Layout.CATEGORY),
        ("lora", ["adapter_config.json", "adapter_model.safetensors"], [], None),
        ("vae", ["config.json", "diffusion_pytorch_model.safetensors"], [], None),
        ("unet", ["x-00001-of-00002.safetensors", "model.safetensors.index.json"], [], None),
        ("models--acme--tiny", [], ["blobs", "refs", "snapshots"], Layout.HUB_REPOSITORY),
        ("models--acme--tiny", [], ["blobs"], None),
        ("datasets--acme--data", [], ["snapshots"], Layout.HUB_OTHER),
        ("hub", ["version.txt"], ["models--gpt2", ".locks"], Layout.HUB_CACHE),
        ("models", ["layout.json", "models.json"], ["blobs", "manifests"], Layout.DOCKER),
        ("models", [], ["blobs", "manifests"], Layout.OLLAMA),
        ("llama.cpp", ["manifest=a=b=latest.json", "a_b_c.gguf"], [], Layout.LLAMA_CPP),
        ("store", [], ["huggingface", "ollama"], Layout.RAMALAMA),
        ("models", [], ["checkpoints", "loras", "configs"], Layout.TOOL),
        ("sdxl", ["README.md"], ["vae", "unet", "text_encoder", "scheduler"], None),
        ("sdxl", ["model_index.json"], ["vae", "loras"], None),
        ("mine", ["a.safetensors", "b.safetensors"], [], Layout.SINGLES),
        ("mine", ["a.ckpt", "b.safetensors"], [], Layout.SINGLES),
        ("mine", ["a.safetensors"], [], None),
        ("mine", ["encoder.safetensors", "decoder.safetensors"], [], None),
        ("mine", ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"], [], None),
        ("mine", ["a.safetensors", "b.safetensors", "config.json"], [], None),
        ("mine", ["a.pth", "b.pth"], [], None),
        ("Q4", ["a.gguf", "b.gguf"], [], None),
        ("owner", ["README.md"], ["repo"], None),
    ],
)
def test_o16_a_folder_is_known_by_its_name_and_what_is_in_it(
    name: str, files: Collection[str], folders: Collection[str], layout: Layout | None
) -> None:
    assert layout_of(name, files, folders) is layout


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("checkpoints", "checkpoint"),
        ("loras", "lora"),
        ("lycoris", "lora"),
        ("vae", "vae"),
        ("controlnet", "controlnet"),
        ("text_encoders", "text-encoder"),
        ("diffusion_models", "diffusion-model"),
        ("embeddings", "embedding"),
        ("upscale_models", "upscaler"),
        ("clip_vision", "clip-vision"),
        ("stable-diffusion", "checkpoint"),
        ("esrgan", "upscaler"),
    ],
)
def test_o16_categories_say_the_kind(folder: str, kind: str) -> None:
    assert CATEGORIES[folder] == kind
    assert [one.kind for one in single_files(["sub/x.safetensors", "put_here.txt", "x.preview.png"], kind)] == [kind]


def test_o16_a_shard_among_others_is_passed_over() -> None:
    found = list(single_files(["t5-00001-of-00002.safetensors", "clip.safetensors"], "text-encoder"))
    assert [(one.repo, bool(one.why_not)) for one in found] == [("clip", False), ("t5-00001-of-00002", True)]


def test_o16_commits_of_the_cache_come_with_their_branch_first() -> None:
    found = list(hub_repository("models--acme--tiny--1b", [A, B, "draft"], {"main": B, "refs/pr/1": A}))
    assert found[0] == FoundLayout(f"snapshots/{A}", "acme/tiny--1b", commit=A, ref="refs/pr/1")
    assert (found[1].commit, found[1].ref) == (B, "main")
    assert (found[2].commit, bool(found[2].why_not)) == (None, True)
    assert [one.repo for one in hub_repository("models--gpt2", [A], {})] == ["gpt2"]


def test_o16_llama_cpps_names_are_taken_apart_by_its_manifests() -> None:
    names = [
        "manifest=ggml-org=gemma-3_it-GGUF=latest.json",
        "ggml-org_gemma-3_it-GGUF_gemma-3_it-Q4_K_M.gguf",
        "ggml-org_gemma-3_it-GGUF_gemma-3_it-Q4_K_M.gguf.etag",
        "ggml-org_gemma-3_it-GGUF_mmproj-gemma-3_it-f16.gguf",
        "mine-Q8_0.gguf",
        "mine-Q8_0.gguf.json",
        "big-00001-of-00002.gguf",
    ]
    found = {one.path: (one.repo, bool(one.why_not)) for one in llama_cpp_models(names)}
    assert found == {
        "ggml-org_gemma-3_it-GGUF_gemma-3_it-Q4_K_M.gguf": ("ggml-org/gemma-3_it-GGUF", False),
        "ggml-org_gemma-3_it-GGUF_mmproj-gemma-3_it-f16.gguf": ("ggml-org/gemma-3_it-GGUF", True),
        "mine-Q8_0.gguf": ("mine-Q8_0", False),
        "big-00001-of-00002.gguf": ("big-00001-of-00002", True),
    }


@pytest.mark.parametrize("document", [None, [], {}, {"models": 3}, {"models": [3, None]}, {"models": [{"tags": [1]}]}])
def test_o16_a_broken_document_of_dockers_breaks_nothing(document: object) -> None:
    assert all(one.why_not for one in docker_models(document))


def test_o16_dockers_models_are_named_and_passed_over() -> None:
    document = {
        "models": [{"id": "sha256:1", "tags": ["ai/smollm2:latest"], "files": ["sha256:2"]}, {"id": "sha256:3"}]
    }
    assert [one.repo for one in docker_models(document)] == ["ai/smollm2:latest", "sha256:3"]


def test_o16_ramalamas_snapshots_have_names() -> None:
    paths = [
        "huggingface/acme/tiny-GGUF/snapshots/sha256-1/tiny-Q4_K_M.gguf",
        "huggingface/acme/tiny-GGUF/blobs/sha256-2",
        "huggingface/acme/st/snapshots/sha256-1/model.safetensors",
        "ollama/library/smollm/snapshots/sha256-1/model.gguf",
        "huggingface/acme/tiny-GGUF/refs/latest.json",
    ]
    found = {one.repo: bool(one.why_not) for one in ramalama_models(paths)}
    assert found == {"acme/tiny-GGUF": False, "acme/st": True, "library/smollm": True}
