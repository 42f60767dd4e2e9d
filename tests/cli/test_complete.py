"""Complete or not: one answer of every command, for what a hub or a disk has and for what was recorded long ago."""

import json
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from imageworks.model_loader.role_selection import select_by_role
from imageworks.tools.model_downloader import ModelDownloader
from support.reconcile import REPO, Result, World, command
from support.serving import program
from support.transfer import content, gguf_content, write
from support.weights import safetensors_file

CONFIG = b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}\n'
WHOLE: Mapping[str, bytes] = {
    "README.md": b"# Tiny\n",
    "config.json": CONFIG,
    "generation_config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}\n',
    "model.safetensors": content("whole", 5000),
}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 988097824\n" % (b"0" * 64)
SHORT = safetensors_file({"w": ("F16", (100, 100), 20_000)})[:188]
SHARDS = {f"model-0000{number}-of-00002.safetensors": content(f"{number}", 3000) for number in (1, 2)}
INDEX = json.dumps({"weight_map": {**{name: name for name in SHARDS}, "b": "model-vision.safetensors"}}).encode()


def without(*names: str) -> dict[str, bytes]:
    return {name: data for name, data in WHOLE.items() if name not in names}


def weights(data: bytes) -> dict[str, bytes]:
    return {**WHOLE, "model.safetensors": data}


BROKEN: Mapping[str, tuple[Mapping[str, bytes], str]] = {
    "empty": (weights(b""), "EmptyFile"),
    "pointer": (weights(POINTER), "PointerFile"),
    "tokenizer-pointer": ({**WHOLE, "tokenizer.json": POINTER}, "PointerFile"),
    "page": (weights(b"<!DOCTYPE html><html><body>401</body></html>"), "NotWeights"),
    "refusal": (weights(b"Entry not found"), "NotWeights"),
    "zeros": (weights(bytes(5000)), "NotWeights"),
    "zip": (weights(b"PK\3\4" + content("zip", 3000)), "NotWeights"),
    "cut-off-header": (weights(SHORT[:30]), "UnreadableHeader"),
    "cut-off": (weights(SHORT), "TruncatedFile"),
    "absent-shard": (
        {**without("model.safetensors"), **SHARDS, "model.safetensors.index.json": INDEX},
        "MissingShard",
    ),
    "no-config": (without("config.json"), "MissingConfig"),
    "empty-config": ({**WHOLE, "config.json": b""}, "EmptyFile"),
    "odd-config": ({**WHOLE, "config.json": b"Not Found"}, "UnreadableConfig"),
    "no-tokenizer": (without("tokenizer.json"), "MissingTokenizer"),
}  # fmt: skip
TOLD_BEFORE = ("empty", "pointer", "tokenizer-pointer", "page", "no-config")
"""What names, sizes and small files show, so that no byte of weights has to come."""


def run(world: World, *words: str | Path, code: int = 0) -> Result:
    result = command(*words, "--registry", world.root)
    assert result.code == code, result
    return result


def download(world: World, *words: str, code: int = 0) -> Result:
    return run(world, "download", *words, "--no-progress", code=code)


def listed(world: World) -> dict[str, dict[str, object]]:
    return {model["name"]: model for model in json.loads(run(world, "list", "--json").out)}


def told_before(world: World) -> list[str]:
    changes = world.plan().json["changes"]
    assert isinstance(changes, list)
    return [str(warning) for warning in changes[0]["warnings"]]


def complete(world: World, name: str) -> tuple[object, object]:
    conditions = world.entry(name)["conditions"]
    assert isinstance(conditions, list)
    (one,) = [one for one in conditions if one["type"] == "Complete"]
    return one["status"], one["reason"]


@pytest.mark.parametrize("kind", BROKEN)
def test_d14_every_command_says_what_an_upload_lacks(world: World, kind: str) -> None:
    files, reason = BROKEN[kind]
    world.serve(files)
    analyzed = run(world, "analyze", REPO, "--json").json
    assert analyzed["complete"] == "False"
    assert "  incomplete    " in run(world, "analyze", REPO).out
    ended = download(world, REPO, "--role", "caption", code=1)
    assert "✅" not in ended.out
    assert f"is incomplete: {reason}: " in ended.err
    (name,) = world.entries()
    assert complete(world, name) == ("False", reason)
    world.check()
    assert world.status()[name][:2] == ("synced", "incomplete")
    verified = run(world, "verify", name, "--json", code=1).json["models"]
    assert isinstance(verified, list)
    assert [(one["verdict"], [p["reason"] for p in one["problems"]]) for one in verified] == [
        ("incomplete", ["incomplete"])
    ]
    assert "✅" not in run(world, "verify", "--full", code=1).out
    assert "[incomplete]" in run(world, "list").out
    assert str(listed(world)[name]["incomplete"]).startswith(f"{reason}: ")
    for server in ("vllm", "lmdeploy"):
        refused = run(world, "launch", server, name, "--print", code=1)
        assert "is not complete" in refused.err
    assert f"{name} (incomplete: {reason}: " in run(world, "resolve", "--role", "caption", code=1).err
    again = download(world, REPO, code=1)  # it is here, and no better
    assert "✅" not in again.out


@pytest.mark.parametrize("kind", TOLD_BEFORE)
def test_d14_the_plan_says_it_before_the_first_byte(world: World, kind: str) -> None:
    world.serve(BROKEN[kind][0])
    world.declare()
    assert any(warning.startswith("incomplete: ") for warning in told_before(world))
    applied = world.reconcile()
    assert "warning: tiny-1b is incomplete: " in applied.err
    assert world.plan().changes == {}


def test_d14_what_is_whole_is_said_to_be(world: World) -> None:
    world.serve(WHOLE)
    assert run(world, "analyze", REPO, "--json").json["complete"] == "True"
    assert "✅" in download(world, REPO).out
    (name,) = world.entries()
    assert complete(world, name) == ("True", "PartsPresent")
    assert f"✅ {name}: intact" in run(world, "verify", "--full").out
    assert world.status()[name][:2] == ("synced", "healthy")
    assert "[incomplete]" not in run(world, "list").out
    run(world, "launch", "vllm", name, "--print")


@pytest.mark.parametrize(
    "files",
    [
        weights(b"\x93" * 400 + content("sealed", 90)),
        {**WHOLE, "config.json": CONFIG[:-2] + b', "auto_map": {"AutoModel": "modeling_x.X"}}'},
    ],
    ids=["sealed", "no-code"],
)
def test_d14_what_cannot_be_told_is_neither(world: World, files: Mapping[str, bytes]) -> None:
    world.serve(files)
    ended = download(world, REPO)
    assert "✅" not in ended.out
    assert "it cannot be told whether" in ended.err
    (name,) = world.entries()
    assert complete(world, name)[0] == "Unknown"
    assert "✅" not in run(world, "verify").out
    assert world.status()[name][1] == "healthy"
    run(world, "launch", "vllm", name, "--print")


@pytest.mark.parametrize("kind", BROKEN)
def test_d14_python_says_the_same(world: World, kind: str) -> None:
    files, reason = BROKEN[kind]
    world.serve(files)
    downloader = ModelDownloader(world.root)
    model = downloader.download(REPO, interactive=False)
    assert str(model.incomplete).startswith(f"{reason}: ")
    assert not downloader.verify_model(model.name)


@pytest.mark.parametrize("kind", BROKEN)
def test_d14_so_does_what_an_older_version_recorded(world: World, kind: str) -> None:
    world.serve(BROKEN[kind][0])
    world.declare()
    world.reconcile()
    for file in (world.root / "discovered/testhost/tiny-1b.json", world.root / "snapshot/testhost.json"):
        said = json.loads(file.read_bytes())
        for model in said if isinstance(said, list) else [said]:
            model["conditions"] = [one for one in model["conditions"] if one["type"] != "Complete"]
        file.write_text(json.dumps(said), encoding="utf-8")
    world.commit("As it was")
    assert world.status()["tiny-1b"][1] == "incomplete"
    run(world, "verify", code=1)
    run(world, "launch", "vllm", "tiny-1b", "--print", code=1)
    if kind in {"empty", "pointer", "page"}:  # what sizes show
        assert "[incomplete]" in run(world, "list").out


def test_d14_a_local_folder_is_judged_alike(world: World) -> None:
    folder = world.folder / "weights/acme/local"
    write(folder, without("config.json"))
    world.declare("local", source={"path": str(folder)})
    assert "incomplete: config.json is missing" in told_before(world)
    world.reconcile()
    assert complete(world, "local") == ("False", "MissingConfig")
    assert command("launch", "vllm", str(folder), "--print", "--registry", world.root).code == 1


NO_WEIGHTS: Mapping[str, bytes] = {
    "html-gguf/Good-7B-Q4_K_M.gguf": b"<!DOCTYPE html><html><body>429 Too Many Requests</body></html>",
    "lfs-gguf/Good-8B-Q4_K_M.gguf": POINTER,
    "half-header-gguf/B-7B-Q4_K_M.gguf": gguf_content("half", 300)[:60],
    "v1-gguf/D-7B-Q4_0.gguf": b"GGUF\1\0\0\0" + bytes(72),
    "zeros-gguf/C-7B-Q4_K_M.gguf": bytes(5000),
    "annex/model.safetensors": b"/annex/objects/SHA256E-s100--00.safetensors\n",
}


def test_d14_a_scan_records_no_weights_that_are_none_and_says_what_others_lack(world: World) -> None:
    for kind in ("pointer", "page", "zeros", "zip", "cut-off", "cut-off-header", "empty", "no-config"):
        write(world.weights / "acme" / kind, dict(BROKEN[kind][0]))
    write(world.weights / "acme", dict(NO_WEIGHTS))
    found = command("scan", "--registry", world.root)
    assert "1 recorded" in found.out
    assert "incomplete: config.json is missing" in found.out
    for kind in ("pointer", "page", "zeros", "zip", "cut-off", "empty"):
        assert f"{world.weights / 'acme' / kind}: incomplete: " in found.err
    for file in NO_WEIGHTS:
        assert f"{world.weights / 'acme' / file.partition('/')[0]}" in found.err
    (name,) = world.entries()
    assert complete(world, name) == ("False", "MissingConfig")
    run(world, "verify", code=1)


def test_d14_python_takes_a_complete_model_for_a_role(world: World) -> None:
    for kind, files in (("whole", WHOLE), ("broken", BROKEN["pointer"][0])):
        world.serve(files, f"acme/{kind}")
        world.declare(
            kind,
            source={"huggingface": f"acme/{kind}"},
            roles=["summary"],
            role_priority={"summary": 90 if kind == "broken" else 10},
        )
    world.reconcile()
    assert select_by_role("summary", registry=world.root) == "whole"
    assert run(world, "resolve", "--role", "summary").out == "whole\n"


def test_d14_a_repair_brings_what_the_commit_has(world: World) -> None:
    repository = world.serve(WHOLE)
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id, "exclude": ["tokenizer.json"]})
    world.reconcile()
    assert complete(world, "tiny-1b") == ("False", "MissingTokenizer")
    run(world, "verify", "tiny-1b", "--repair", code=1)  # left out on purpose, and still said
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    world.reconcile()
    assert complete(world, "tiny-1b") == ("True", "PartsPresent")
    run(world, "verify")


def test_d7_an_index_without_its_shards_beside_whole_weights_is_no_lack(world: World) -> None:
    own = json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}).encode()
    theirs = json.dumps({"weight_map": {"a": "consolidated-00001-of-00001.safetensors"}}).encode()
    files = {
        **without("model.safetensors"),
        **SHARDS,
        "model.safetensors.index.json": own,
        "consolidated.safetensors.index.json": theirs,
        "params.json": b"{}",
    }
    world.serve(files)
    assert run(world, "analyze", REPO, "--json").json["complete"] == "True"
    assert "✅" in download(world, REPO).out
    (name,) = world.entries()
    run(world, "verify", "--full")
    run(world, "launch", "vllm", name, "--print")
    folder = world.folder / "clone"  # a clone has that index too
    write(folder, files)
    run(world, "launch", "vllm", folder, "--print")


ADAPTER: Mapping[str, bytes] = {
    "README.md": b"# Tuned\n",
    "adapter_config.json": b'{"peft_type": "LORA", "base_model_name_or_path": "acme/base-1b"}',
    "adapter_model.safetensors": content("adapter", 2000),
}


def test_d15_an_adapter_is_not_served_as_a_model_and_its_remedy_works(world: World) -> None:
    world.serve(ADAPTER, "acme/tuned-lora")
    assert "acme/base-1b" in run(world, "analyze", "acme/tuned-lora").out
    world.declare("tuned", source={"huggingface": "acme/tuned-lora"}, backend="vllm")
    assert any("needs its base, acme/base-1b" in warning for warning in told_before(world))
    world.reconcile()
    assert complete(world, "tuned") == ("True", "PartsPresent")  # as the adapter that it is
    for server in ("vllm", "lmdeploy"):
        assert "acme/base-1b" in run(world, "launch", server, "tuned", code=1).err
    refused = run(world, "launch", "vllm", "tuned", code=1)
    assert "`imageworks-models download acme/base-1b`" in refused.err
    world.serve(WHOLE, "acme/base-1b")
    download(world, "acme/base-1b")
    refused = run(world, "launch", "vllm", "tuned", code=1)
    remedy = next(part for part in refused.err.split("`") if part.startswith("imageworks-models launch"))
    launched = command(*shlex.split(remedy)[1:-4], "--print", "--registry", world.root, *shlex.split(remedy)[-4:])
    assert launched.code == 0, launched
    words = shlex.split(launched.out)
    assert words[:2] == ["vllm", "serve"]
    assert words[2].endswith("acme/base-1b")
    assert words[words.index("--lora-modules") + 1] == f"tuned={world.weights / 'acme/tuned-lora'}"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({**ADAPTER, "adapter_config.json": b'{"peft_type": "LORA"}'}, "MissingBase"),
        ({"adapter_model.safetensors": content("adapter", 2000)}, "MissingConfig"),
        ({**ADAPTER, "adapter_model.safetensors": POINTER}, "PointerFile"),
    ],
)
def test_d15_adapters_lack_things_of_their_own(world: World, files: Mapping[str, bytes], reason: str) -> None:
    world.serve(files, "acme/tuned-lora")
    download(world, "acme/tuned-lora", code=1)
    (name,) = world.entries()
    assert complete(world, name) == ("False", reason)


def test_o10_a_gguf_in_shards_is_merged_before_vllm_reads_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = {f"big-Q4_K_M-0000{number}-of-00002.gguf": gguf_content(f"{number}", 900) for number in (1, 2)}
    world.serve(shards, "acme/big-GGUF")
    assert "✅" in download(world, "acme/big-GGUF").out
    (name,) = world.entries()
    folder = world.weights / "acme/big-GGUF"
    first = folder / min(shards)
    refused = run(world, "launch", "vllm", name, code=1)
    assert "2 shards" in refused.err
    by_path = run(world, "launch", "vllm", first, code=1)  # the way that led back here
    merge, launch = [part for part in by_path.err.split("`") if part.startswith(("llama-gguf", "imageworks"))]
    assert [merge, launch] == [
        part for part in refused.err.split("`") if part.startswith(("llama-gguf", "imageworks-models launch"))
    ]
    record = program(tmp_path / "bin", "llama-gguf-split")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    subprocess.run(shlex.split(merge), check=True)
    asked, source, target = record.read_text(encoding="utf-8").split()
    assert (asked, source) == ("--merge", str(first))
    Path(target).write_bytes(gguf_content("merged", 1800))
    run(world, *shlex.split(launch)[1:], "--print")
    first.unlink()
    assert "is not complete" in run(world, "launch", "vllm", name, code=1).err
