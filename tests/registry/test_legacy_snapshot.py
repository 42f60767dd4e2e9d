"""What the predecessor's consumers read: model_registry.json, and the complete set that registry.yaml can ask for."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from support.git import git
from support.reconcile import MODEL, NAME, World, command

TEMPLATE: Final = b"{% for message in messages %}{{ message.content }}{% endfor %}"
TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "name": (str,),
    "display_name": (str,),
    "backend": (str,),
    "backend_config": (dict,),
    "capabilities": (dict,),
    "generation_defaults": (dict,),
    "artifacts": (dict,),
    "chat_template": (dict,),
    "version_lock": (dict,),
    "performance": (dict,),
    "probes": (dict,),
    "profiles_placeholder": (type(None), dict, str),
    "metadata": (dict,),
    "served_model_id": (str,),  # of a null the loader makes the text "None"
    "model_aliases": (list,),
    "roles": (list,),
    "license": (str, type(None)),
    "source": (dict, type(None)),
    "deprecated": (bool,),
    "family": (str, type(None)),
    "source_provider": (str, type(None)),
    "quantization": (str, type(None)),
    "backend_alternatives": (list,),
    "role_priority": (dict,),
    "download_format": (str, type(None)),
    "download_location": (str, type(None)),
    "download_path": (str, type(None)),
    "download_size_bytes": (int, type(None)),
    "download_files": (list,),
    "download_directory_checksum": (str, type(None)),
    "downloaded_at": (str, type(None)),
    "last_accessed": (str, type(None)),
}
"""Every field that the predecessor's loader reads, and what it can take without an error."""

Models = dict[str, dict[str, object]]


def consumed(file: Path) -> Models:
    models = json.loads(file.read_bytes())
    for model in models:
        wrong = [key for key, types in TYPES.items() if not isinstance(model[key], types)]
        assert wrong == [], model["name"]
        config = model["backend_config"]
        assert isinstance(config["port"], int)
        assert config["port"] > 0
        assert isinstance(config["model_path"], str)
        assert isinstance(config["extra_args"], list)
        assert all(isinstance(value, bool) for value in model["capabilities"].values())
        assert set(model["version_lock"]) == {"locked", "expected_aggregate_sha256", "last_verified"}
        assert isinstance(model["performance"]["rolling_samples"], int)
        assert "vision" in model["probes"]
        assert not (model["downloaded_at"] or "").endswith("Z")
    return {model["name"]: model for model in models}


def vllm_words(model: Mapping[str, object]) -> list[str]:
    """Return the command line that a consumer makes of a model."""
    template, config = model["chat_template"], model["backend_config"]
    assert isinstance(template, dict)
    assert isinstance(config, dict)
    given = ["--chat-template", template["path"]] if template["path"] else []
    return ["vllm", "serve", config["model_path"], *given]


def logical(world: World, role: str) -> None:
    """Declare a model that another program keeps."""
    fields = {"schema_version": 1, "backend": "ollama", "roles": [role], "role_priority": {role: 7}}
    world.write("models/logical.yaml", json.dumps(fields))


@pytest.fixture(name="templates")
def models_with_templates(world: World) -> World:
    embedded = {**MODEL, "tokenizer_config.json": json.dumps({"chat_template": TEMPLATE.decode()}).encode()}
    world.serve(embedded, "acme/embedded")
    world.serve({**MODEL, "chat_template.jinja": TEMPLATE}, "acme/own-file")
    world.serve(MODEL, "acme/of-the-registry")
    world.serve(MODEL, "acme/outside")
    world.serve()
    (world.root / "templates").mkdir()
    (world.root / "templates/ours.jinja").write_bytes(TEMPLATE)
    declared = {"source": "external", "path": "templates/ours.jinja"}
    world.declare("embedded", source={"huggingface": "acme/embedded"}, backend="vllm", roles=["chat"])
    world.declare("own-file", source={"huggingface": "acme/own-file"}, backend="vllm")
    world.declare(
        "of-the-registry", source={"huggingface": "acme/of-the-registry"}, backend="vllm", chat_template=declared
    )
    away = {"source": "external", "path": "/etc/hostname"}
    world.declare("outside", source={"huggingface": "acme/outside"}, backend="vllm", chat_template=away)
    logical(world, "caption")
    world.declare()
    world.reconcile()
    return world


def test_p4_a_template_is_null_where_it_is_embedded_and_absolute_where_it_is_a_file(templates: World) -> None:
    models = consumed(templates.root / "model_registry.json")
    folder = templates.weights / "acme"
    assert vllm_words(models["embedded"]) == ["vllm", "serve", str(folder / "embedded")]
    assert models["embedded"]["chat_template"] == {"source": "embedded", "path": None, "sha256": None}
    own = str(folder / "own-file/chat_template.jinja")
    assert vllm_words(models["own-file"]) == ["vllm", "serve", str(folder / "own-file"), "--chat-template", own]
    assert vllm_words(models["of-the-registry"])[-1] == str(templates.root / "templates/ours.jinja")
    assert "--chat-template" not in vllm_words(models["outside"])
    assert "--chat-template" not in vllm_words(models["logical"])


def test_p4_a_template_that_is_gone_is_not_passed_on(templates: World) -> None:
    (templates.root / "templates/ours.jinja").unlink()
    logical(templates, "keywords")
    templates.reconcile()
    models = consumed(templates.root / "model_registry.json")
    assert "--chat-template" not in vllm_words(models["of-the-registry"])


def test_p4_every_field_is_as_the_consumers_read_it(templates: World) -> None:
    models = consumed(templates.root / "model_registry.json")
    model, own = models["embedded"], templates.snapshot()["embedded"]
    assert model["download_path"] == own["download_path"] == str(templates.weights / "acme/embedded")
    assert model["download_files"] == own["download_files"]
    assert model["source"] == {"huggingface": "acme/embedded", "huggingface_id": "acme/embedded"}
    assert (model["source_provider"], model["roles"], model["deprecated"]) == ("hf", ["chat"], False)
    assert models["logical"]["role_priority"] == {"caption": 7}
    assert models["logical"]["served_model_id"] == ""
    assert models["logical"]["download_path"] is None


def merged_there(folder: Path) -> bytes:
    """Return what the predecessor's loader makes of its layers: the discovered one, with curated values over it."""

    def over(under: object, above: object) -> object:
        if isinstance(under, dict) and isinstance(above, dict):
            return {**under, **{key: over(under.get(key), value) for key, value in above.items() if value is not None}}
        return above

    layers = [json.loads((folder / f"model_registry.{layer}.json").read_bytes()) for layer in ("discovered", "curated")]
    merged = {model["name"]: model for model in layers[0]}
    for model in layers[1]:
        merged[model["name"]] = over(merged[model["name"]], model) if model["name"] in merged else model
    return (json.dumps(list(merged.values()), indent=2) + "\n").encode()


def state_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_p5_a_complete_set_stands_where_the_predecessor_finds_nothing_to_change(templates: World) -> None:
    folder = templates.root / "compat"
    assert not folder.exists()
    templates.configure(compat=True)
    templates.reconcile()
    assert merged_there(folder) == (folder / "model_registry.json").read_bytes()
    models = consumed(folder / "model_registry.json")
    assert models == consumed(templates.root / "model_registry.json")
    curated = {model["name"]: model for model in json.loads((folder / "model_registry.curated.json").read_bytes())}
    assert set(curated) == set(models)
    assert "download_path" not in curated["embedded"]
    assert git(templates.root, "status", "--porcelain") == ""


def test_p5_the_set_is_made_equal_again_by_each_run(templates: World) -> None:
    templates.configure(compat=True)
    templates.reconcile()
    folder = templates.root / "compat"
    before, marks = state_of(folder), {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    templates.reconcile()
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == marks
    (folder / "model_registry.discovered.json").write_text("[]\n", encoding="utf-8")
    (folder / "model_registry.json").unlink()
    templates.reconcile()
    assert state_of(folder) == before
    templates.delete(NAME)
    templates.declare("embedded", source={"huggingface": "acme/embedded"}, backend="vllm", roles=["caption"])
    templates.reconcile()
    now = consumed(folder / "model_registry.json")
    assert now["embedded"]["roles"] == ["caption"]
    assert merged_there(folder) == (folder / "model_registry.json").read_bytes()


def test_p5_the_set_goes_when_nobody_asks_for_it_any_more(templates: World) -> None:
    templates.configure(compat=True)
    templates.reconcile()
    (templates.root / "compat/mine.txt").write_text("mine", encoding="utf-8")
    templates.configure(compat=False)
    templates.reconcile()
    assert state_of(templates.root / "compat") == {"mine.txt": b"mine"}


@pytest.mark.parametrize("kind", ["files", "link"])
def test_p5_a_folder_of_somebody_else_is_left_alone(templates: World, kind: str) -> None:
    folder, elsewhere = templates.root / "compat", templates.folder / "elsewhere"
    elsewhere.mkdir()
    if kind == "link":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
        (folder / "model_registry.json").write_text('[{"name": "theirs"}]\n', encoding="utf-8")
    templates.configure(compat=True)
    result = templates.reconcile()
    assert "compat" in result.err
    assert state_of(elsewhere) == {}
    assert [file.name for file in folder.iterdir()] == ([] if kind == "link" else ["model_registry.json"])


def test_p5_nothing_reads_the_copy_and_the_next_run_writes_it_anew(templates: World) -> None:
    copy = templates.root / "model_registry.json"
    right, shown = copy.read_bytes(), command("list", "--json", "--registry", templates.root).out
    copy.write_text('[{"name": "evil", "managed": true, "download_path": "/evil"}]\n', encoding="utf-8")
    os.utime(copy, (2_000_000_000, 2_000_000_000))
    assert command("list", "--json", "--registry", templates.root).out == shown
    templates.reconcile()
    assert copy.read_bytes() == right
