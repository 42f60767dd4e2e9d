"""What people paste behind ``download``: names of Ollama, addresses elsewhere, pages, folders and files of the hub."""

import hashlib
import os
import sys
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

import imageworks
from imageworks.cli.views.choices import quantization_lines
from imageworks.foundation.errors import UsageError
from imageworks.host import hardware
from imageworks.host.hardware import Hardware
from imageworks.providers.dispatch import PROVIDERS, provider
from imageworks.providers.named_source import NamedSource
from imageworks.providers.selection.model import QuantChoice
from support.ollama_world import OllamaWorld, started_ollama
from support.reconcile import MODEL, QUANTS, REPO, World, command
from support.terminal import Terminal
from support.transfer import gguf_content

__all__ = ["started_ollama"]
FILE = gguf_content("Q4_K_M", 40_000)
SHA256 = hashlib.sha256(FILE).hexdigest()
GIB = 1024**3


def named(text: str, sha256: str | None = None) -> NamedSource | None:
    found = (provider(name).named(text, sha256) for name in PROVIDERS)
    return next((one for one in found if one is not None), None)


@pytest.mark.parametrize(
    ("text", "source", "name"),
    [
        ("qwen2.5vl:7b", "qwen2.5vl:7b", "qwen2.5vl-7b-ollama-gguf"),
        ("ollama:qwen2.5vl", "qwen2.5vl:latest", "qwen2.5vl-latest-ollama-gguf"),
        ("ollama:mannix/llama3:8b-q4_0", "mannix/llama3:8b-q4_0", None),
        ("ollama:hf.co/acme/tiny-GGUF:Q4_K_M", "hf.co/acme/tiny-GGUF:Q4_K_M", None),
        ("https://ollama.com/library/qwen2.5vl:7b", "qwen2.5vl:7b", "qwen2.5vl-7b-ollama-gguf"),
        ("ollama.com/mannix/llama3/tags", "mannix/llama3:latest", None),
    ],
)
def test_u12_names_of_ollama(text: str, source: str, name: str | None) -> None:
    found = named(text)
    assert found is not None
    assert (found.fields, found.backend) == ({"ollama": source}, "ollama")
    assert name is None or found.name == name


@pytest.mark.parametrize("text", ["acme/tiny", "hf.co/acme/tiny:Q4_K_M", "acme/tiny:q4_k_m", "gpt2", "acme/tiny@main"])
def test_u12_what_is_the_hub_s_stays_the_hub_s(text: str) -> None:
    assert named(text) is None


@pytest.mark.parametrize(
    ("text", "sha256", "said"),
    [
        ("https://models.example.com/tiny-Q4_K_M.gguf", None, "--sha256"),
        ("https://models.example.com/tiny-Q4_K_M.gguf", "abc", "64"),
        ("http://models.example.com/tiny-Q4_K_M.gguf", SHA256, "https"),
        ("https://models.example.com/download/1234", SHA256, "path"),
        ("https://models.example.com/t.gguf?X-Amz-Signature=abc", SHA256, "netrc"),
        ("https://models.example.com/t.gguf?token=hf_secret", SHA256, "netrc"),
        ("https://me:hf_secret@models.example.com/t.gguf", SHA256, "netrc"),
        ("https:///t.gguf", SHA256, "address"),
        ("https://[", SHA256, "address"),
    ],
)
def test_u12_an_address_that_nothing_vouches_for_or_that_holds_a_secret_is_refused(
    text: str, sha256: str | None, said: str, world: World
) -> None:
    with pytest.raises(UsageError) as caught:
        named(text, sha256)
    assert said in str(caught.value)
    assert "hf_secret" not in str(caught.value)
    words = ["--sha256", sha256] if sha256 else []
    result = command("download", text, *words, "-y", "--registry", world.root)
    assert (result.code, result.out) == (64, "")
    assert "hf_secret" not in result.err


def test_u12_a_model_of_ollama_is_declared_and_pulled(ollama: OllamaWorld) -> None:
    world = ollama.world
    ollama.offer()
    text = f"ollama:{ollama.name}"
    result = command("download", text, "-y", "--role", "caption", "--no-progress", "--registry", world.root)
    assert result.code == 0, result
    assert ollama.pulled() == 1
    (name,) = world.entries()
    manifest = (world.root / f"models/{name}.yaml").read_text(encoding="utf-8")
    assert f'ollama: "{ollama.name}"' in manifest
    assert "backend: " in manifest
    world.check()
    head = world.head()
    again = command("download", text, "-y", "--no-progress", "--registry", world.root)
    assert (again.code, world.head(), ollama.pulled()) == (0, head, 1), again
    assert world.plan().changes == {}
    assert command("pin", name, "--registry", world.root).code == 0
    assert command("download", text, "-y", "--no-progress", "--registry", world.root).code == 0  # the pinned one
    assert world.entries() == [name]
    model = imageworks.download(text, registry=world.root)
    assert (model.name, model.action) == (name, "none")


def test_u12_a_name_of_ollama_without_a_daemon_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    head = world.head()
    result = command("download", "qwen2.5vl:7b", "-y", "--no-progress", "--registry", world.root)
    assert (result.code, world.head()) == (1, head)
    assert "ollama serve" in result.err
    shown = command("download", "qwen2.5vl:7b", "--dry-run", "--registry", world.root)
    assert 'ollama: "qwen2.5vl:7b"' in shown.out
    for words in (["--quant", "q4_k_m"], ["--location", "second"], ["--include", "*.gguf"], ["--revision", "main"]):
        refused = command("download", "qwen2.5vl:7b", *words, "-y", "--registry", world.root)
        assert refused.code == 64, refused


def test_u12_a_file_elsewhere_with_its_digest(world: World, httpserver: HTTPServer, isolated_environment: Path) -> None:
    world.user_config(isolated_environment, 'private_hosts = ["localhost", "127.0.0.1"]\n')
    httpserver.expect_request("/tiny-1b-Q4_K_M.gguf").respond_with_data(FILE)
    url = httpserver.url_for("/tiny-1b-Q4_K_M.gguf")
    words: list[str | Path] = [
        "download",
        url,
        "--sha256",
        f"sha256:{SHA256.upper()}",
        "-y",
        "--no-progress",
        "--registry",
        world.root,
    ]
    result = command(*words)
    assert result.code == 0, result
    (name,) = world.entries()
    assert name == "tiny-1b-gguf-q4_k_m"
    entry = world.entry(name)
    assert (entry["quantization"], entry["download_format"]) == ("q4_k_m", "gguf")
    assert Path(str(entry["download_path"])).joinpath("tiny-1b-Q4_K_M.gguf").read_bytes() == FILE
    head = world.head()
    assert command(*words).code == 0
    assert world.head() == head
    refused = command("download", url, "--sha256", "0" * 64, "-y", "--no-progress", "--registry", world.root)
    assert refused.code == 1
    assert "already the name" in refused.err


def test_u12_the_digest_is_not_for_the_hub(world: World) -> None:
    world.serve()
    result = command("download", REPO, "--sha256", SHA256, "-y", "--registry", world.root)
    assert result.code == 64


@pytest.mark.parametrize("path", ["./model.gguf", "/models/x.gguf", "~/models", "../x", ".\\model.gguf"])
def test_u12_a_path_is_for_scan(world: World, path: str) -> None:
    result = command("download", path, "-y", "--registry", world.root)
    assert result.code == 64
    assert "scan --base" in result.err


def test_u12_a_bare_name_that_the_hub_has_not_may_be_ollama_s(world: World) -> None:
    result = command("download", "llama3.2", "-y", "--registry", world.root)
    assert result.code == 1
    assert "ollama:llama3.2" in result.err
    assert "ollama:" not in command("download", "acme/gone", "-y", "--registry", world.root).err
    analyzed = command("analyze", "qwen2.5vl:7b", "--registry", world.root)
    assert "download qwen2.5vl:7b" in analyzed.err


@pytest.mark.parametrize(
    "page",
    [
        "",
        "/tree/main",
        "/tree/main/sub folder",
        "/blob/main/sub folder/x.safetensors",
        "/resolve/main/x.bin?download=true",
    ],
)
def test_u12_pages_folders_and_files_of_the_hub(world: World, page: str) -> None:
    weights = MODEL["model.safetensors"]
    world.serve({**MODEL, "sub folder/x.safetensors": weights + b"1", "x.bin": b"\x80\x02."})
    address = f"{world.hub.url}/{REPO}{page.replace(' ', '%20')}"
    result = command("download", address, "--dry-run", "--registry", world.root)
    assert result.code == 0, result


def test_u6_what_is_in_the_hub_s_cache_is_said_first_and_nothing_is_fetched(
    world: World, isolated_environment: Path
) -> None:
    from imageworks.providers.huggingface.client import HubClient

    world.serve()
    cache = isolated_environment / ".cache/huggingface/hub" / f"models--{REPO.replace('/', '--')}" / "blobs"
    cache.mkdir(parents=True)
    with HubClient.from_environment(os.environ, cache_dir=isolated_environment) as hub:
        listing = hub.listing(REPO, hub.resolve(REPO, "main").commit)
    for file in listing.files:
        (cache / file.digest.value).write_bytes(MODEL[file.path])
    result = command("download", REPO, "-y", "--backend", "vllm", "--no-progress", "--registry", world.root)
    assert result.code == 0, result
    told = next(line for line in result.err.splitlines() if "Hugging Face cache" in line)
    assert told.endswith("0 B to fetch")
    assert result.err.index(told) < result.err.index("install:")


# --- which quantization -------------------------------------------------------------------------------------------


def test_u6_quantizations_are_a_table_with_what_fits() -> None:
    choices = [
        QuantChoice("q2_k", 3 * GIB, 1, bits=3.0, need=4 * GIB, free=10 * GIB),
        QuantChoice("q4_k_m", 5 * GIB, 1, bits=4.8, need=7 * GIB, free=10 * GIB),
        QuantChoice("f16", 16 * GIB, 1, bits=16.0, need=20 * GIB, free=10 * GIB),
    ]
    lines = quantization_lines(choices, "q4_k_m", Hardware((6 * GIB,), 16 * GIB))
    words = [line.split() for line in lines[1:4]]
    assert [row[1] for row in words] == ["q2_k", "q4_k_m", "f16"]
    assert [("GPU" in row, "memory" in row, "no" in row) for row in words] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert "proposed" in words[1]
    assert "10.0 GiB free" in lines[-1]
    bare = quantization_lines([QuantChoice("q4_k_m", 5, 1)], None, Hardware())
    assert not {"BITS", "FITS", "NEEDS"} & set(bare[0].split())
    assert len(bare) == 2


@pytest.mark.parametrize(
    ("printed", "code", "cards"),
    [("24564\n8192\n", 0, (24564, 8192)), ("[N/A]\n", 0, ()), ("", 9, ()), ("NVIDIA-SMI has failed\n", 0, ())],
)
def test_u6_cards_are_what_nvidia_smi_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, code: int, cards: tuple[int, ...]
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{printed}'\nexit {code}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert hardware.this_machine().cards == tuple(card * 1024**2 for card in cards)


def test_u6_nothing_is_said_where_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(hardware, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(hardware, "_WSL_TOOLS", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert hardware.this_machine() == Hardware()
    assert Hardware().fits(1) == ""
    assert Hardware((6 * GIB, 6 * GIB)).fits(10 * GIB) == "2 GPUs"


def test_u6_a_person_is_shown_the_table_and_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve(QUANTS, "acme/many-7b-GGUF")
    monkeypatch.setattr(sys, "stdin", Terminal("2\n"))
    result = command("download", "acme/many-7b-GGUF", "--no-progress", "--registry", world.root)
    assert result.code == 0, result
    assert "q8_0" in world.entries()[0]
    assert "SIZE" in result.err
    dry = command("download", "acme/many-7b-GGUF", "--dry-run", "--registry", world.root)
    assert "SIZE" in dry.err
    assert "q4_k_m is taken" in dry.err
