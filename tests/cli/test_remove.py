"""``remove`` through the real command line: what goes, what stays, and that it does not come back."""

import json
import os
import sys

import pytest

from support.git import git
from support.reconcile import MODEL, QUANTS, REPO, Result, World, command
from support.recorded import write_snapshot
from support.terminal import Terminal
from support.transfer import tree, write

NAME = "tiny-1b-vllm"
MANIFEST = f"models/{NAME}.yaml"


@pytest.fixture(autouse=True)
def installed(world: World) -> None:
    world.serve()
    done = command("download", REPO, "--role", "caption", "--registry", world.root, "--no-progress")
    assert done.code == 0, done


def remove(world: World, *words: str, code: int = 0) -> Result:
    result = command("remove", *words, "--registry", world.root)
    assert result.code == code, result
    if code == 0:
        world.check()
        assert git(world.root, "status", "--porcelain", "--", "models", "discovered", "snapshot") == ""
    return result


def text_of(world: World, file: str = MANIFEST) -> str:
    return (world.root / file).read_text(encoding="utf-8")


def scan(world: World, entry: dict[str, object]) -> None:
    """Commit an entry as a scan would have made it."""
    world.write(f"discovered/testhost/{entry['name']}.json", json.dumps(entry, indent=2, sort_keys=True))
    write_snapshot(world)


def test_only_the_download_is_forgotten(world: World) -> None:
    before = text_of(world)
    result = remove(world, NAME, "--force")
    assert f"{MANIFEST} will say `state: absent`" in result.err
    assert f"✅ Removed {NAME}: no file was touched; the entry is kept; committed " in result.out
    assert text_of(world) == before + "state: absent\n"
    assert "download_path" not in world.entry(NAME)
    assert world.snapshot()[NAME]["roles"] == ["caption"]
    assert tree(world.weights / REPO) == MODEL
    assert world.message().startswith(f"Remove {NAME}: 1 removed")
    world.reconcile()
    assert tree(world.weights / REPO) == MODEL
    assert world.plan().changes == {}


def test_files_go_when_asked_and_empty_folders_with_them(world: World) -> None:
    result = remove(world, NAME, "--delete-files", "--force")
    assert f"4 of 4 files at {world.weights / REPO} will be deleted" in result.err
    assert "4 files deleted, 58.6 KiB freed; the entry is kept" in result.out
    assert not (world.weights / "acme").exists()
    assert world.weights.is_dir()
    assert world.plan().changes == {}


def test_a_purge_takes_entry_and_manifest_in_one_commit(world: World) -> None:
    before = world.head()
    result = remove(world, NAME, "--purge", "--delete-files", "--force")
    assert f"✅ Purged {NAME}: 4 files deleted, 58.6 KiB freed; the entry is gone" in result.out
    assert world.entries() == []
    assert not (world.root / MANIFEST).exists()
    assert world.snapshot() == {}
    assert not (world.weights / "acme").exists()
    assert git(world.root, "rev-parse", "HEAD~1").strip() == before
    world.reconcile("--prune", "--allow-empty")


def test_a_purge_alone_leaves_the_files(world: World) -> None:
    assert f"its files stay at {world.weights / REPO}" in remove(world, NAME, "--purge", "--force").err
    assert tree(world.weights / REPO) == MODEL
    assert world.entries() == []


def test_what_was_removed_comes_back_by_name_without_fetching_what_stayed(world: World) -> None:
    remove(world, NAME, "--force")
    world.served.forget()
    done = command("download", REPO, "--registry", world.root, "--no-progress")
    assert done.code == 0, done
    assert "✅ Found here, every byte right" in done.out
    assert "tokenizer.json" not in world.served.files
    assert "state:" not in text_of(world)


def test_an_emptied_entry_is_purged_later(world: World) -> None:
    remove(world, NAME, "--delete-files", "--force")
    refused = remove(world, NAME, "--force", code=1)
    assert "records no files" in refused.err
    remove(world, NAME, "--purge", "--force")
    assert world.entries() == []


def test_without_a_terminal_it_refuses_unless_forced(world: World) -> None:
    before = world.head()
    refused = remove(world, NAME, "--delete-files", code=1)
    assert "nobody can be asked" in refused.err
    assert "Run it again with --yes " in refused.err
    assert world.head() == before
    assert tree(world.weights / REPO) == MODEL


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_it_asks(world: World, monkeypatch: pytest.MonkeyPatch, answer: str, *, gone: bool) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    result = remove(world, NAME, "--delete-files", code=0 if gone else 1)
    assert f"Remove {NAME}, which frees 58.6 KiB? [y/N]" in result.err
    assert (world.weights / REPO).exists() != gone


def test_an_unknown_name_is_said_with_the_nearest(world: World) -> None:
    assert f"Did you mean '{NAME}'?" in remove(world, "tiny-1b-vlm", "--force", code=1).err
    assert "`imageworks-models list`" in remove(world, "something-else", "--force", code=1).err


def test_files_of_others_stay(world: World) -> None:
    """I5."""
    (world.weights / REPO / "notes.txt").write_text("mine", encoding="utf-8")
    (world.weights / REPO / "config.json").write_text("edited by hand", encoding="utf-8")
    result = remove(world, NAME, "--delete-files", "--force")
    assert "config.json: not as recorded, so not ours to delete" in result.err
    assert tree(world.weights / REPO) == {"notes.txt": b"mine", "config.json": b"edited by hand"}


def test_what_another_quantization_has_too_stays(world: World) -> None:
    world.serve(QUANTS, "acme/many-GGUF")
    for label in ("q4_k_m", "q8_0"):
        done = command("download", f"acme/many-GGUF:{label}", "--registry", world.root, "--no-progress")
        assert done.code == 0, done
    result = remove(world, "many-gguf-q4_k_m", "--delete-files", "--force")
    assert "2 files stay, which many-gguf-q8_0 has too" in result.err
    assert "1 file deleted, 39.1 KiB freed" in result.out
    assert set(tree(world.weights / "acme/many-GGUF")) == {"README.md", "LICENSE", "many-7b-Q8_0.gguf"}
    assert command("verify", "--full", "--registry", world.root).code == 0


def test_bytes_that_have_another_name_are_not_freed(world: World) -> None:
    os.link(world.weights / REPO / "model.safetensors", world.folder / "kept elsewhere")
    assert "4 files deleted, 50 B freed" in remove(world, NAME, "--delete-files", "--force").out
    assert (world.folder / "kept elsewhere").stat().st_size == len(MODEL["model.safetensors"])


def test_a_manifest_with_uncommitted_changes_stops_it(world: World) -> None:
    world.write(MANIFEST, text_of(world) + "# thinking\n", commit=False)
    refused = command("remove", NAME, "--delete-files", "--force", "--registry", world.root)
    assert refused.code == 1
    assert f"{MANIFEST} has uncommitted changes" in refused.err
    assert tree(world.weights / REPO) == MODEL


def test_a_manifest_that_serves_other_hosts_leaves_only_this_one_out(world: World) -> None:
    entry = {**world.entry(NAME)}
    world.write(f"discovered/elsewhere/{NAME}.json", json.dumps(entry, indent=2, sort_keys=True))
    write_snapshot(world, "elsewhere")
    result = remove(world, NAME, "--delete-files", "--force")
    assert f"{MANIFEST} will leave this host out; it stays for elsewhere" in result.err
    assert "hosts: [elsewhere]" in text_of(world)
    assert "state:" not in text_of(world)
    assert not (world.weights / REPO).exists()
    assert world.plan().changes == {}


def test_a_model_that_was_never_declared_goes_by_its_record(world: World) -> None:
    remove(world, NAME, "--purge", "--force")
    done = command("scan", "--base", world.weights, "--registry", world.root)
    assert done.code == 0, done
    (found,) = world.entries()
    result = remove(world, found, "--delete-files", "--force")
    assert "4 files deleted" in result.out
    assert not (world.weights / REPO).exists()
    assert world.entries() == [found]


def test_a_local_source_is_never_deleted(world: World) -> None:
    source = world.folder / "my finetune"
    write(source, dict(MODEL))
    world.declare("mine", source={"path": str(source)})
    world.reconcile()
    result = remove(world, "mine", "--delete-files", "--purge", "--force")
    assert "they are the source itself" in result.err
    assert tree(source) == MODEL


def test_a_declared_model_that_was_never_brought_can_be_purged(world: World) -> None:
    world.declare("waiting", source={"huggingface": "acme/other"}, state="suspended")
    remove(world, "waiting", "--purge", "--force")
    assert not (world.root / "models/waiting.yaml").exists()
    assert world.entries() == [NAME]


def test_an_ollama_entry_says_how_its_space_is_freed(world: World) -> None:
    name = "qwen2.5vl-7b-ollama-gguf"
    scan(
        world,
        {
            "schema_version": 1,
            "name": name,
            "managed": False,
            "backend": "ollama",
            "source_provider": "ollama",
            "served_model_id": "qwen2.5vl:7b",
            "download_path": "ollama://qwen2.5vl:7b",
        },
    )
    assert "`ollama rm qwen2.5vl:7b` frees the space" in remove(world, name, "--delete-files", "--force").err
    assert "download_path" not in world.entry(name)


def test_a_record_that_leads_outside_the_hosts_roots_deletes_nothing(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Records come by pull request too."""
    outside = tmp_path_factory.mktemp("outside")
    write(outside, dict(MODEL))
    file = f"discovered/testhost/{NAME}.json"
    world.write(file, text_of(world, file).replace(str(world.weights / REPO), str(outside)))
    write_snapshot(world)
    before = world.head()
    refused = command("remove", NAME, "--delete-files", "--force", "--registry", world.root)
    assert refused.code == 1
    assert "outside the folders that this host allows" in refused.err
    assert tree(outside) == MODEL
    assert world.head() == before
