"""O14: `status` and the plan tell of what fills Ollama's store and belongs to no model."""

import os
import time
from pathlib import Path

from support.ollama_world import OllamaWorld
from support.reconcile import command

OLD = time.time() - 7200


def orphan(ollama: OllamaWorld, digest: str, when: float) -> Path:
    path = ollama.daemon.store.blob(digest)
    path.write_bytes(b"nobody's" * 100)
    os.utime(path, (when, when))
    return path


def test_o14_status_and_plan_tell_of_leftovers_and_clean_removes_what_is_safe(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    assert ollama.world.plan().json["notes"] == []
    old, young = orphan(ollama, "a" * 64, OLD), orphan(ollama, "b" * 64, time.time())
    shown = command("status", "--registry", ollama.world.root)
    assert shown.code == 0
    assert f"note: {ollama.daemon.store.folder}" in shown.out
    found = command("status", "--json", "--registry", ollama.world.root).json["ollama_leftovers"]
    assert isinstance(found, list)
    told = {one["path"]: (one["bytes"], one["remove"]) for one in found}
    assert told == {str(old): (800, True), str(young): (800, False)}
    notes = ollama.world.plan().json["notes"]
    assert isinstance(notes, list)
    assert [("2 orphaned blobs" in note, "`clean`" in note) for note in notes] == [(True, True)]
    assert "No changes" in ollama.world.reconcile("--detailed-exitcode").out
    command("clean", "-y", "--registry", ollama.world.root)
    assert not old.exists()
    assert young.exists()
    assert ollama.world.plan().changes == {}


def test_o14_what_cannot_be_judged_is_told_with_the_reason(ollama: OllamaWorld) -> None:
    mine = orphan(ollama, "a" * 64, OLD)
    bad = ollama.daemon.store.write_manifest("broken", b"{")
    shown = command("status", "--registry", ollama.world.root)
    assert str(bad) in shown.out
    command("clean", "-y", "--registry", ollama.world.root)
    assert mine.exists()
