"""Importing from a loopback Ollama, by every door that leads to it: one valid commit, and Ollama stays as it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.cli.app import run
from imageworks.cli.scripts.loader import app as loader
from imageworks.providers.ollama.names import parse_name
from support.git import git
from support.ollama_content import model
from support.ollama_world import OllamaWorld, started_ollama
from support.reconcile import Result, World, command
from support.weights import safetensors_file

__all__ = ["started_ollama"]

QWEN, HUB = "qwen2.5vl-7b-ollama-gguf", "hf.co-me-tiny-gguf-ollama-gguf-q6_k"
CONFIG = json.dumps({"model_type": "llama", "quantization_config": {"quant_method": "awq"}})
SCRIPT = Path(__file__).parents[2] / "scripts/import_ollama_models.py"


def maintain(world: World, *words: str | Path, code: int = 0) -> Result:
    """Run a command and check that what it leaves is valid (I2)."""
    result = command(*words, "--registry", world.root)
    assert result.code == code, result
    world.check()
    return result


def load(world: World, capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> Result:
    """Run a command of imageworks-loader likewise."""
    capsys.readouterr()
    ended = run([*map(str, words), "--registry", str(world.root)], application=loader)
    out, err = capsys.readouterr()
    assert ended == code, err
    world.check()
    return Result(int(ended), out, err)


def legacy(world: World, name: str, **fields: object) -> None:
    entry = {"schema_version": 1, "name": name, "managed": False, "backend": "ollama", **fields}
    world.write(f"discovered/testhost/{name}.json", json.dumps(entry))
    world.reconcile("--yes")


@pytest.fixture
def full(ollama: OllamaWorld) -> OllamaWorld:
    """An Ollama with two models."""
    ollama.daemon.install("qwen2.5vl:7b", model(b"one", projector=b"eyes", parameter_size="8.3B"))
    ollama.daemon.install("hf.co/me/Tiny-GGUF:Q6_K", model(b"two", quantization="Q6_K", parameters={"stop": ["</s>"]}))
    return ollama


def test_an_import_is_one_commit_and_a_dry_run_writes_nothing(full: OllamaWorld) -> None:
    world, before = full.world, full.world.head()
    shown = maintain(world, "import-ollama", "--dry-run")
    assert [line for line in shown.out.splitlines() if line.startswith("+")] == [
        f"+ {HUB}  hf.co/me/Tiny-GGUF:Q6_K in Ollama",
        f"+ {QWEN}  qwen2.5vl:7b in Ollama",
    ]
    assert world.head() == before
    maintain(world, "import-ollama")
    assert git(world.root, "rev-parse", "HEAD~1").strip() == before
    assert world.entries() == [HUB, QWEN]
    entry = world.entry(HUB)
    assert (entry["served_model_id"], entry["quantization"], entry["family"]) == (
        "hf.co/me/Tiny-GGUF:Q6_K",
        "q6_k",
        "hf.co-me-tiny-gguf",
    )
    assert entry["download_path"] == str(full.daemon.store.folder)
    assert world.snapshot()[QWEN]["display_name"] == "qwen2.5vl 7b (Q4 K M)"
    assert world.snapshot()[QWEN]["capabilities"]["vision"] is True  # type: ignore[index]
    shows = sum(1 for asked in full.daemon.requests if asked.path == "/api/show")
    assert maintain(world, "import-ollama").out == "No changes.\n"
    assert sum(1 for asked in full.daemon.requests if asked.path == "/api/show") == shows  # of what is known, nothing
    assert {asked.method for asked in full.daemon.requests if asked.path != "/api/show"} == {"GET"}


def test_lists_stats_and_verify_know_what_was_imported(full: OllamaWorld) -> None:
    world = full.world
    maintain(world, "import-ollama")
    listed = json.loads(command("list", "--registry", world.root, "--json", "--location", "linux_wsl").out)
    assert {one["name"]: (one["installed"], one["producer"]) for one in listed} == {
        HUB: (True, "me"),
        QWEN: (True, None),
    }
    counted = command("stats", "--registry", world.root, "--json").json
    assert (counted["models"], counted["installed"]) == (2, 2)
    stored = sum(file.stat().st_size for file in (full.daemon.store.folder / "blobs").iterdir())
    assert counted["bytes_on_disk"] == stored
    assert command("verify", "--registry", world.root).code == 0
    for words in (("normalize-formats", "--rebuild", "--prune-missing", "--apply"), ("purge-logical-only", "--apply")):
        assert maintain(world, *words).out == "No changes.\n"
    full.daemon.store.blob(str(world.entry(QWEN)["artifacts"]["files"][0]["sha256"])).unlink()  # type: ignore[index]
    listed = json.loads(command("list", "--registry", world.root, "--json").out)
    assert {one["name"]: one["installed"] for one in listed} == {HUB: True, QWEN: False}


def test_what_left_ollama_leaves_the_registry(full: OllamaWorld) -> None:
    maintain(full.world, "import-ollama")
    full.daemon.store.remove(parse_name("qwen2.5vl:7b"))
    result = maintain(full.world, "import-ollama")
    assert result.out.startswith(f"- {QWEN}  qwen2.5vl:7b is not in Ollama any more\n")
    assert full.world.entries() == [HUB]


def test_a_model_that_is_removed_by_name_keeps_its_entry(full: OllamaWorld) -> None:
    maintain(full.world, "import-ollama")
    stored = sum(file.stat().st_size for file in (full.daemon.store.folder / "blobs").iterdir())
    removed = maintain(full.world, "remove", QWEN, "--delete-files", "--force")
    left = sum(file.stat().st_size for file in (full.daemon.store.folder / "blobs").iterdir())
    assert f"qwen2.5vl:7b is gone from Ollama, {stored - left} B freed" in removed.out
    assert "qwen2.5vl:7b" not in full.names()
    assert f"kept: {QWEN}" in maintain(full.world, "import-ollama").err
    assert full.world.entries() == [HUB, QWEN]
    full.daemon.stop()
    told = maintain(full.world, "remove", HUB, "--delete-files", "--force")
    assert "ollama rm hf.co/me/Tiny-GGUF:Q6_K" in told.err


def test_a_path_that_only_stands_for_a_model_is_kept_while_ollama_has_it(full: OllamaWorld) -> None:
    ready = [{"type": "Ready", "status": "True", "reason": "Verified", "message": "m"}]
    there = {"served_model_id": "qwen2.5vl:7b", "download_path": "ollama://qwen2.5vl:7b", "conditions": ready}
    legacy(full.world, "there", **there)
    legacy(full.world, "away", served_model_id="away:7b", download_path="ollama://away:7b", conditions=ready)
    result = maintain(full.world, "purge-logical-only")
    assert [line for line in result.out.splitlines() if line.startswith("-")] == ["- away  no files of its own"]
    full.daemon.store.remove(parse_name("qwen2.5vl:7b"))
    full.daemon.stop()
    assert maintain(full.world, "purge-logical-only", "--apply").out == "No changes.\n"


def test_a_daemon_that_is_away_costs_nothing(full: OllamaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    maintain(full.world, "import-ollama")
    full.daemon.stop()
    result = maintain(full.world, "import-ollama")
    assert result.out == "No changes.\n"
    assert "what the store on disk says counts" in result.err
    monkeypatch.setenv("OLLAMA_MODELS", str(full.world.folder / "nowhere"))
    refused = maintain(full.world, "import-ollama", code=1)
    assert refused.err.startswith("error: nothing can be said of Ollama's models")
    (full.world.folder / "nowhere").mkdir()
    assert "only Ollama's daemon can say" in maintain(full.world, "import-ollama").err
    assert full.world.entries() == [HUB, QWEN]


def test_hosts_backends_locations_and_placeholders_are_as_asked(
    full: OllamaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    legacy(full.world, "model-ollama-gguf-3")
    monkeypatch.setenv("IMAGEWORKS_OLLAMA_HOST", "gpu-box")
    words = ("--backend", "ollama", "--location", "second", "--deprecate-placeholders", "--no-backup")
    result = maintain(full.world, "import-ollama", *words)
    assert "git history is the backup" in result.err
    entry = full.world.entry(QWEN)
    written = {"host": "gpu-box", "port": full.daemon.port}
    assert (entry["backend_config"], entry["download_location"]) == (written, "second")
    assert full.world.entry("model-ollama-gguf-3")["deprecated"] is True
    maintain(full.world, "purge-deprecated", "--placeholders-only")
    assert full.world.entries() == [HUB, QWEN]
    assert maintain(full.world, "import-ollama", "--backend", "nonsense", code=64).out == ""


def test_a_bad_address_is_one_clear_error(full: OllamaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "one\ntwo")
    result = maintain(full.world, "import-ollama", code=1)
    assert result.err.startswith("error: OLLAMA_API_KEY")
    assert "two" not in result.err.splitlines()[0]


def test_the_script_is_the_command(full: OllamaWorld) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--dry-run", "--registry", str(full.world.root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"+ {QWEN}" in done.stdout


def put(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(CONFIG, encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(safetensors_file({"w": ("I32", [4], 16)}))


def test_the_loader_discovers_everything_in_one_commit(full: OllamaWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world, before = full.world, full.world.head()
    put(world.weights / "some one/llama-7b-AWQ")
    shown = load(world, capsys, "discover-all", "--hf-root", world.weights, "--dry-run")
    assert "Discovered: 1 in folders, 2 changes of Ollama's. Nothing was written." in shown.out
    assert world.head() == before
    load(world, capsys, "discover-all", "--hf-root", world.weights)
    assert git(world.root, "rev-parse", "HEAD~1").strip() == before
    assert world.entries() == [HUB, "llama-7b-vllm-awq", QWEN]
    assert "Nothing to commit." in load(world, capsys, "discover-all", "--hf-root", world.weights).out
    full.daemon.stop()


def test_the_loader_discovers_folders_where_there_is_no_ollama(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.setenv("OLLAMA_MODELS", str(world.folder / "nowhere"))
    put(world.weights / "some one/llama-7b-AWQ")
    result = load(world, capsys, "discover-all")
    assert "note: nothing can be said of Ollama's models" in result.err
    assert world.entries() == ["llama-7b-vllm-awq"]


@pytest.mark.parametrize(("words", "code"), [((), 0), (("--hf-root", "nowhere at all"), 1)], ids=["usual", "named"])
def test_p13_without_a_weights_folder_ollamas_models_are_recorded(
    full: OllamaWorld, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int
) -> None:
    world = full.world
    world.weights.rmdir()
    shown = load(world, capsys, "discover-all", *words, "--dry-run", code=code)
    assert "Nothing was written" in shown.out
    result = load(world, capsys, "discover-all", *words, code=code)
    assert "there is no such folder" in result.err
    assert world.entries() == sorted([HUB, QWEN])
    assert not world.weights.exists()


def test_the_loader_purges_and_records_anew(full: OllamaWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world = full.world
    put(world.weights / "some one/llama-7b-AWQ")
    assert load(world, capsys, "ingest-local-hf", "--root", world.weights).out.startswith("+ llama-7b-vllm-awq")
    load(world, capsys, "rebuild-ollama", "--location", "linux_wsl")
    assert len(world.entries()) == 3
    before = world.head()
    assert load(world, capsys, "rebuild-ollama", "--location", "linux_wsl").out == "No changes.\n"
    assert "Nothing was written" in load(world, capsys, "purge-imported", "--providers", "all").out
    assert world.head() == before
    load(world, capsys, "purge-imported", "--providers", "ollama", "--apply")
    assert world.entries() == ["llama-7b-vllm-awq"]
    load(world, capsys, "purge-imported", "--providers", "hf", "--apply")
    assert world.entries() == []
    load(world, capsys, "rebuild-ollama")
    load(world, capsys, "reset-discovered", "--backend", "ollama")
    assert world.entries() == []


def test_a_rebuild_takes_ghosts_and_given_names_with_it(full: OllamaWorld, capsys: pytest.CaptureFixture[str]) -> None:
    legacy(full.world, "ghost", served_model_id="gone:7b")
    legacy(full.world, "my-qwen", served_model_id="qwen2.5vl:7b")
    maintain(full.world, "import-ollama")
    assert full.world.entries() == [HUB, "my-qwen"]
    load(full.world, capsys, "rebuild-ollama")
    assert full.world.entries() == [HUB, QWEN]


def test_the_module_of_the_loader_runs(world: World) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imageworks.model_loader.cli_sync", "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for name in ("purge-imported", "ingest-local-hf", "rebuild-ollama", "discover-all", "reset-discovered"):
        assert name in done.stdout
    assert world.entries() == []
