"""What the predecessor's models become: pure, from files as values to commits-to-be."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageworks.migration.entries import is_blank, shrink_capabilities, to_entry
from imageworks.migration.model import (
    Declaration,
    LegacyFile,
    LegacyFolder,
    LegacyLayer,
    Migration,
    MigrationError,
    Record,
)
from imageworks.migration.names import safe_names
from imageworks.migration.plan import MigrationTarget, identities, plan_migration
from imageworks.migration.read import read_folder
from imageworks.migration.sources import Surroundings
from imageworks.registry.documents.document import JsonValue
from imageworks.registry.documents.schema import check
from imageworks.registry.documents.yaml_reader import parse_yaml
from imageworks.registry.entries.entry import read_entry, render_entry
from imageworks.registry.settings.settings import Location
from imageworks.registry.validate import check_manifest
from support.legacy import Fields, found_model, legacy_model, ollama_model, synonyms, usual, write_configs

WEIGHTS = Location("linux_wsl", "~/ai-models/weights")
AROUND = Surroundings("testhost", {"linux_wsl": WEIGHTS}, host_known=True, modeline="# modeline")


def plan(*curated: Fields, found: tuple[Fields, ...] = (), around: Surroundings = AROUND) -> Migration:
    files = [
        LegacyFile(
            name=f"model_registry.{layer}.json",
            layer=layer,
            sha256="0",
            when=datetime(2026, 1, 1, tzinfo=UTC),
            dated_by="mtime",
            backup=False,
            records=tuple(Record(str(fields["name"]), fields) for fields in models),
        )
        for layer, models in ((LegacyLayer.CURATED, curated), (LegacyLayer.DISCOVERED, found))
    ]
    return plan_migration(LegacyFolder(tuple(files)), MigrationTarget(around))


def declare(*curated: Fields, found: tuple[Fields, ...] = (), around: Surroundings = AROUND) -> Declaration:
    """Return the manifest of the first of some curated models."""
    declared = plan(*curated, found=found, around=around).steps[-1].declared
    return declared[str(curated[0]["name"])]


def said(declaration: Declaration) -> Mapping[str, JsonValue]:
    checked = check_manifest(f"models/{declaration.name}.yaml", declaration.data)
    assert checked.diagnostics == ()
    value = parse_yaml(declaration.data, "m.yaml").value
    assert isinstance(value, dict)
    return value


# --- fields -----------------------------------------------------------------------------------------------------------


def test_a_block_of_synonyms_shrinks_to_the_flags_that_it_stands_for() -> None:
    assert shrink_capabilities(synonyms("text", "tools")) == {
        "text": True,
        "vision": False,
        "audio": False,
        "embedding": False,
        "tools": True,
        "thinking": False,
        "reasoning": False,
    }


@pytest.mark.parametrize(
    ("block", "shrunk"),
    [
        ({"vl": True, "vision": False}, {"vision": True}),
        ({"vision": False, "vl": True}, {"vision": True}),
        ({"vision": {"enabled": True}, "vl": True}, {"vision": {"enabled": True}}),
        ({"code": True, "cot": True}, {"code": True, "thinking": True}),
        ({}, {}),
    ],
)
def test_a_word_that_is_true_makes_its_flag_true_and_other_words_stay(block: Fields, shrunk: Fields) -> None:
    assert shrink_capabilities(block) == shrunk


def test_a_discovered_model_becomes_an_entry_that_vouches_for_nothing() -> None:
    fields = to_entry(Record("tiny", found_model("tiny")), "tiny", declared=None).fields
    assert check("entry", dict(fields)) == []
    assert fields["verification"] == "unverified"
    assert fields["download_path"] == "/home/ada/ai-models/weights/acme/Tiny-7B"
    assert fields["download_files"] == ["config.json"]
    assert fields["source_provider"] == "huggingface"
    assert fields["resolved"] == {"repo": "acme/Tiny-7B"}
    assert "served_model_id" not in fields  # "None" was nothing
    assert "artifacts" not in fields
    metadata = fields["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["acquisition"] == "adopted"
    assert metadata["legacy"] == {
        "artifacts": {"aggregate_sha256": "ab" * 32, "files": [{"path": "config.json", "sha256": "ab" * 32}]},
        "download_files": ["config.json:Zone.Identifier"],
        "roles": ["caption"],
        "role_priority": {"caption": 75},
    }


def test_what_an_entry_cannot_hold_is_kept_apart_with_the_reason() -> None:
    odd = found_model(
        "tiny",
        backend="transformers",
        download_path="/weights/../etc",
        generation_defaults={"temperature": 0.5, "stop": ["x"]},
        capabilities=["vision"],
        download_files=["ok", 7, "ok:mshield"],
        invented={"deep": [1]},
        downloaded_at="yesterday",
    )
    found = to_entry(Record("tiny", odd), "tiny", declared=odd)
    read_entry("tiny.json", render_entry(found.fields))
    assert found.fields["backend"] == "unassigned"
    assert found.fields["generation_defaults"] == {"temperature": 0.5}
    assert found.fields["download_files"] == ["ok"]
    metadata = found.fields["metadata"]
    assert isinstance(metadata, dict)
    legacy = metadata["legacy"]
    assert isinstance(legacy, dict)
    assert legacy["generation_defaults"] == {"stop": ["x"]}
    assert legacy["download_files"] == ["ok:mshield", "ok", 7]
    assert {key: legacy[key] for key in ("backend", "download_path", "capabilities", "invented", "downloaded_at")} == {
        "backend": "transformers",
        "download_path": "/weights/../etc",
        "capabilities": ["vision"],
        "invented": {"deep": [1]},
        "downloaded_at": "yesterday",
    }
    assert set(found.tally.legacy) >= {"backend", "download_path", "generation_defaults.stop", "invented"}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KNOWN = st.sampled_from(
    sorted({*found_model("x"), "made_up", "legacy", "hosts", "state", "location", "previously"} - {"name"})
)
RECORDS = st.dictionaries(KNOWN, JSON, max_size=8)


def leaves(value: object) -> list[str]:
    """Return everything that a value says, as texts."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if is_blank(value) else [json.dumps(value)]  # type: ignore[arg-type] # JSON


@given(RECORDS, RECORDS)
def test_whatever_was_recorded_every_commit_validates_and_every_field_is_told(curated: Fields, found: Fields) -> None:
    base = {"name": "m"}
    step = plan({**curated, **base}, found=({**found, **base},)).steps[-1]
    entry = step.found["m"]
    everything = {*leaves(dict(said(step.declared["m"]))), *leaves(dict(entry.fields))}
    assert check("entry", dict(entry.fields)) == []
    read_entry("m.json", render_entry(entry.fields))
    for tally, record in ((step.declared["m"].tally, curated), (entry.tally, found)):
        told = {*tally.kept, *tally.changed, *tally.legacy, *tally.same, *tally.outside, *tally.empty}
        assert set(record) <= {field.split(".")[0] for field in told} | {"backend_config", "metadata", "capabilities"}
        otherwise = {field.split(".")[0] for field in (*tally.changed, *tally.outside)}
        for key in set(record) - otherwise:
            assert set(leaves(record[key])) <= everything, key


@given(st.dictionaries(st.text(min_size=1), JSON, max_size=5))
def test_no_value_of_an_unknown_field_is_lost(fields: Fields) -> None:
    record = {f"x-{key}": value for key, value in fields.items()} | {"name": "m"}
    step = plan(record, found=(record,)).steps[-1]
    declared, entry = step.declared["m"], step.found["m"]
    everything = [*leaves(dict(said(declared))), *leaves(dict(entry.fields))]
    assert set(leaves(fields)) <= set(everything)


# --- manifests --------------------------------------------------------------------------------------------------------


def test_a_curated_model_becomes_a_commented_manifest() -> None:
    declaration = declare(legacy_model("tiny_(FP16)"), found=(found_model("tiny_(FP16)"),))
    assert said(declaration) == {
        "schema_version": 1,
        "source": {"huggingface": "acme/Tiny-7B", "revision": "main"},
        "backend": "vllm",
        "location": "linux_wsl",
        "display_name": "tiny_(FP16)",
        "family": "tiny-7b",
        "roles": ["caption"],
        "role_priority": {"caption": 75},
        "capabilities": {"text": True, "tools": True},
        "backend_config": {"port": 24001, "extra_args": ["--max-model-len", "4096"]},
        "model_aliases": ["acme/Tiny-7B"],
        "generation_defaults": {"temperature": 0.3},
        "metadata": {"default_system_prompt": "Be kind.", "legacy": {"quantization": "fp16"}},
    }
    text = declaration.data.decode()
    assert text.startswith("# modeline\n# tiny_(FP16), curated in an earlier tool and migrated.")
    assert 'revision: "main"                      # no commit was recorded; `pin` writes one' in text
    assert "#   quantization: detected; declared, it would choose among files" in text
    assert {"metadata.producer", "chat_template"} <= set(declaration.tally.same)


SOURCES: Mapping[str, tuple[Fields, Fields, str | None]] = {
    "the repository that was recorded, pinned where a commit was": (
        legacy_model("m", source={"huggingface_id": "acme/Tiny-7B", "revision": "a" * 40}),
        {"huggingface": "acme/Tiny-7B", "revision": "a" * 40},
        "linux_wsl",
    ),
    "a branch": (
        legacy_model(
            "m",
            metadata={"branch": "dev"},
            backend_config={"model_path": "/home/ada/ai-models/weights/acme/Tiny-7B@dev"},
        ),
        {"huggingface": "acme/Tiny-7B", "revision": "dev"},
        "linux_wsl",
    ),
    "an alias that its folder confirms": (
        legacy_model("m", source=None),
        {"huggingface": "acme/Tiny-7B", "revision": "main"},
        "linux_wsl",
    ),
    "an alias that nothing confirms is none": (
        legacy_model("m", source=None, backend_config={"model_path": "/srv/elsewhere"}),
        {"path": "/srv/elsewhere"},
        None,
    ),
    "a folder of nobody's home": (
        legacy_model("m", backend_config={"model_path": "/srv/my models/acme/Tiny-7B"}),
        {"huggingface": "acme/Tiny-7B", "revision": "main"},
        "/srv/my models",
    ),
    "a folder that is not called as the repository": (
        legacy_model("m", backend_config={"model_path": "/srv/tiny"}),
        {"path": "/srv/tiny"},
        None,
    ),
    "no path at all": (
        legacy_model("m", backend_config={}),
        {"huggingface": "acme/Tiny-7B", "revision": "main"},
        None,
    ),
    "Ollama": (ollama_model("m", "qwen3:8b"), {"ollama": "qwen3:8b"}, None),
    "Ollama without a path": (
        ollama_model("m", "qwen3:8b", backend_config={"port": 11434}),
        {"ollama": "qwen3:8b"},
        None,
    ),
}


@pytest.mark.parametrize(("record", "source", "location"), SOURCES.values(), ids=SOURCES)
def test_what_is_declared_as_the_source(record: Fields, source: Fields, location: str | None) -> None:
    document = said(declare(record))
    assert document["source"] == source
    assert document.get("location") == location


def test_a_gguf_names_the_quantization_that_it_is() -> None:
    record = legacy_model(
        "m",
        "acme/Tiny-GGUF",
        quantization="Q4_K_M",
        backend="gguf",
        backend_config={"model_path": "/home/ada/ai-models/weights/acme/Tiny-GGUF/tiny.Q4_K_M.gguf"},
    )
    document = said(declare(record))
    assert (document["format"], document["quantization"]) == ("gguf", "Q4_K_M")


def test_nothing_to_go_by_is_declared_without_a_source_and_says_so() -> None:
    declaration = declare(legacy_model("m", None, source=None, backend_config={"port": 1}))
    assert "source" not in said(declaration)
    assert "#   source: neither a repository" in declaration.data.decode()


def test_a_folder_is_claimed_once() -> None:
    step = plan(legacy_model("a"), legacy_model("b", backend="lmdeploy")).steps[-1]
    assert [said(step.declared[name])["source"] for name in ("a", "b")] == [
        {"huggingface": "acme/Tiny-7B", "revision": "main"},
        {"path": "/home/ada/ai-models/weights/acme/Tiny-7B"},
    ]
    step = plan(*(legacy_model(name) for name in "abc")).steps[-1]
    assert "source" not in said(step.declared["c"])
    assert "model_path" in step.declared["c"].data.decode()


def test_a_manifest_that_would_be_too_long_leaves_the_rest_to_the_entry() -> None:
    long = {"default_system_prompt": "x" * 70_000}
    step = plan(legacy_model("m", metadata=long, quantization=None)).steps[-1]
    assert "metadata" not in said(step.declared["m"])
    metadata = step.found["m"].fields["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["legacy"] == {"curated": {"metadata": long}}
    assert "no manifest can hold it" in step.declared["m"].tally.legacy["metadata"]


def test_a_manifest_that_nothing_but_its_core_can_be_read_of_keeps_what_chooses_its_files() -> None:
    record = legacy_model(
        "m",
        "acme/Tiny-GGUF",
        display_name="\x7f",
        quantization="q4_k_m",
        download_format="gguf",
        backend_config={"model_path": "/srv/acme/Tiny-GGUF", "host": "\u202e"},
    )
    step = plan(record).steps[-1]
    assert said(step.declared["m"]) == {
        "schema_version": 1,
        "source": {"huggingface": "acme/Tiny-GGUF", "revision": "main"},
        "format": "gguf",
        "quantization": "q4_k_m",
        "backend": "vllm",
        "location": "/srv",
    }
    metadata = step.found["m"].fields["metadata"]
    assert isinstance(metadata, dict)
    legacy = metadata["legacy"]
    assert isinstance(legacy, dict)
    curated = legacy["curated"]
    assert isinstance(curated, dict)
    assert curated["display_name"] == "\x7f"
    assert curated["backend_config"] == {"host": "\u202e"}


@pytest.mark.parametrize("text", ["\u202edlrow", "a\u200bb", "\u3164", "x\x7f", "line\nline", "☃" * 200])
def test_no_text_from_there_breaks_or_hides_in_a_manifest(text: str) -> None:
    declaration = declare(legacy_model("m", display_name=text, license=text, odd=text, **{text: text}))
    assert said(declaration)["backend"] == "vllm"


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a/b", "../x", "two words", "con", ".hidden", "x" * 200, "名前", "a:b", "trailing.", "((", "a\nb"]
)
def test_a_name_that_is_not_allowed_gets_a_safe_one_and_stays_an_alias(name: str) -> None:
    step = plan(legacy_model(name, display_name=None), found=(found_model(name, display_name=None),)).steps[-1]
    ((here, declaration),) = step.declared.items()
    assert here != name
    assert said(declaration)["backend"] == "vllm"
    assert step.found.keys() == {here}
    assert name in json.dumps([dict(said(declaration)), dict(step.found[here].fields)], ensure_ascii=False).replace(
        "\\n", "\n"
    )
    assert "name" in declaration.tally.changed


def test_names_that_clash_by_case_are_told_apart_always_in_the_same_way() -> None:
    chosen = safe_names(["Tiny", "tiny", "TINY"], (), {})
    assert chosen["TINY"] == "TINY"
    assert len({here.lower() for here in chosen.values()}) == 3
    assert safe_names(["tiny", "TINY", "Tiny"], (), {}) == chosen
    assert safe_names(["Tiny"], ["tiny"], {})["Tiny"].startswith("Tiny-")
    assert safe_names(["Tiny"], ["Tiny"], {}) == {"Tiny": "Tiny"}


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_are_read_in_the_order_of_time_whatever_they_are_called(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "my configs", usual())
    write_configs(folder, {"models.json": [], "model_registry.json.bak": [], "model_registry.old.json": []})
    read = read_folder(folder)
    assert [file.name for file in read.files if file.backup] == [
        "model_registry.discovered.20251020-080000.bak.json",
        "model_registry.curated.20251020-120000.bak.json",
        "model_registry.discovered.backup.20251021_090000.json",
    ]
    assert [file.layer for file in read.files if not file.backup] == list(LegacyLayer)
    assert read.files[0].when == datetime(2025, 10, 20, 8, tzinfo=UTC)
    assert [name for name, _ in read.passed] == ["model_registry.json.bak", "model_registry.old.json"]


def test_a_backup_without_a_date_has_that_of_its_file(tmp_path: Path) -> None:
    folder = write_configs(tmp_path, {"model_registry.discovered.20251399-000000.bak.json": []})
    (read,) = read_folder(folder).files
    assert read.dated_by == "mtime"
    assert read.when.timestamp() == int((folder / read.name).stat().st_mtime)


def test_each_backup_is_a_step_and_a_model_that_vanished_is_gone(tmp_path: Path) -> None:
    folder = read_folder(write_configs(tmp_path, usual()))
    migration = plan_migration(folder, MigrationTarget(AROUND))
    assert tuple(step.id for step in migration.steps) == identities(folder)
    assert [(sorted(step.declared), sorted(step.found)) for step in migration.steps] == [
        ([], ["gone_(FP32)", "tiny_(FP16)"]),
        (["tiny_(FP16)"], ["gone_(FP32)", "tiny_(FP16)"]),
        (["tiny_(FP16)"], ["gone_(FP32)", "tiny_(FP16)"]),
        (["qwen_(Q4_K_M)", "tiny_(FP16)"], ["extra_(FP32)", "qwen_(Q4_K_M)", "tiny_(FP16)"]),
    ]
    assert migration.steps[-1].when is None
    assert migration.snapshot_only == ("phantom",)


def test_a_merged_snapshot_counts_where_no_layer_does(tmp_path: Path) -> None:
    folder = write_configs(
        tmp_path,
        {"model_registry.json": [found_model("a")], "model_registry.20250101-000000.bak.json": [found_model("b")]},
    )
    migration = plan_migration(read_folder(folder), MigrationTarget(AROUND))
    assert [sorted(step.found) for step in migration.steps] == [["b"], ["a"]]
    assert len(migration.notes) == 2


BAD = {
    b"": ":1:1: not valid JSON",
    b"[\n {": ":2:3: not valid JSON",
    b"{}": ":1:1: not a list of models",
    b"[\n1]": ":2:1: not a model",
    b'[\n{"name": ""}]': ":2:1: a model needs a name",
    b'[{"name": "a"},\n{"name": "a"}]': ":2:1: 'a' stands here twice, first in line 1",
    b'[{"name": "a", "name": "b"}]': 'duplicate key "name"',
    b'[{"name": "a", "x": 1e999}]': "a number that is too large",
    b"\xff": "not UTF-8",
    b"[" * 100_000: "nested too deep",
}


@pytest.mark.parametrize(("data", "message"), BAD.items(), ids=BAD.values())
def test_a_file_that_cannot_be_read_is_told_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    file = write_configs(tmp_path, usual()) / "model_registry.curated.json"
    file.write_bytes(data)
    with pytest.raises(MigrationError) as caught:
        read_folder(tmp_path)
    assert str(file) in caught.value.message
    assert message in caught.value.message
    assert caught.value.remedy is not None


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    write_configs(tmp_path, {"model_registry.json": {}, "model_registry.curated.json": [1, 2]})
    (tmp_path / "model_registry.discovered.json").mkdir()
    with pytest.raises(MigrationError) as caught:
        read_folder(tmp_path)
    assert len(caught.value.problems) == 4


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "model_registry.curated.json").open("wb") as stream:
        stream.truncate(10**12)
    with pytest.raises(MigrationError, match="is 1000000000000 bytes long"):
        read_folder(tmp_path)


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_without_anything_to_migrate(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "configs"
    if make:
        write_configs(folder, {"other.json": []})
    with pytest.raises(MigrationError, match="configs: "):
        read_folder(folder)
