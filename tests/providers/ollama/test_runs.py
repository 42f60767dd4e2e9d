"""Models of Ollama through the real program: pulled, kept, put back, removed, in the same plan as those on disks."""

import json
import os

import pytest

from imageworks.host.settings import load_host_settings
from imageworks.providers.ollama.errors import OllamaUnreachableError
from imageworks.providers.ollama.names import parse_name
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from support.ollama_content import Content, model
from support.ollama_world import NAME, SHORT, OllamaWorld, tiny
from support.reconcile import command

OTHER = "tiny-1b"


def digest_of(content: Content) -> dict[str, str]:
    return {"digest": f"sha256:{content.digest}"}


def test_a_model_is_pulled_recorded_and_left_alone(ollama: OllamaWorld) -> None:
    content = ollama.offer(system="Be brief.", licenses=("Apache License\nVersion 2.0",))
    ollama.declare()
    change = ollama.planned()
    assert (change["action"], change["reason"]) == ("install", "missing")
    assert change["bytes_to_fetch"] == content.size
    assert change["size_known"] is True
    result = ollama.world.reconcile()
    assert ollama.installed() == content.manifest
    entry = ollama.entry(NAME)
    assert entry["source_provider"] == "ollama"
    assert entry["backend"] == "ollama"
    assert entry["download_format"] == "gguf"
    assert entry["served_model_id"] == ollama.name
    assert entry["download_path"] == str(ollama.daemon.store.folder)
    assert entry["download_size_bytes"] == content.size
    assert entry["backend_config"] == {"host": "host.docker.internal", "port": ollama.daemon.port}
    assert entry["license"] == "apache-2.0"
    assert entry["resolved"] == {
        "repo": ollama.name.rpartition(":")[0],
        "revision": f"sha256:{content.digest}",
        "ref": "latest",
    }
    artifacts = entry["artifacts"]
    assert isinstance(artifacts, dict)
    assert {file["sha256"] for file in artifacts["files"]} == set(content.blobs)
    assert f"+ {NAME} (missing) {content.digest[:12]}" in ollama.world.message(), result
    head = ollama.world.head()
    ollama.models.stop()
    again = ollama.world.reconcile("--detailed-exitcode")
    assert "No changes." in again.out
    assert ollama.world.head() == head
    assert ollama.world.status()[NAME][:2] == ("synced", "healthy")


def test_history_shows_the_digest_that_ollama_list_shows(ollama: OllamaWorld) -> None:
    first = ollama.offer()
    ollama.declare(more=digest_of(first))
    ollama.world.reconcile()
    second = ollama.offer("newer weights")
    ollama.declare(more=digest_of(second))
    ollama.world.reconcile()
    told = command("history", NAME, "--registry", ollama.world.root).out
    assert f" @ {first.digest[:12]}, " in told
    assert f"revision {first.digest[:12]}→{second.digest[:12]}" in told


def test_what_a_broken_off_pull_left_is_told_and_used(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.declare()
    digest = max(content.blobs, key=lambda each: len(content.blobs[each]))
    data, blob = content.blobs[digest], ollama.daemon.store.blob(digest)
    blob.with_name(f"{blob.name}-partial").write_bytes(data[:20_000].ljust(len(data), b"\0"))
    row = {"N": 0, "Offset": 0, "Size": len(data), "Completed": 20_000}
    blob.with_name(f"{blob.name}-partial-0").write_text(json.dumps(row))
    change = ollama.planned()
    assert (change["bytes_to_fetch"], change["bytes_staged"]) == (content.size, 20_000)
    ollama.world.reconcile()
    assert ollama.installed() == content.manifest
    assert not any(
        "bytes=0-" in asked.headers.get("range", "") and digest in asked.path for asked in ollama.models.requests
    )


def test_models_of_both_worlds_stand_in_one_plan(ollama: OllamaWorld) -> None:
    ollama.world.serve()
    ollama.offer()
    ollama.world.declare(OTHER)
    ollama.declare()
    assert ollama.world.plan().changes == {OTHER: ("install", "missing"), NAME: ("install", "missing")}
    shown = ollama.world.reconcile("--dry-run", "-v").out
    assert f"from ollama:{ollama.name}" in shown
    assert "Plan: 2 to add" in shown
    ollama.world.reconcile()
    assert ollama.world.entries() == sorted([OTHER, NAME])
    assert ollama.world.plan().changes == {}


def test_without_any_model_of_ollama_no_daemon_is_asked(ollama: OllamaWorld) -> None:
    ollama.world.serve()
    ollama.world.declare(OTHER)
    ollama.world.reconcile()
    ollama.world.reconcile()
    assert ollama.daemon.requests == []


def test_what_is_in_ollama_already_is_adopted_and_never_removed(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.daemon.install(ollama.name, content)
    ollama.declare(prune="enabled")
    assert ollama.world.plan().changes == {NAME: ("adopt", "found")}
    ollama.world.reconcile()
    assert ollama.pulled() == 0
    assert ollama.entry(NAME)["metadata"]["acquisition"] == "adopted"
    ollama.world.delete(NAME)
    ollama.world.reconcile("--allow-empty")
    assert ollama.world.entries() == []
    assert ollama.installed() == content.manifest


def test_what_was_pulled_is_pruned_once_that_is_confirmed(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.world.delete(NAME)
    assert ollama.world.plan().changes == {}
    change = ollama.planned("--prune", "--allow-empty")
    assert (change["action"], change["reason"], change["needs_confirmation"]) == ("remove", "undeclared", True)
    assert change["bytes_freed"] == tiny().size
    ollama.world.reconcile("--prune", "--allow-empty")
    assert ollama.installed() is not None
    ollama.world.reconcile("--prune", "--allow-empty", "--confirm", NAME)
    assert ollama.names() == []
    assert ollama.world.entries() == []


def test_declared_absent_the_entry_stays_and_the_model_goes(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.declare(state="absent")
    assert ollama.world.plan().changes == {NAME: ("remove", "declared-absent")}
    ollama.world.reconcile()
    assert ollama.names() == []
    assert "download_path" not in ollama.entry(NAME)
    assert ollama.world.plan().changes == {}


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_loaded_model_is_blocked_and_not_removed(ollama: OllamaWorld, state: str) -> None:
    first = ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.daemon.loaded.add(ollama.name)
    second = ollama.offer("new weights")
    ollama.declare(state=state, more=digest_of(second) if state == "present" else None)
    assert ollama.world.plan(code=1).changes == {NAME: ("blocked", "ollama-in-use")}
    ollama.world.reconcile(code=1)
    assert ollama.installed() == first.manifest


def test_a_plain_tag_is_not_chased_and_comes_back_when_it_is_gone(ollama: OllamaWorld) -> None:
    first = ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.offer("newer weights")
    assert ollama.world.plan().changes == {}
    ollama.models.add(SHORT, first)
    ollama.daemon.store.remove(parse_name(ollama.name))
    assert ollama.world.plan().changes == {NAME: ("repair", "file-missing")}
    assert ollama.world.status()[NAME][1] == "missing"
    second = ollama.offer("newer weights")
    assert ollama.world.plan().changes == {NAME: ("install", "file-missing")}
    ollama.world.reconcile()
    assert ollama.installed() == second.manifest
    assert ollama.world.plan().changes == {}


def test_a_tag_that_somebody_pulled_anew_is_recorded_as_it_is_now(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    second = ollama.offer("newer weights")
    ollama.daemon.install(ollama.name, second)
    assert ollama.world.plan().changes == {NAME: ("adopt", "digest-mismatch")}
    ollama.world.reconcile()
    assert ollama.entry(NAME)["resolved"]["revision"] == f"sha256:{second.digest}"
    assert ollama.entry(NAME)["metadata"]["acquisition"] == "adopted"
    assert ollama.world.plan().changes == {}


def test_a_pinned_model_that_somebody_changed_is_put_back(ollama: OllamaWorld) -> None:
    first = ollama.offer()
    ollama.declare(more=digest_of(first))
    ollama.world.reconcile()
    ollama.daemon.install(ollama.name, tiny("other weights"))
    assert ollama.world.plan().changes == {NAME: ("update", "digest-mismatch")}
    ollama.world.reconcile()
    assert ollama.installed() == first.manifest
    assert ollama.names() == [ollama.name]


def test_a_pin_that_moves_updates_the_model(ollama: OllamaWorld) -> None:
    first = ollama.offer()
    ollama.declare(more=digest_of(first))
    ollama.world.reconcile()
    second = ollama.offer("newer weights")
    ollama.declare(more=digest_of(second))
    assert ollama.world.plan().changes == {NAME: ("update", "revision-changed")}
    ollama.world.reconcile()
    assert ollama.installed() == second.manifest
    assert f"~ {NAME} (revision-changed) {first.digest[:12]}..{second.digest[:12]}" in ollama.world.message()
    assert ollama.names() == [ollama.name]
    assert not ollama.daemon.store.blob(next(iter(set(first.blobs) - set(second.blobs)))).exists()


def test_a_pin_that_is_no_longer_served_is_blocked_before_anything_is_fetched(ollama: OllamaWorld) -> None:
    first = ollama.offer()
    ollama.offer("newer weights")
    ollama.declare(more=digest_of(first))
    result = ollama.world.reconcile(code=1, valid=False)
    assert ollama.world.plan(code=1).changes == {NAME: ("blocked", "upstream-gone")}
    assert first.digest[:12] in result.out
    assert ollama.pulled() == 0


def test_an_old_store_with_other_manifest_bytes_is_the_pinned_model(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    rewritten = Content(json.dumps(content.parsed, indent=1).encode(), content.blobs)
    assert rewritten.digest != content.digest
    ollama.daemon.install(ollama.name, rewritten)
    ollama.declare(more=digest_of(content))
    assert ollama.world.plan().changes == {NAME: ("adopt", "found")}
    ollama.world.reconcile()
    ollama.models.stop()
    assert ollama.world.plan().changes == {}


def test_another_content_than_pinned_that_someone_else_put_there_is_not_overwritten(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    mine = tiny("my own weights")
    ollama.daemon.install(ollama.name, mine)
    ollama.declare(more=digest_of(content))
    assert ollama.world.plan(code=1).changes == {NAME: ("blocked", "unowned-files")}
    ollama.world.reconcile(code=1, valid=False)
    assert ollama.installed() == mine.manifest


def test_the_working_model_comes_back_when_the_new_one_is_not_what_was_pinned(ollama: OllamaWorld) -> None:
    first = ollama.offer()
    ollama.declare(more=digest_of(first))
    ollama.world.reconcile()
    second = ollama.offer("newer weights")
    ollama.declare(more=digest_of(second))
    ollama.models.corrupt.add(next(digest for digest in second.blobs if digest not in first.blobs))
    failed = ollama.world.reconcile(code=1)
    assert "digest" in failed.err
    assert ollama.installed() == first.manifest
    assert ollama.names() == [ollama.name]
    ollama.models.corrupt.clear()
    ollama.world.reconcile()
    assert ollama.installed() == second.manifest


@pytest.mark.parametrize("stood", [True, False])
def test_where_the_registry_says_nothing_before_the_pull_itself_is_judged(
    ollama: OllamaWorld, monkeypatch: pytest.MonkeyPatch, stood: bool
) -> None:
    first = ollama.offer()
    ollama.declare(more=digest_of(first))
    if stood:
        ollama.world.reconcile()
    ollama.offer("newer weights")
    ollama.declare(more={"digest": "7" * 64})

    def silent(*_: object) -> None:
        raise OllamaUnreachableError("the registry does not answer")

    monkeypatch.setattr("imageworks.providers.ollama.service.OllamaService.upstream", silent)
    failed = ollama.world.reconcile(code=1, valid=stood)
    assert "pinned is 777777777777" in failed.err
    assert ollama.installed() == (first.manifest if stood else None)
    assert ollama.names() == ([ollama.name] if stood else [])


def test_a_lock_judges_what_was_pulled(ollama: OllamaWorld) -> None:
    ollama.offer()
    lock = {"locked": True, "expected_aggregate_sha256": "3" * 64}
    ollama.world.declare(NAME, source={"ollama": ollama.name}, version_lock=lock)
    assert "version_lock expects" in ollama.world.reconcile(code=1, valid=False).err
    assert ollama.names() == []


def test_another_name_that_is_there_already_is_taken_over_and_the_old_one_goes(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    mine = tiny("mine")
    ollama.daemon.install(ollama.models.name("tiny:mine"), mine)
    ollama.declare(short="tiny:mine")
    assert ollama.world.plan().changes == {NAME: ("adopt", "source-changed")}
    ollama.world.reconcile()
    assert ollama.names() == [ollama.models.name("tiny:mine")]
    assert ollama.entry()["metadata"]["acquisition"] == "adopted"


def test_an_old_name_that_is_loaded_or_not_ours_stays(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.offer("big weights", "tiny:big")
    ollama.daemon.install(ollama.name, content)
    ollama.declare()
    ollama.world.reconcile()
    ollama.declare(short="tiny:big")
    ollama.world.reconcile()
    assert sorted(ollama.names()) == sorted([ollama.name, ollama.models.name("tiny:big")])
    ollama.daemon.loaded.add(ollama.models.name("tiny:big"))
    ollama.offer("third weights", "tiny:third")
    ollama.declare(short="tiny:third")
    assert "stays in Ollama" in ollama.world.reconcile().err
    assert ollama.models.name("tiny:big") in ollama.names()


def test_a_model_that_is_loaded_while_we_plan_is_not_removed(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.declare(state="absent")
    host = load_host_settings(registry=ollama.world.root)
    with Run.open(ollama.world.root, host, RunOptions()) as run:
        plan = run.plan()
        ollama.daemon.loaded.add(ollama.name)
        report = run.apply(plan)
    assert [outcome.reason for outcome in report.outcomes] == ["ollama-in-use"]
    assert ollama.names() == [ollama.name]


def test_another_name_replaces_the_model_that_was_ours(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.offer("big weights", "tiny:big")
    ollama.declare()
    ollama.world.reconcile()
    ollama.declare(short="tiny:big")
    assert ollama.world.plan().changes == {NAME: ("update", "source-changed")}
    ollama.world.reconcile()
    assert ollama.names() == [ollama.models.name("tiny:big")]
    assert ollama.world.plan().changes == {}


def test_a_renamed_manifest_renames_the_entry_alone(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.world.delete(NAME)
    ollama.declare("new-name", previously=[NAME])
    assert ollama.world.plan().changes == {"new-name": ("move", "renamed")}
    ollama.world.reconcile()
    assert ollama.world.entries() == ["new-name"]
    assert ollama.pulled() == 1


@pytest.mark.parametrize("pinned", [False, True])
def test_what_somebody_puts_there_while_we_plan_is_not_replaced(ollama: OllamaWorld, pinned: bool) -> None:
    mine = tiny("mine")
    if pinned:
        first = ollama.offer()
        ollama.declare(more=digest_of(first))
        ollama.world.reconcile()
        second = ollama.offer("newer weights")
        ollama.declare(more=digest_of(second))
    else:
        ollama.offer()
        ollama.declare()
    host = load_host_settings(registry=ollama.world.root)
    with Run.open(ollama.world.root, host, RunOptions()) as run:
        plan = run.plan()
        ollama.daemon.install(ollama.name, mine)
        report = run.apply(plan)
    assert [outcome.error is not None for outcome in report.outcomes] == [True]
    assert ollama.installed() == mine.manifest


def test_a_model_that_two_manifests_name_stays_while_one_does(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare("one")
    ollama.declare("two", prune="enabled")
    ollama.world.reconcile()
    ollama.world.reconcile()
    ollama.world.delete("two")
    ollama.world.reconcile()
    assert ollama.world.entries() == ["one"]
    assert ollama.names() == [ollama.name]


def test_a_model_that_needs_a_newer_ollama_is_no_loop(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.models.needs_newer.add(SHORT)
    ollama.declare()
    failed = ollama.world.reconcile(code=1)
    assert "newer version" in failed.err
    assert "1 stalled" in ollama.world.message()
    assert f"! {NAME} (ollama-needs-newer)" in ollama.world.message()
    conditions = ollama.entry(NAME)["conditions"]
    assert isinstance(conditions, list)
    assert ("Stalled", "True") in {(item["type"], item["status"]) for item in conditions}
    assert ollama.pulled() == 1
    assert ollama.world.plan(code=1).changes == {NAME: ("blocked", "ollama-needs-newer")}
    ollama.world.reconcile(code=1)
    assert ollama.pulled() == 1
    assert command("verify", "--registry", ollama.world.root).code == 0
    ollama.models.needs_newer.clear()
    ollama.daemon.version = "0.40.0"
    ollama.world.reconcile()
    assert ollama.installed() is not None
    assert [item["type"] for item in ollama.entry(NAME)["conditions"]] == ["Ready"]


def test_what_was_refused_and_never_came_leaves_no_record(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.models.needs_newer.add(SHORT)
    ollama.declare()
    ollama.world.reconcile(code=1)
    ollama.world.delete(NAME)
    ollama.world.reconcile("--prune", "--allow-empty", "--confirm", NAME)
    assert ollama.world.entries() == []


def test_what_a_person_pulls_after_our_failure_is_not_ours(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.declare()
    ollama.daemon.end_after_lines = 1
    ollama.world.reconcile(code=1)
    ollama.daemon.end_after_lines = None
    ollama.daemon.install(ollama.name, content)
    ollama.world.reconcile()
    assert ollama.entry()["metadata"]["acquisition"] == "adopted"


def test_a_locked_model_that_somebody_changed_comes_back_when_that_is_asked(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    lock = {"locked": True, "expected_aggregate_sha256": ollama.entry()["artifacts"]["aggregate_sha256"]}
    source = {"ollama": ollama.name}
    ollama.world.declare(NAME, source=source, version_lock=lock)
    ollama.daemon.install(ollama.name, tiny("somebody's"))
    assert ollama.world.plan(code=1).changes == {NAME: ("blocked", "locked")}
    repaired = command("verify", "--repair", "--registry", ollama.world.root)
    assert repaired.code == 0, repaired
    assert ollama.installed() == content.manifest


def test_imported_models_that_change_or_go_are_drift(ollama: OllamaWorld) -> None:
    ollama.daemon.install("llama3.2:3b", tiny("llama"))
    command("import-ollama", "--registry", ollama.world.root)
    ollama.daemon.install("llama3.2:3b", tiny("newer llama"))
    drift = ollama.world.plan().json["drift"]
    assert isinstance(drift, list)
    assert [(item["reason"], "changed in Ollama" in item["message"]) for item in drift] == [("digest-mismatch", True)]
    ollama.daemon.store.remove(parse_name("llama3.2:3b"))
    drift = ollama.world.plan().json["drift"]
    assert isinstance(drift, list)
    assert [(item["reason"], "gone from Ollama" in item["message"]) for item in drift] == [("file-missing", True)]


def test_a_manifest_that_is_damaged_is_pulled_anew(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.daemon.store.write_manifest(ollama.name, b"{ not json")
    assert ollama.world.plan().changes == {NAME: ("repair", "file-missing")}
    ollama.world.reconcile()
    assert ollama.installed() == content.manifest
    assert ollama.world.plan().changes == {}


def test_a_manifest_that_nobody_can_read_is_not_called_gone(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.daemon.store.write_manifest(ollama.name, b"{ not json")
    ollama.daemon.stop()
    assert ollama.world.plan(code=1).changes == {NAME: ("blocked", "ollama-unreachable")}
    assert "cannot be looked for in Ollama" in ollama.planned(code=1)["message"]
    assert ollama.world.status()[NAME][1] == "no-files"


@pytest.mark.parametrize("host", ["127.0.0.1:1", "ftp://nowhere"])
def test_nothing_is_called_gone_where_neither_daemon_nor_store_is_found(
    ollama: OllamaWorld, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.elsewhere()
    monkeypatch.setenv("OLLAMA_HOST", host)
    change = ollama.planned(code=1)
    assert change["reason"] == "ollama-unreachable"
    assert "is gone" not in change["message"]


def test_a_host_that_is_no_address_blocks_ollamas_models_alone(
    ollama: OllamaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.world.serve()
    ollama.world.declare(OTHER)
    ollama.declare()
    monkeypatch.setenv("OLLAMA_HOST", "a b")
    assert ollama.world.plan(code=1).changes == {OTHER: ("install", "missing"), NAME: ("blocked", "ollama-unreachable")}
    ollama.world.reconcile(code=1)
    assert ollama.world.entries() == [OTHER]


def test_while_the_daemon_is_down_its_store_is_believed_and_other_models_go_on(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.world.serve()
    ollama.world.declare(OTHER)
    ollama.declare("second", short="other:latest")
    ollama.daemon.stop()
    planned = ollama.world.plan(code=1)
    assert planned.changes == {OTHER: ("install", "missing"), "second": ("blocked", "ollama-unreachable")}
    changes = planned.json["changes"]
    assert isinstance(changes, list)
    (blocked,) = (change for change in changes if change["name"] == "second")
    assert "ollama serve" in blocked["message"]
    ollama.world.reconcile(code=1)
    assert ollama.world.entries() == sorted([OTHER, NAME])
    assert ollama.world.status()[NAME][:2] == ("synced", "healthy")


def test_nothing_is_removed_while_the_daemon_is_down(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare(prune="enabled")
    ollama.world.reconcile()
    ollama.world.delete(NAME)
    ollama.daemon.stop()
    assert ollama.world.plan("--allow-empty", code=1).changes == {NAME: ("blocked", "ollama-unreachable")}
    ollama.world.reconcile("--allow-empty", code=1)
    assert ollama.world.entries() == [NAME]


def test_offline_nothing_is_pulled_and_what_is_there_is_fine(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    assert ollama.world.plan("--offline", code=1).changes == {NAME: ("blocked", "offline")}
    ollama.world.reconcile()
    assert ollama.world.plan("--offline").changes == {}


def test_an_unknown_model_and_a_wrong_name_are_blocked(ollama: OllamaWorld) -> None:
    ollama.declare("ghost", short="ghost:latest")
    ollama.world.declare("wrong", source={"ollama": "a/b/c/d/e"})
    ollama.offer()
    ollama.declare()
    result = ollama.world.reconcile(code=1, valid=False)
    assert ollama.world.plan(code=1).changes == {
        "ghost": ("blocked", "ollama-not-found"),
        "wrong": ("blocked", "ollama-name"),
    }
    assert "models/wrong.yaml" in result.out
    assert ollama.installed() is not None


def test_when_the_registry_does_not_say_the_size_the_plan_says_so(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.models.status = 500
    change = ollama.planned()
    assert (change["action"], change["size_known"], change["bytes_to_fetch"]) == ("install", False, 0)
    assert "of unknown size" in ollama.world.reconcile("--dry-run").out
    ollama.models.status = None


@pytest.mark.parametrize("fault", ["cut_after_lines", "garbage_after_lines", "end_after_lines"])
def test_a_pull_that_breaks_off_fails_alone_and_is_resumed(ollama: OllamaWorld, fault: str) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.serve()
    ollama.world.declare(OTHER)
    setattr(ollama.daemon, fault, 2)
    failed = ollama.world.reconcile(code=1)
    assert "Traceback" not in failed.err
    assert ollama.world.entries() == [OTHER]
    setattr(ollama.daemon, fault, None)
    ollama.world.reconcile()
    assert ollama.world.entries() == sorted([OTHER, NAME])
    assert ollama.entry(NAME)["metadata"]["acquisition"] == "installed"


def test_a_full_disk_is_one_clear_error(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.daemon.disk_full = True
    failed = ollama.world.reconcile(code=1, valid=False)
    assert "full" in failed.err or "space" in failed.err


def test_a_cloud_model_is_a_stub_and_is_recorded_as_one(ollama: OllamaWorld) -> None:
    stub = model(None, template=None, config={"remote_host": "https://ollama.com", "remote_model": "big"})
    ollama.models.add("big:cloud", stub)
    ollama.declare("big", short="big:cloud")
    ollama.world.reconcile()
    conditions = ollama.entry("big")["conditions"]
    assert isinstance(conditions, list)
    assert conditions[0]["reason"] == "Remote"
    assert ollama.world.plan().changes == {}


def test_verify_reads_the_blobs_and_repair_pulls_what_is_damaged(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    assert command("verify", "--registry", ollama.world.root).code == 0
    weights = max(content.blobs, key=lambda digest: len(content.blobs[digest]))
    blob = ollama.daemon.store.blob(weights)
    blob.write_bytes(b"x" * blob.stat().st_size)
    damaged = command("verify", "--registry", ollama.world.root)
    assert damaged.code == 1
    assert "digest-mismatch" in damaged.out
    repaired = command("verify", "--repair", "--registry", ollama.world.root)
    assert repaired.code == 0, repaired
    assert blob.read_bytes() == content.blobs[weights]
    ollama.world.check()


def test_a_blob_of_another_size_is_fetched_anew(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    blob = ollama.daemon.store.blob(max(content.blobs, key=lambda digest: len(content.blobs[digest])))
    os.truncate(blob, 100)
    assert ollama.world.plan().changes == {NAME: ("repair", "digest-mismatch")}
    ollama.world.reconcile()
    assert ollama.world.plan().changes == {}
    assert blob.stat().st_size > 100


def test_damage_that_another_model_has_too_is_put_right_for_both(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.daemon.install("others:latest", content)
    blob = ollama.daemon.store.blob(max(content.blobs, key=lambda digest: len(content.blobs[digest])))
    blob.write_bytes(b"x" * blob.stat().st_size)
    assert command("verify", "--repair", "--registry", ollama.world.root).code == 0
    assert ollama.installed() == content.manifest
    assert sorted(ollama.names()) == sorted([ollama.name, "others:latest"])
    ollama.world.check()


def test_verify_tells_of_a_tag_that_stands_for_another_model(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    for digest, data in tiny("other weights").blobs.items():
        ollama.daemon.store.write_blob(digest, data)
    ollama.daemon.store.write_manifest(ollama.name, tiny("other weights").manifest)
    damaged = command("verify", "--registry", ollama.world.root)
    assert damaged.code == 1
    assert "manifest-mismatch" in damaged.out
    assert command("verify", "--repair", "--registry", ollama.world.root).code == 0
    assert ollama.entry()["resolved"]["revision"] != f"sha256:{content.digest}"


def test_what_nobody_here_can_read_is_not_called_verified(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.elsewhere()
    ollama.world.reconcile()
    assert ollama.entry()["download_path"] == f"ollama://{ollama.name}"
    assert "artifacts" not in ollama.entry()
    assert ollama.world.plan().changes == {}
    unverified = command("verify", "--registry", ollama.world.root)
    assert unverified.code == 3
    assert "only Ollama can tell" in unverified.out
    ollama.world.delete(NAME)
    ollama.world.reconcile("--prune", "--allow-empty", "--confirm", NAME)
    assert ollama.names() == []


def test_a_model_that_two_manifests_named_goes_with_the_last(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare("one")
    ollama.world.reconcile()
    ollama.declare("two")
    ollama.world.reconcile()
    ollama.world.delete("one")
    ollama.world.delete("two")
    ollama.world.reconcile("--prune", "--allow-empty", "--confirm", "two")
    assert ollama.world.entries() == ["one"]
    assert ollama.names() == [ollama.name]
    ollama.world.reconcile("--prune", "--allow-empty", "--confirm", "one")
    assert ollama.world.entries() == []
    assert ollama.names() == []


def test_a_model_that_two_manifests_named_goes_once_when_both_go(ollama: OllamaWorld) -> None:
    content = ollama.offer()
    ollama.declare("one")
    ollama.world.reconcile()
    ollama.declare("two")
    ollama.world.reconcile()
    ollama.world.delete("one")
    ollama.world.delete("two")
    changes = ollama.world.plan("--prune", "--allow-empty").json["changes"]
    assert isinstance(changes, list)
    assert sum(change["bytes_freed"] for change in changes) == content.size
    ollama.world.reconcile("--prune", "--allow-empty", "--confirm", "one", "--confirm", "two")
    assert ollama.names() == []


def test_a_model_that_two_manifests_declare_absent_goes(ollama: OllamaWorld) -> None:
    ollama.offer()
    for state in ("present", "absent"):
        ollama.declare("one", state=state)
        ollama.declare("two", state=state)
        ollama.world.reconcile()
        ollama.world.reconcile()
    assert ollama.names() == []


def test_what_was_imported_is_promoted_and_left_alone(ollama: OllamaWorld) -> None:
    ollama.daemon.install("llama3.2:3b", tiny("llama"))
    name = "llama3.2-3b-ollama-gguf"
    imported = command("import-ollama", "--registry", ollama.world.root)
    assert imported.code == 0, imported
    promoted = command("promote", name, "--registry", ollama.world.root)
    assert promoted.code == 0, promoted
    assert 'ollama: "llama3.2:3b"' in (ollama.world.root / f"models/{name}.yaml").read_text(encoding="utf-8")
    assert ollama.world.plan().changes == {}
    ollama.world.check()
    ollama.world.delete(name)
    ollama.world.reconcile("--prune", "--allow-empty", "--confirm", name)
    assert ollama.names() == ["llama3.2:3b"]


def test_remove_takes_a_model_out_of_ollama_when_asked(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    kept = command("remove", NAME, "--force", "--registry", ollama.world.root)
    assert kept.code == 0, kept
    assert ollama.names() == [ollama.name]
    ollama.declare(state="present")
    ollama.world.reconcile()
    removed = command("remove", NAME, "--delete-files", "--purge", "--force", "--registry", ollama.world.root)
    assert removed.code == 0, removed
    assert ollama.names() == []
    assert ollama.world.entries() == []
    ollama.world.check()


def test_a_kill_between_pull_and_commit_leaves_the_model_ours(
    ollama: OllamaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = ollama.offer()
    ollama.declare(prune="enabled")

    def killed(point: str) -> None:
        if point == "ollama.pulled":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("imageworks.providers.ollama.apply.failpoint", killed)
        assert command("reconcile", "--yes", "--registry", ollama.world.root, "--no-progress").code == 130
    assert ollama.installed() == content.manifest
    assert ollama.world.plan().changes == {NAME: ("adopt", "found")}
    ollama.world.reconcile()
    assert ollama.entry(NAME)["metadata"]["acquisition"] == "installed"
    ollama.world.delete(NAME)
    ollama.world.reconcile("--allow-empty")
    assert ollama.names() == []


@pytest.mark.parametrize("point", ["ollama.kept", "ollama.pulled"])
def test_a_kill_in_the_middle_of_an_update_loses_nothing(
    ollama: OllamaWorld, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    first = ollama.offer()
    ollama.declare(more=digest_of(first))
    ollama.world.reconcile()
    second = ollama.offer("newer weights")
    ollama.declare(more=digest_of(second))

    class KilledError(BaseException):
        pass

    def killed(at: str) -> None:
        if at == point:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("imageworks.providers.ollama.apply.failpoint", killed)
        # A killed process puts nothing back.
        patched.setattr("imageworks.providers.ollama.apply.OllamaApplier._settle_kept", lambda *_, put_back: put_back)
        with pytest.raises(KilledError):
            command("reconcile", "--yes", "--registry", ollama.world.root, "--no-progress")
    assert len(ollama.names()) == 2
    ollama.models.add(SHORT, tiny("even newer"))
    ollama.declare(more=digest_of(first))
    ollama.world.reconcile()
    assert ollama.names() == [ollama.name]
    assert ollama.installed() == first.manifest
    assert ollama.world.plan().changes == {}
