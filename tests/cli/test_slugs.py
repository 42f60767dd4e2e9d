"""Simple names as commands: previewed, applied in one commit, in manifests without losing a comment."""

from pathlib import Path

import pytest

from imageworks.registry.entries.entry import render_entry
from support.git import git
from support.ollama_world import OllamaWorld, started_ollama
from support.reconcile import HOST, MODEL, NAME, REPO, Result, World, command
from support.weights import safetensors_file

__all__ = ["started_ollama"]

MANIFEST = f"""\
# Chosen by the team in March.
schema_version: 1
source:
  huggingface: {REPO}   # small
backend: vllm
roles: [caption]          # the one that people see
"""


def maintain(world: World, *words: str | Path, code: int = 0) -> Result:
    """Run a command and check that what it leaves is valid (I2)."""
    result = command(*words, "--registry", world.root)
    assert result.code == code, result
    world.check()
    return result


def record(world: World, name: str, family: str, **fields: object) -> None:
    """Commit an entry, as an older controller might have written it."""
    entry = {"schema_version": 1, "name": name, "managed": False, "family": family, "backend": "vllm", **fields}
    world.write(f"discovered/{HOST}/{name}.json", render_entry(entry).decode())


@pytest.fixture
def named(world: World) -> World:
    """A declared model that is installed, and two found ones that clash."""
    world.serve()
    world.write("models/my-tiny.yaml", MANIFEST)
    record(world, "llama-7b-vllm-awq", "llama-7b", quantization="awq", producer="meta", model_aliases=["mine"])
    record(world, "llama-7b-ollama-awq-x", "llama-7b", quantization="awq", backend="ollama", served_model_id="l:7b")
    world.reconcile("--yes")
    return world


def test_a_preview_shows_names_and_clashes(named: World) -> None:
    before = named.head()
    result = maintain(named, "preview-simple-slugs")
    assert [line.split()[:2] for line in result.out.splitlines()[1:]] == [
        ["llama-7b-ollama-awq-x", "llama-7b-awq"],
        ["llama-7b-vllm-awq", "llama-7b-awq"],
        ["my-tiny", "tiny-1b"],
    ]
    assert "clash: llama-7b-awq would be llama-7b-ollama-awq-x, llama-7b-vllm-awq" in result.err
    listed = maintain(named, "preview-simple-slugs", "--json", "--no-include-hf").json
    assert listed["collisions"] == {"llama-7b-awq": ["llama-7b-ollama-awq-x", "llama-7b-vllm-awq"]}
    assert listed["models"] == [
        {
            "name": "llama-7b-ollama-awq-x",
            "family": "llama-7b",
            "quantization": "awq",
            "slug": "llama-7b-awq",
            "display_name": "llama 7b (AWQ)",
            "clashes_with": ["llama-7b-vllm-awq"],
        }
    ]
    assert maintain(named, "preview-simple-slugs", "--include-ollama", "--include-hf").out == result.out
    assert (
        maintain(named, "preview-simple-slugs", "--no-include-ollama", "--no-include-hf").out == "No model to name.\n"
    )
    assert named.head() == before


def test_a_rename_is_one_commit_and_downloads_nothing_again(named: World) -> None:
    before = named.head()
    shown = maintain(named, "apply-simple-slugs", "--rename-slugs")
    assert "> my-tiny  becomes tiny-1b" in shown.out.splitlines()
    assert named.head() == before
    done = maintain(named, "apply-simple-slugs", "--rename-slugs", "--apply")
    assert "1 to change, 2 to rename" in done.out
    assert git(named.root, "rev-parse", "HEAD~1").strip() == before
    assert named.entries() == ["llama-7b-ollama-awq", "llama-7b-vllm-awq", "tiny-1b"]
    text = (named.root / "models/tiny-1b.yaml").read_text(encoding="utf-8")
    for line in MANIFEST.splitlines():
        assert line in text
    assert text.splitlines()[-1] == "previously: [my-tiny]"
    assert not (named.root / "models/my-tiny.yaml").exists()
    assert named.snapshot()["tiny-1b"]["roles"] == ["caption"]
    named.served.forget()
    assert named.reconcile("--dry-run", "--json").json["changes"] == []
    assert named.served.files == {}
    assert maintain(named, "apply-simple-slugs", "--rename-slugs", "--apply").out == "No changes.\n"


def test_roles_aliases_and_served_names_survive(named: World) -> None:
    maintain(named, "apply-simple-slugs", "--rename-slugs", "--apply")
    models = named.snapshot()
    assert models["llama-7b-ollama-awq"]["served_model_id"] == "l:7b"
    vllm = models["llama-7b-vllm-awq"]
    assert (vllm["model_aliases"], vllm["display_name"]) == (["mine"], "llama 7b-vllm (AWQ)")


def test_display_names_alone_go_to_the_manifest_of_what_is_declared(world: World) -> None:
    world.serve()
    world.write("models/my-tiny.yaml", MANIFEST + 'display_name: "Old"  # shown\n')
    world.reconcile()
    maintain(world, "apply-simple-slugs", "--display-only", "--apply")
    text = (world.root / "models/my-tiny.yaml").read_text(encoding="utf-8")
    assert text.split() == (MANIFEST + 'display_name: "tiny 1b"  # shown\n').split()
    assert world.snapshot()["my-tiny"]["display_name"] == "tiny 1b"
    assert maintain(world, "apply-simple-slugs", "--apply").out == "No changes.\n"


@pytest.mark.parametrize("words", [("--disambiguate", "none"), ("--disambiguate", "format")], ids=" ".join)
def test_clashing_models_are_left_or_stop_everything(named: World, words: tuple[str, ...]) -> None:
    before = named.head()
    refused = maintain(named, "apply-simple-slugs", *words, "--no-skip-on-collision", "--apply", code=1)
    assert "would be llama-7b-vllm-awq too" in refused.err
    assert named.head() == before
    left = maintain(named, "apply-simple-slugs", *words, "--allow-skip-on-collision", "--rename-slugs", "--apply")
    assert "kept: llama-7b-vllm-awq: llama-7b-awq would be llama-7b-ollama-awq-x too" in left.err
    assert named.entries() == ["llama-7b-ollama-awq-x", "llama-7b-vllm-awq", "tiny-1b"]


def test_json_says_what_was_done(named: World) -> None:
    shown = maintain(named, "apply-simple-slugs", "--rename-slugs", "--json", "--no-include-ollama").json
    assert (shown["dry_run"], shown["commit"], shown["skipped"]) == (True, None, [])
    done = maintain(named, "apply-simple-slugs", "--rename-slugs", "--json", "--no-include-ollama", "--apply").json
    assert done["commit"] == named.head()
    assert done["operations"] == shown["operations"]
    assert isinstance(done["operations"], list)
    assert {one["name"]: one["new_name"] for one in done["operations"]} == {
        "llama-7b-vllm-awq": "llama-7b-vllm-awq",
        "my-tiny": "tiny-1b",
    }


def test_tests_alone(named: World) -> None:
    record(named, "demo-model-7", "phi-3b")
    named.reconcile("--yes")
    result = maintain(named, "apply-simple-slugs", "--tests-only", "--rename-slugs", "--apply")
    assert result.out.splitlines()[0] == "> demo-model-7  becomes phi-3b"
    assert "1 to rename" in result.out
    assert named.snapshot()["phi-3b"]["metadata"] == {"testing": True}


def test_a_manifest_with_uncommitted_changes_stays_and_the_others_go_on(named: World) -> None:
    named.write("models/my-tiny.yaml", MANIFEST + "# mine\n", commit=False)
    result = maintain(named, "apply-simple-slugs", "--rename-slugs", "--apply")
    assert "kept: my-tiny: models/my-tiny.yaml has uncommitted changes" in result.err
    assert "llama-7b-ollama-awq" in named.entries()
    assert (named.root / "models/my-tiny.yaml").read_text(encoding="utf-8").endswith("# mine\n")


def test_a_file_that_stands_uncommitted_under_the_new_name_is_not_overwritten(named: World) -> None:
    named.write("models/tiny-1b.yaml", "schema_version: 1\n", commit=False)
    result = maintain(named, "apply-simple-slugs", "--rename-slugs", "--apply")
    assert "models/tiny-1b.yaml has uncommitted changes" in result.err
    assert (named.root / "models/tiny-1b.yaml").read_text(encoding="utf-8") == "schema_version: 1\n"


def test_a_strategy_that_is_none_is_a_usage_error(named: World) -> None:
    result = maintain(named, "apply-simple-slugs", "--disambiguate", "colour", code=64)
    assert "'colour' is none of backend, format, producer, none" in result.err


def test_a_model_under_its_name_keeps_it(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    maintain(world, "apply-simple-slugs", "--rename-slugs", "--apply")
    assert world.entries() == [NAME]


def test_a_folder_that_is_named_by_the_model_follows_without_a_download(world: World) -> None:
    world.serve()
    world.declare("my-tiny", location="flat")
    world.reconcile()
    maintain(world, "apply-simple-slugs", "--rename-slugs", "--apply")
    assert world.plan().changes == {"tiny-1b": ("move", "location-changed")}
    world.served.forget()
    world.reconcile("--yes")
    assert world.served.files == {}
    assert (world.folder / "flat/tiny-1b/model.safetensors").is_file()
    assert not (world.folder / "flat/my-tiny").exists()


def test_a_declared_model_of_ollama_is_not_pulled_again_under_its_new_name(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare("mine", roles=["caption"])
    ollama.world.reconcile("--yes")
    pulls = ollama.pulled()
    maintain(ollama.world, "apply-simple-slugs", "--rename-slugs", "--apply")
    (renamed,) = ollama.world.entries()
    assert renamed != "mine"
    assert ollama.world.snapshot()[renamed]["roles"] == ["caption"]
    assert ollama.world.plan().json["changes"] == []
    assert ollama.pulled() == pulls


def test_a_new_install_has_its_simple_name_already(world: World) -> None:
    weights = safetensors_file({"model.layers.0.q.weight": ("F16", (1024, 1024), 2 << 20)})
    world.serve({"config.json": b'{"model_type": "gpt2"}', "model.safetensors": weights}, "acme/dialog-medium")
    world.declare("dialog", source={"huggingface": "acme/dialog-medium"}, backend="vllm")
    world.reconcile("--yes")
    assert world.entry("dialog")["display_name"] == "dialog-medium 1m (FP16)"
    assert maintain(world, "apply-simple-slugs", "--apply").out == "No changes.\n"


def test_a_display_name_that_tells_two_apart_outlives_another_scan(world: World) -> None:
    for owner in ("acme", "other"):
        folder = world.weights / owner / "tiny-1b"
        folder.mkdir(parents=True)
        for name, data in MODEL.items():
            (folder / name).write_bytes(data)
    maintain(world, "scan", "--base", world.weights)
    maintain(world, "apply-simple-slugs", "--apply", "--disambiguate", "producer")
    named = {name: world.entry(name)["display_name"] for name in world.entries()}
    assert set(named.values()) == {"tiny 1b-acme", "tiny 1b-other"}
    maintain(world, "scan", "--base", world.weights, "--update-existing")
    assert {name: world.entry(name)["display_name"] for name in world.entries()} == named
