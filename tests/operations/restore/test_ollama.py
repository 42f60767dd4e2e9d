"""``restore-ollama``: entries of Ollama's models come back from history, a commit or a file of the predecessor."""

import json
from pathlib import Path

import pytest

from support.git import git
from support.ollama_world import NAME, OllamaWorld
from support.reconcile import HOST, Result, World, command


def back(world: World, *words: str | Path, code: int = 0) -> Result:
    result = command("restore-ollama", *words, "--registry", world.root)
    assert result.code == code, result
    world.check()
    return result


@pytest.fixture
def purged(ollama: OllamaWorld) -> OllamaWorld:
    """A model that Ollama has, whose entry was recorded twice and then purged with its manifest."""
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    git(ollama.world.git_root, "tag", "held")
    done = command("remove", NAME, "--purge", "--force", "--registry", ollama.world.root)
    assert done.code == 0, done
    assert ollama.world.entries() == []
    return ollama


def test_the_newest_commit_that_held_an_entry_gives_it_back(purged: OllamaWorld) -> None:
    world = purged.world
    recorded = json.loads(git(world.git_root, "show", f"held:discovered/{HOST}/{NAME}.json"))
    head = world.head()
    dry = back(world, "--dry-run")
    assert dry.out.endswith("Plan: 1 to restore. Nothing was written.\n")
    assert world.head() == head
    assert f"+ {NAME}  entry: recorded as it was" in back(world).out
    assert world.entry(NAME) == {**recorded, "managed": False}
    assert len(git(world.git_root, "rev-list", f"{head}..HEAD").split()) == 1
    assert back(world).out == "No changes.\n"
    assert f"{NAME}: recorded already" in back(world, "--from", "held").err


def entry_of(name: str, served: str) -> dict[str, object]:
    said = {"schema_version": 1, "name": name, "managed": False, "backend": "ollama", "served_model_id": served}
    return {**said, "source_provider": "ollama", "download_path": f"ollama://{served}", "download_format": "gguf"}


def states(world: World, *states: dict[str, str]) -> None:
    """Leave entries by name and served name in one commit a state."""
    folder = world.root / f"discovered/{HOST}"
    for number, state in enumerate(states):
        for file in folder.glob("*.json"):
            file.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        for name, served in state.items():
            (folder / f"{name}.json").write_text(json.dumps(entry_of(name, served)), encoding="utf-8")
        world.commit(f"State {number}")
    world.reconcile()


def test_p7_the_latest_state_that_had_them_comes_back_and_not_all_of_history(world: World) -> None:
    ancient = {f"ancient-{number}-ollama-gguf": f"ancient:{number}" for number in range(5)}
    late = {"late-ollama-gguf": "late:7b", "kept-ollama-gguf": "kept:7b"}
    states(world, ancient, late, {"kept-ollama-gguf": "kept:7b"})
    back(world)
    assert world.entries() == sorted(late)


def test_p7_a_former_name_does_not_come_back_beside_the_present_one(world: World) -> None:
    states(
        world,
        {"gone-ollama-gguf": "gone:1b"},
        {"qwen-ollama-gguf": "qwen:latest", "gone-ollama-gguf": "gone:1b"},
        {"qwen-ollama-gguf": "qwen:latest"},
        {"qwen-ollama-gguf-q4_k_m": "qwen"},
    )
    assert "qwen-ollama-gguf " not in back(world, "--dry-run").out
    back(world)
    assert world.entries() == ["gone-ollama-gguf", "qwen-ollama-gguf-q4_k_m"]


def test_p7_after_a_reset_everything_that_it_took_comes_back(world: World) -> None:
    everything = {f"m{number}-ollama-gguf": f"m{number}:7b" for number in range(4)}
    states(world, everything)
    done = command("reset-discovered", "--backend", "ollama", "--registry", world.root)
    assert done.code == 0, done
    assert world.entries() == []
    back(world)
    assert world.entries() == sorted(everything)


def test_p7_a_state_that_only_a_merged_branch_had_comes_back_whole(world: World) -> None:
    root, folder = world.git_root, world.root / f"discovered/{HOST}"
    world.write(f"discovered/{HOST}/kept-ollama-gguf.json", json.dumps(entry_of("kept-ollama-gguf", "kept:7b")))
    main = git(root, "branch", "--show-current").strip()
    git(root, "checkout", "-q", "-b", "side")
    for number in range(3):
        name = f"side-{number}-ollama-gguf"
        world.write(f"discovered/{HOST}/{name}.json", json.dumps(entry_of(name, f"side:{number}")))
    git(root, "checkout", "-q", main)
    git(root, "merge", "-q", "-s", "ours", "-m", "Merge none of it", "side")
    assert len(list(folder.iterdir())) == 1
    back(world)
    assert world.entries() == ["kept-ollama-gguf", "side-0-ollama-gguf", "side-1-ollama-gguf"]


def test_p7_an_entry_that_was_of_another_backend_at_last_comes_back_as_ollama_had_it(world: World) -> None:
    name = "changed-ollama-gguf"
    of_ollama = entry_of(name, "changed:7b")
    of_other = {key: value for key, value in of_ollama.items() if not key.startswith("download")}
    for said in (of_ollama, {**of_other, "backend": "vllm", "source_provider": "hf"}):
        world.write(f"discovered/{HOST}/{name}.json", json.dumps(said))
    (world.root / f"discovered/{HOST}/{name}.json").unlink()
    world.commit("Forget it")
    back(world)
    assert world.entry(name)["backend"] == "ollama"


def test_what_ollama_has_no_more_is_recorded_without_files(purged: OllamaWorld) -> None:
    world = purged.world
    purged.daemon.store.manifest(purged.name).unlink()
    out = back(world, "--from", "held").out
    assert "recorded without files: its files are gone" in out
    assert "download_path" not in world.entry(NAME)
    assert world.entry(NAME)["conditions"][0]["reason"] == "Missing"  # type: ignore[index]


def test_deprecated_entries_come_back_only_when_asked(purged: OllamaWorld) -> None:
    world = purged.world
    back(world)
    world.write(f"discovered/{HOST}/{NAME}.json", json.dumps({**world.entry(NAME), "deprecated": True}))
    world.reconcile()
    done = command("purge-deprecated", "--registry", world.root)
    assert world.entries() == [], done
    assert "--include-deprecated" in back(world).err
    assert world.entries() == []
    back(world, "--include-deprecated")
    assert world.entries() == [NAME]


LEGACY = [
    {
        "name": "qwen3_8b_(Q4_K_M)",
        "display_name": "qwen3 8.2b (Q4 K M)",
        "backend": "ollama",
        "backend_config": {"port": 11434, "model_path": "ollama:/qwen3:8b", "extra_args": []},
        "capabilities": {"text": True, "vision": False, "tools": True, "tool_use": True},
        "artifacts": {"aggregate_sha256": "", "files": []},
        "source_provider": "ollama",
        "served_model_id": "qwen3:8b",
        "download_path": "ollama://qwen3:8b",
        "deprecated": False,
    },
    {"name": "old-ollama-gguf", "backend": "ollama", "source_provider": "ollama", "deprecated": True},
    {"name": "llama-vllm", "backend": "vllm", "source_provider": "hf", "deprecated": False},
]


def test_a_backup_file_of_the_predecessor_gives_its_ollama_entries(world: World, tmp_path: Path) -> None:
    backup = tmp_path / "my files" / "model_registry.discovered.20251022-200339.bak.json"
    backup.parent.mkdir()
    backup.write_text(json.dumps(LEGACY), encoding="utf-8")
    shown = back(world, "--backup", backup, "--dry-run")
    assert "qwen3_8b_(Q4_K_M)" in shown.out
    assert "old-ollama-gguf: deprecated" in shown.err
    back(world, "--backup", backup)
    assert world.entries() == ["qwen3_8b_(Q4_K_M)"]
    entry = world.entry("qwen3_8b_(Q4_K_M)")
    assert entry["served_model_id"] == "qwen3:8b"
    assert entry["conditions"][0]["status"] in {"False", "Unknown"}  # type: ignore[index]
    back(world, "--backup", backup, "--include-deprecated")
    assert world.entries() == ["old-ollama-gguf", "qwen3_8b_(Q4_K_M)"]


@pytest.mark.parametrize("content", ["{", '{"name": "x"}', "[1]", None])
def test_a_file_that_is_no_backup_is_refused_by_name(world: World, tmp_path: Path, content: str | None) -> None:
    backup = tmp_path / "broken.bak.json"
    if content is not None:
        backup.write_text(content, encoding="utf-8")
    result = command("restore-ollama", "--backup", backup, "--registry", world.root)
    assert result.code == 1
    assert str(backup) in result.err
    assert "Traceback" not in result.err
