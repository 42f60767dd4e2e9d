"""I1 and I3 for Ollama: a run that is killed or interrupted loses no model, and the next one converges."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from imageworks.foundation.failpoints import VARIABLE
from support.ollama_world import NAME, SHORT, OllamaWorld, tiny
from support.reconcile import QUANTS
from support.transfer import content

PATIENCE = 60


def started(ollama: OllamaWorld, *more: str, **environment: str) -> "subprocess.Popen[str]":
    """Start the real program."""
    program = Path(sys.executable).parent / "imageworks-models"
    words = [str(program), "reconcile", "--yes", "--no-progress", "--registry", str(ollama.world.root), *more]
    return subprocess.Popen(
        words, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def killed_at(ollama: OllamaWorld, point: str) -> None:
    run = started(ollama, **{VARIABLE: point})
    output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == -signal.SIGKILL, output


def two_revisions(ollama: OllamaWorld) -> tuple[bytes, bytes]:
    """Install one pinned content and declare the next."""
    first = ollama.offer()
    ollama.declare(more={"digest": first.digest})
    ollama.world.reconcile()
    second = ollama.offer("newer weights")
    ollama.declare(more={"digest": second.digest})
    return first.manifest, second.manifest


@pytest.mark.parametrize("point", ["ollama.kept", "ollama.pulled", "git.ref-moved"])
def test_i3_an_update_that_is_killed_converges(ollama: OllamaWorld, point: str) -> None:
    before, after = two_revisions(ollama)
    killed_at(ollama, point)
    assert ollama.installed() in {before, after}
    ollama.world.reconcile()
    assert ollama.installed() == after
    assert ollama.names() == [ollama.name]
    assert ollama.world.plan().changes == {}


@pytest.mark.parametrize("point", ["ollama.kept", "ollama.pulled"])
def test_i1_an_update_that_is_killed_and_taken_back_leaves_what_was(ollama: OllamaWorld, point: str) -> None:
    before, _ = two_revisions(ollama)
    killed_at(ollama, point)
    first = tiny()
    assert first.manifest == before
    ollama.models.add(SHORT, tiny("even newer"))  # what was installed is not to be had again
    ollama.declare(more={"digest": first.digest})
    ollama.world.reconcile()
    assert ollama.installed() == before
    assert ollama.names() == [ollama.name]
    assert ollama.world.plan().changes == {}


@pytest.mark.parametrize("point", ["ollama.pulled", "git.ref-moved"])
def test_i3_an_install_that_is_killed_is_ours(ollama: OllamaWorld, point: str) -> None:
    ollama.offer()
    ollama.declare(prune="enabled")
    killed_at(ollama, point)
    ollama.world.reconcile()
    assert ollama.entry()["metadata"]["acquisition"] == "installed"
    ollama.world.delete(NAME)
    ollama.world.reconcile("--allow-empty")
    assert ollama.names() == []


@pytest.mark.parametrize("point", ["apply.published", "ollama.kept", "git.ref-moved"])
def test_i3_an_offer_that_is_killed_converges(ollama: OllamaWorld, point: str) -> None:
    repository = ollama.world.serve(QUANTS, "acme/many")
    source = {"huggingface": "acme/many", "revision": repository.commit_id}
    ollama.world.declare("many", source=source, quantization="q8_0", backend="ollama")
    ollama.world.reconcile()
    newer = content("newer Q8_0", 71_000)
    source["revision"] = repository.commit({"many-7b-Q8_0.gguf": newer})
    ollama.world.declare("many", source=source, quantization="q8_0", backend="ollama")
    killed_at(ollama, point)
    ollama.world.reconcile()
    assert ollama.names() == ["many:latest"]
    (layer,) = ollama.daemon.store.layers(ollama.daemon.store.manifest("many:latest"), "model")
    assert newer in layer
    assert ollama.world.plan().changes == {}


def test_i3_a_removal_that_is_killed_is_finished(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare(prune="enabled")
    ollama.world.reconcile()
    ollama.world.delete(NAME)
    run = started(ollama, "--allow-empty", **{VARIABLE: "ollama.removed"})
    output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == -signal.SIGKILL, output
    assert ollama.names() == []
    assert ollama.world.entries() == [NAME]
    ollama.world.reconcile("--allow-empty")
    assert ollama.names() == []
    assert ollama.world.entries() == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_pull_in_the_middle_ends_with_the_program_and_is_resumed(ollama: OllamaWorld, how: signal.Signals) -> None:
    offered = ollama.offer()
    ollama.declare()
    ollama.daemon.wait = threading.Event()
    run = started(ollama)
    assert ollama.daemon.pulling.wait(PATIENCE)
    run.send_signal(how)
    output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == (130 if how is signal.SIGINT else -how), output
    assert "Traceback" not in output
    assert ollama.daemon.left.wait(PATIENCE)
    ollama.daemon.wait = None
    ollama.world.reconcile()
    assert ollama.installed() == offered.manifest
    assert ollama.entry()["metadata"]["acquisition"] == "installed"


def test_a_daemon_that_dies_in_the_middle_fails_its_model_alone(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.serve()
    ollama.world.declare("tiny-1b")
    ollama.daemon.die_after_lines = 2
    failed = ollama.world.reconcile(code=1)
    assert ollama.world.entries() == ["tiny-1b"]
    assert "Traceback" not in failed.err
    ollama.restart()
    ollama.world.reconcile()
    assert ollama.world.entries() == ["tiny-1b", NAME]


def test_i7_a_key_is_in_nothing_that_we_write(ollama: OllamaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-not-to-be-seen-4711"  # noqa: S105 # made up
    monkeypatch.setenv("OLLAMA_API_KEY", secret)
    ollama.daemon.key = secret
    ollama.offer()
    ollama.declare()
    result = ollama.world.reconcile()
    ollama.daemon.key = "another"
    refused = ollama.world.reconcile("--dry-run")
    assert secret not in result.out + result.err + refused.out + refused.err
    for file in [*ollama.world.root.rglob("*.json"), *Path(os.environ["HOME"]).rglob("*.log")]:
        assert secret not in file.read_text(encoding="utf-8"), file
    assert secret not in ollama.world.message()
