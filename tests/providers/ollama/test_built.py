"""Models of Ollama that are made, of a modelfile or a GGUF of ours, and made anew when what they are of changes."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.ollama_content import hex_sha256
from support.ollama_world import NAME, OllamaWorld, tiny
from support.reconcile import QUANTS, command
from support.transfer import content

MADE = "terse"
REPO = "acme/many-7b-gguf"
GGUF = "many-7b-gguf-q4_k_m"
FILE = "many-7b-Q4_K_M.gguf"


def made_of(ollama: OllamaWorld, base: str | None = None, **fields: object) -> dict[str, object]:
    return {"modelfile": {"from": base or ollama.name, **fields}}


def declare_made(ollama: OllamaWorld, base: str | None = None, **fields: object) -> None:
    source = {"ollama": f"{MADE}:latest", **made_of(ollama, base, **fields)}
    ollama.world.declare(MADE, source=source)


def declare_gguf(ollama: OllamaWorld, **fields: object) -> None:
    ollama.world.declare(GGUF, source={"huggingface": REPO}, quantization="q4_k_m", backend="ollama", **fields)  # type: ignore[arg-type]


def layers(ollama: OllamaWorld, name: str, kind: str) -> list[bytes]:
    return ollama.daemon.store.layers(ollama.daemon.store.manifest(name), kind)


def test_a_model_is_made_after_its_base_in_one_run_and_left_alone(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    declare_made(ollama, system="Be terse.", parameters={"temperature": 0.5, "stop": ["a", "b"]}, license="MIT")
    assert ollama.world.plan().changes == {MADE: ("install", "missing"), NAME: ("install", "missing")}
    ollama.world.reconcile()
    assert layers(ollama, MADE, "system") == [b"Be terse."]
    assert layers(ollama, MADE, "model") == layers(ollama, ollama.name, "model")
    recorded = ollama.entry(MADE)["metadata"]["ollama"]
    assert recorded["base_name"] == ollama.name
    assert ollama.world.plan().changes == {}
    ollama.daemon.stop()
    assert ollama.world.plan().changes == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"system": "Be long."},
        {"system": "Be terse.", "template": "{{ .System }}"},
        {"system": "Be terse.", "parameters": {"temperature": 1}},
        {"system": "Be terse.", "license": "MIT"},
    ],
)
def test_any_field_that_changes_makes_the_model_anew(ollama: OllamaWorld, fields: Mapping[str, object]) -> None:
    ollama.offer()
    ollama.declare()
    declare_made(ollama, system="Be terse.")
    ollama.world.reconcile()
    declare_made(ollama, **fields)  # type: ignore[arg-type]
    assert ollama.world.plan().changes == {MADE: ("update", "modelfile-changed")}
    ollama.world.reconcile()
    assert layers(ollama, MADE, "system") == [str(fields["system"]).encode()]
    assert ollama.world.plan().changes == {}
    assert sorted(ollama.names()) == sorted([ollama.name, f"{MADE}:latest"])


def test_a_base_that_changes_in_ollama_makes_the_model_anew(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    declare_made(ollama, system="Be terse.")
    ollama.world.reconcile()
    newer = tiny("newer weights")
    ollama.daemon.install(ollama.name, newer)
    assert ollama.world.plan().changes == {MADE: ("update", "base-changed"), NAME: ("adopt", "digest-mismatch")}
    ollama.world.reconcile()
    assert layers(ollama, MADE, "model") == [content("newer weights", 50_000)]
    assert ollama.world.plan().changes == {}


def test_a_base_that_the_same_plan_updates_makes_the_model_anew_in_one_run(ollama: OllamaWorld) -> None:
    first = ollama.offer()
    ollama.declare(more={"digest": first.digest})
    declare_made(ollama, system="Be terse.")
    ollama.world.reconcile()
    second = ollama.offer("newer weights")
    ollama.declare(more={"digest": second.digest})
    assert ollama.world.plan().changes == {MADE: ("update", "base-changed"), NAME: ("update", "revision-changed")}
    ollama.world.reconcile()
    assert layers(ollama, MADE, "model") == [content("newer weights", 50_000)]
    assert ollama.world.plan().changes == {}


def test_a_model_that_somebody_changed_or_removed_is_made_anew(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    declare_made(ollama, system="Be terse.")
    ollama.world.reconcile()
    ollama.daemon.install(f"{MADE}:latest", tiny("somebody's"))
    assert ollama.world.plan().changes == {MADE: ("update", "digest-mismatch")}
    ollama.world.reconcile()
    assert layers(ollama, MADE, "system") == [b"Be terse."]
    command_removed(ollama)
    assert ollama.world.plan().changes == {MADE: ("repair", "file-missing")}
    ollama.world.reconcile()
    assert ollama.world.plan().changes == {}


def command_removed(ollama: OllamaWorld) -> None:
    ollama.daemon.store.manifest(f"{MADE}:latest").unlink()


def test_a_made_model_whose_own_blob_is_damaged_is_made_anew(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    declare_made(ollama, system="Be terse.")
    ollama.world.reconcile()
    path = ollama.daemon.store.manifest(MADE)
    (row,) = [row for row in json.loads(path.read_bytes())["layers"] if row["mediaType"].endswith("system")]
    blob = ollama.daemon.store.blob(row["digest"])
    blob.write_bytes(b"Be loose.")
    assert command("verify", "--repair", "--registry", ollama.world.root).code == 0
    assert blob.read_bytes() == b"Be terse."
    assert ollama.world.plan().changes == {}


def test_two_manifests_that_want_one_name_otherwise_are_both_blocked(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    declare_made(ollama, system="Be terse.")
    other = {"ollama": MADE.upper(), **made_of(ollama, system="Be long.")}
    ollama.world.declare("other", source=other)
    blocked = ("blocked", "invalid-manifest")
    assert ollama.world.plan(code=1).changes == {MADE: blocked, "other": blocked, NAME: ("install", "missing")}
    ollama.world.declare("other", source={**other, **made_of(ollama, system="Be terse.")})
    ollama.world.reconcile()
    ollama.world.reconcile()
    assert ollama.world.plan().changes == {}


def test_two_pins_of_one_tag_are_both_blocked(ollama: OllamaWorld) -> None:
    first, second = ollama.offer(), ollama.offer("newer weights")
    ollama.declare("one", more={"digest": f"sha256:{first.digest}"})
    ollama.declare("two", more={"digest": f"sha256:{second.digest}"})
    blocked = ("blocked", "invalid-manifest")
    assert ollama.world.plan(code=1).changes == {"one": blocked, "two": blocked}
    ollama.declare("one")
    ollama.world.reconcile()
    assert ollama.installed() == second.manifest


def test_a_model_that_would_be_made_of_itself_is_blocked(ollama: OllamaWorld) -> None:
    declare_made(ollama, base=MADE, system="Be terse.")
    assert ollama.world.plan(code=1).changes == {MADE: ("blocked", "invalid-manifest")}


def test_somebody_elses_model_of_the_name_is_not_overwritten(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    mine = tiny("mine")
    ollama.daemon.install(f"{MADE}:latest", mine)
    declare_made(ollama, system="Be terse.")
    assert ollama.world.plan(code=1).changes[MADE] == ("blocked", "unowned-files")
    ollama.world.reconcile(code=1)
    assert ollama.daemon.store.manifest(f"{MADE}:latest").read_bytes() == mine.manifest


def test_a_model_made_from_files_is_made_anew_when_they_change(ollama: OllamaWorld) -> None:
    base, adapter = ollama.world.folder / "my base.gguf", ollama.world.folder / "my style.gguf"
    base.write_bytes(content("base", 9_000))
    adapter.write_bytes(content("adapter", 3_000))
    declare_made(ollama, str(base), adapters=[str(adapter)])
    ollama.world.reconcile()
    assert layers(ollama, MADE, "adapter") == [content("adapter", 3_000)]
    assert ollama.world.plan().changes == {}
    adapter.write_bytes(content("another", 3_000))
    assert ollama.world.plan().changes == {MADE: ("update", "modelfile-changed")}
    ollama.world.reconcile()
    assert layers(ollama, MADE, "adapter") == [content("another", 3_000)]


def test_files_outside_the_hosts_roots_and_missing_ones_are_blocked(
    ollama: OllamaWorld, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.gguf"
    outside.write_bytes(b"secret")
    declare_made(ollama, str(outside))
    assert ollama.world.plan(code=1).changes == {MADE: ("blocked", "root-not-allowed")}
    declare_made(ollama, str(ollama.world.folder / "gone.gguf"))
    assert ollama.world.plan(code=1).changes == {MADE: ("blocked", "source-missing")}
    declare_made(ollama, "a/b/c/d/e")
    assert ollama.world.plan(code=1).changes == {MADE: ("blocked", "ollama-name")}
    ollama.world.declare(MADE, source={"ollama": MADE, "modelfile": {"system": "no base"}})
    assert ollama.world.plan(code=1).changes == {MADE: ("blocked", "invalid-manifest")}
    ollama.declare(MADE, more={"digest": "0" * 64, **made_of(ollama)})
    assert ollama.world.plan(code=1).changes == {MADE: ("blocked", "invalid-manifest")}


def test_a_base_that_nobody_declares_is_pulled_by_ollama_and_told_of(ollama: OllamaWorld) -> None:
    ollama.offer()
    declare_made(ollama, system="Be terse.")
    change = ollama.planned()
    assert (change["size_known"], change["files"]["add"]) == (False, [ollama.name])
    assert "declare it too" in change["warnings"][0]
    ollama.world.reconcile()
    assert layers(ollama, MADE, "system") == [b"Be terse."]
    assert ollama.world.plan().changes == {}


def test_a_made_model_is_pruned_like_a_pulled_one(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    declare_made(ollama, system="Be terse.")
    ollama.world.reconcile()
    ollama.world.delete(MADE)
    change = ollama.planned("--prune")
    assert change["bytes_freed"] < 1000  # the weights are its base's too
    ollama.world.reconcile("--prune", "--confirm", MADE)
    assert ollama.names() == [ollama.name]
    assert ollama.world.plan().changes == {}


def test_a_gguf_of_the_hub_is_offered_to_ollama_once(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    declare_gguf(ollama)
    ollama.world.reconcile()
    name = f"{GGUF}:latest"
    assert ollama.names() == [name]
    entry = ollama.entry(GGUF)
    assert entry["served_model_id"] == name
    assert entry["source_provider"] == "huggingface"
    recorded = entry["metadata"]["ollama"]
    assert recorded["digest"] == hex_sha256(ollama.daemon.store.manifest(name).read_bytes())
    head = ollama.world.head()
    assert "No changes" in ollama.world.reconcile().out
    assert ollama.world.head() == head
    assert sum(1 for asked in ollama.daemon.requests if asked.path == "/api/create") == 1


def test_while_no_daemon_answers_the_files_come_and_are_offered_later(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    declare_gguf(ollama)
    url = ollama.daemon.url
    ollama.daemon.stop()
    ollama.world.reconcile()
    assert ollama.world.plan().changes == {}
    ollama.restart()
    assert ollama.daemon.url != url
    assert ollama.world.plan().changes == {GGUF: ("update", "not-offered")}
    ollama.world.reconcile()
    assert ollama.names() == [f"{GGUF}:latest"]
    assert ollama.world.plan().changes == {}


def test_an_offer_follows_its_name_and_goes_with_its_files(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    declare_gguf(ollama)
    ollama.world.reconcile()
    declare_gguf(ollama, served_model_id="many:mine")
    assert ollama.world.plan().changes == {GGUF: ("update", "not-offered")}
    ollama.world.reconcile()
    assert ollama.names() == ["many:mine"]
    ollama.world.delete(GGUF)
    change = ollama.planned("--prune", "--allow-empty")
    assert any("goes from Ollama too" in text for text in change["warnings"])
    ollama.world.reconcile("--prune", "--allow-empty", "--confirm", GGUF)
    assert ollama.names() == []
    assert not (ollama.world.weights / REPO / FILE).exists()


def test_an_offer_that_somebody_removed_is_made_again(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    declare_gguf(ollama)
    ollama.world.reconcile()
    Path(ollama.daemon.store.manifest(f"{GGUF}:latest")).unlink()
    assert ollama.world.plan().changes == {GGUF: ("update", "not-offered")}
    ollama.world.reconcile()
    assert ollama.names() == [f"{GGUF}:latest"]


def test_files_that_are_updated_are_offered_anew_in_the_same_run(ollama: OllamaWorld) -> None:
    repository = ollama.world.serve(QUANTS, REPO)
    declare_gguf(ollama)
    ollama.world.reconcile()
    newer = content("newer Q4_K_M", 41_000)
    commit = repository.commit({**QUANTS, FILE: newer})
    source = {"huggingface": REPO, "revision": commit}
    ollama.world.declare(GGUF, source=source, quantization="q4_k_m", backend="ollama")
    ollama.world.reconcile()
    (layer,) = layers(ollama, f"{GGUF}:latest", "model")
    assert newer in layer
    assert ollama.world.plan().changes == {}


def test_of_shards_and_several_quantizations_ollama_makes_no_model(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    source = {"huggingface": REPO, "include": ["*.gguf"]}
    ollama.world.declare(GGUF, source=source, backend="ollama")
    ollama.world.reconcile()
    assert ollama.names() == []
    plan = ollama.world.plan()
    assert plan.changes == {}
    assert "is not offered to Ollama, which takes one GGUF file" in str(plan.json["notes"])


def test_somebody_elses_model_is_not_replaced_by_an_offer(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    mine = tiny("mine")
    ollama.daemon.install(f"{GGUF}:latest", mine)
    declare_gguf(ollama)
    assert ollama.world.plan(code=1).changes == {GGUF: ("blocked", "unowned-files")}
    ollama.world.reconcile(code=1, valid=False)
    assert ollama.daemon.store.manifest(f"{GGUF}:latest").read_bytes() == mine.manifest


def test_o5_the_plan_says_what_ollama_will_be_given(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    declare_gguf(ollama)
    assert f"{GGUF}:latest" in ollama.planned()["message"]
    ollama.daemon.stop()
    (warning,) = ollama.planned()["warnings"]
    assert "Ollama" in warning


def test_o5_a_gguf_that_ollama_does_not_take_has_failed_and_is_given_again(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    declare_gguf(ollama)
    ollama.daemon.disk_full = True
    failed = ollama.world.reconcile(code=1)
    assert f"{GGUF}" in failed.err
    assert ollama.names() == []
    assert ollama.entry(GGUF)["artifacts"]["files"], "what came is recorded"
    assert ollama.world.plan().changes == {GGUF: ("update", "not-offered")}
    ollama.world.reconcile(code=1)
    ollama.daemon.disk_full = False
    ollama.world.served.forget()
    ollama.world.reconcile()
    assert ollama.world.served.files == {}
    assert ollama.names() == [f"{GGUF}:latest"]
    assert ollama.world.plan().changes == {}


def test_o5_a_download_whose_model_ollama_does_not_take_fails_and_keeps_what_came(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    ollama.daemon.disk_full = True
    words = ["download", REPO, "--quant", "q4_k_m", "--backend", "ollama", "--non-interactive"]
    failed = command(*words, "--registry", ollama.world.root)
    assert failed.code == 1, failed
    ollama.world.check()
    (name,) = ollama.world.entries()
    ollama.daemon.disk_full = False
    ollama.world.reconcile()
    assert ollama.entry(name)["metadata"]["ollama"]["name"] in ollama.names()


def test_o5_repairing_files_does_not_wait_for_a_name_in_ollama(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    declare_gguf(ollama)
    ollama.daemon.stop()
    ollama.world.reconcile()
    ollama.restart()
    ollama.daemon.install(f"{GGUF}:latest", tiny("mine"))
    file = ollama.world.weights / REPO / FILE
    file.unlink()
    change = ollama.planned()
    assert change["action"] == "repair"
    assert any("not given to Ollama" in warning for warning in change["warnings"])
    ollama.world.reconcile(code=1)
    assert file.is_file()


def test_removing_files_by_name_takes_the_offer_along(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    declare_gguf(ollama)
    ollama.world.reconcile()
    removed = command("remove", GGUF, "--delete-files", "--purge", "--force", "--registry", ollama.world.root)
    assert removed.code == 0, removed
    assert ollama.names() == []
