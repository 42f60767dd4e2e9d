"""What is recorded of Ollama's models: one entry a model, whoever recorded it first, and all that is known of it."""

import json
from pathlib import Path

import pytest

from imageworks.providers.ollama.names import parse_name
from support.legacy import found_model, legacy_model
from support.ollama_world import NAME, SHORT, OllamaWorld, tiny
from support.reconcile import HOST, command


def listed(ollama: OllamaWorld) -> list[dict[str, object]]:
    result = command("list", "--json", "--registry", ollama.world.root)
    assert result.code == 0, result
    models = json.loads(result.out)
    assert isinstance(models, list)
    return models


@pytest.mark.parametrize("count", [1, 12])
def test_o8_a_declaration_takes_over_what_an_import_recorded(ollama: OllamaWorld, count: int) -> None:
    for number in range(count):
        ollama.models.add(f"tiny:{number}b", tiny(f"weights {number}"))
        ollama.daemon.install(ollama.models.name(f"tiny:{number}b"), tiny(f"weights {number}"))
    assert command("import-ollama", "--registry", ollama.world.root).code == 0
    assert len(listed(ollama)) == count
    for number in range(count):
        ollama.declare(f"declared-{number}", short=f"tiny:{number}b")
    assert {action for action, _ in ollama.world.plan().changes.values()} == {"move"}
    ollama.world.reconcile()
    assert sorted(str(one["name"]) for one in listed(ollama)) == sorted(f"declared-{number}" for number in range(count))
    assert ollama.entry("declared-0")["managed"] is True
    assert ollama.pulled() == 0
    assert ollama.world.plan().changes == {}
    assert command("import-ollama", "--registry", ollama.world.root).code == 0
    assert len(listed(ollama)) == count


def test_o8_of_two_declarations_of_one_model_each_has_its_row_and_the_import_none(ollama: OllamaWorld) -> None:
    ollama.models.add(SHORT, tiny())
    ollama.daemon.install(ollama.name, tiny())
    command("import-ollama", "--registry", ollama.world.root)
    ollama.declare("one")
    ollama.declare("two", short=SHORT.upper())
    ollama.world.reconcile()
    assert sorted(str(one["name"]) for one in listed(ollama)) == ["one", "two"]
    assert ollama.world.plan().changes == {}


def test_o8_an_imported_model_that_changed_meanwhile_is_taken_over_as_it_is(ollama: OllamaWorld) -> None:
    ollama.daemon.install(ollama.name, tiny())
    command("import-ollama", "--registry", ollama.world.root)
    newer = tiny("newer weights")
    ollama.models.add(SHORT, newer)
    ollama.daemon.install(ollama.name, newer)
    ollama.declare()
    ollama.world.reconcile()
    assert [one["name"] for one in listed(ollama)] == [NAME]
    assert ollama.world.plan().changes == {}


def test_o13_a_tag_that_the_registry_refuses_is_blocked_for_good(ollama: OllamaWorld) -> None:
    ollama.declare()
    ollama.models.status = 400
    plan = ollama.world.plan(code=1)
    assert plan.changes == {NAME: ("blocked", "ollama-not-found")}
    assert "correct" in str(plan.json["changes"])
    ollama.world.reconcile(code=1, valid=False)
    assert ollama.pulled() == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_o13_what_passes_is_no_reason_to_correct_the_tag(ollama: OllamaWorld, status: int) -> None:
    ollama.declare()
    ollama.models.status = status
    assert ollama.world.plan().changes == {NAME: ("install", "missing")}


def test_p12_the_quantization_is_one_answer(ollama: OllamaWorld) -> None:
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    assert "q4_k_m" in command("list", "--registry", ollama.world.root).out.lower()
    assert [one["quantization"] for one in listed(ollama)] == ["q4_k_m"]


def by_name_alone(ollama: OllamaWorld) -> None:
    """Let an entry be as a migration leaves one of the predecessor's: a name, and no store that anybody could read."""
    ollama.offer()
    ollama.declare()
    ollama.world.reconcile()
    ollama.world.write(
        f"discovered/{HOST}/{NAME}.json",
        json.dumps(
            {
                "schema_version": 1,
                "name": NAME,
                "backend": "ollama",
                "source_provider": "ollama",
                "served_model_id": ollama.name,
                "download_path": f"ollama://{ollama.name}",
                "metadata": {"acquisition": "adopted"},
            }
        ),
    )


def test_p3_an_entry_by_name_alone_is_adopted_when_the_daemon_has_it(ollama: OllamaWorld) -> None:
    by_name_alone(ollama)
    assert ollama.world.plan().changes == {NAME: ("adopt", "found")}
    ollama.world.reconcile()
    assert ollama.entry()["download_path"] == str(ollama.daemon.store.folder)
    assert [one["installed"] for one in listed(ollama)] == [True]
    assert command("verify", NAME, "--registry", ollama.world.root).code == 0
    assert ollama.world.plan().changes == {}


def test_p3_an_entry_by_name_alone_whose_model_is_gone_is_brought(ollama: OllamaWorld) -> None:
    by_name_alone(ollama)
    ollama.daemon.store.remove(parse_name(ollama.name))
    ollama.world.reconcile()
    assert [one["installed"] for one in listed(ollama)] == [True]
    assert ollama.world.plan().changes == {}


def test_p3_a_store_that_cannot_be_seen_from_here_is_recorded_once(ollama: OllamaWorld) -> None:
    by_name_alone(ollama)
    ollama.elsewhere()
    ollama.world.reconcile()
    assert ollama.world.plan().changes == {}


@pytest.mark.parametrize("path", ["ollama://qwen3:8b", "{store}/qwen3:8b", "{store}", "/gone/.ollama/models/qwen3:8b"])
def test_p3_a_migrated_model_of_ollama_is_adopted_whatever_path_it_had(
    ollama: OllamaWorld, tmp_path: Path, path: str
) -> None:
    ollama.daemon.install("qwen3:8b", tiny())
    theirs: dict[str, object] = {
        "backend": "ollama",
        "backend_config": {"port": 11434, "model_path": "", "host": "host.docker.internal"},
        "served_model_id": "qwen3:8b",
        "source_provider": "ollama",
        "quantization": None,
        "source": None,
        "model_aliases": [],
    }
    where = path.replace("{store}", str(ollama.daemon.store.folder))
    found = {**found_model("q-ollama-gguf", None), **theirs, "download_path": where, "download_format": "gguf"}
    found["artifacts"] = {"aggregate_sha256": "", "files": []}
    folder = tmp_path / "configs"
    folder.mkdir()
    layers = {"discovered": [found], "curated": [{**legacy_model("q-ollama-gguf", None), **theirs}]}
    for layer, models in layers.items():
        (folder / f"model_registry.{layer}.json").write_text(json.dumps(models), encoding="utf-8")
    (folder / "model_registry.json").write_text(json.dumps(layers["discovered"]), encoding="utf-8")
    root = tmp_path / "migrated"
    assert command("migrate", folder, "--registry", root).code == 0
    done = command("reconcile", "--yes", "--registry", root)
    assert done.code == 0, done
    assert command("verify", "--registry", root).code == 0
    (model,) = json.loads(command("list", "--json", "--registry", root).out)
    assert (model["installed"], model["download_path"]) == (True, str(ollama.daemon.store.folder))
    assert command("reconcile", "--detailed-exitcode", "--registry", root).code == 0
