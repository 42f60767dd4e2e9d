"""The schemas themselves, and the words for what breaks them."""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from imageworks.registry.documents.document import Pointer
from imageworks.registry.documents.schema import (
    SCHEMA_NAMES,
    UnknownSchemaError,
    check,
    load_schema,
    schema_text,
)
from imageworks.registry.documents.schema_files import schema_dir
from imageworks.registry.documents.schema_messages import HANDLERS
from imageworks.registry.documents.yaml_reader import parse_yaml

ROOT = Path(__file__).resolve().parents[3]
FULL_MANIFEST = b"""\
schema_version: 1
source:
  huggingface: Qwen/Qwen2.5-VL-7B-Instruct-AWQ
  revision: "536a3571234567890123456789012345678901ab" # main
  include: ["*.safetensors"]
  subfolder: onnx
  optional: true
format: safetensors
quantization: awq
backend: vllm
location: linux_wsl
display_name: Qwen2.5 VL 7B
family: qwen2.5-vl-7b-instruct
roles: [caption, object_detection]
role_priority: {caption: 95}
capabilities: {vision: true, tool-call: false}
backend_config: {port: 24001, extra_args: [--max-model-len, "8192"], host: localhost, base_url: "http://x/v1"}
served_model_id: "qwen2.5vl:7b"
model_aliases: [qwen-vl]
generation_defaults: {temperature: 0.7, top_p: 0.95, top_k: 40, stop_sequences: [<tool_call>]}
chat_template: {source: external, path: chat_template.jinja}
license: apache-2.0
labels: {team: vision}
metadata: {anything: {goes: [here, 1, null]}}
deprecated: false
version_lock: {locked: true, expected_aggregate_sha256: null}
state: present
prune: confirm
hosts: [workstation, gpu=rtx4090]
previously: ["florence-2-large_(FP16)"]
"""


def problems(text: bytes | str, name: str = "manifest") -> dict[Pointer, tuple[str, str | None]]:
    document = parse_yaml(text if isinstance(text, bytes) else text.encode(), "f.yaml")
    found = check(name, document.value, written=document.written)
    return {problem.pointer: (problem.message, problem.suggestion) for problem in found}


def with_version(text: str) -> str:
    return f"schema_version: 1\n{text}"


def properties(rules: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    if isinstance(rules, dict):
        for key, value in rules.get("properties", {}).items():
            yield key, value
        for value in rules.values():
            yield from properties(value)


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_schemas_are_schemas_that_editors_can_use(name: str) -> None:
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"https://imageworks.dev/schemas/v1/{name}.schema.json"
    assert schema["title"]
    assert schema["description"]
    for key, rules in properties(schema):
        assert rules.get("description"), key


@pytest.mark.parametrize("name", ["manifest", "registry", "entry"])
def test_every_property_shows_an_example_that_is_valid(name: str) -> None:
    for key, rules in properties(load_schema(name)):
        examples = rules.get("examples", [True, False] if rules.get("type") == "boolean" else [])
        assert isinstance(examples, list)
        assert examples, key
        for example in examples:
            assert Draft202012Validator(rules).is_valid(example), (key, example)


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_documents_shown_as_examples_are_valid(name: str) -> None:
    examples = load_schema(name)["examples"]
    assert isinstance(examples, list)
    for example in examples:
        assert check(name, example) == []


def test_a_schema_is_closed_except_where_it_says_that_it_is_open() -> None:
    for name in ("manifest", "registry", "entry", "plan"):
        for key, rules in properties(load_schema(name)):
            if "properties" in rules and key not in {"metadata", "policies"}:
                assert rules.get("additionalProperties") is False, (name, key)


ANNOTATIONS = {"$schema", "$id", "title", "description", "examples", "default"}
APPLICATORS = {"properties", "items", "propertyNames"}


def keywords(rules: object) -> Iterator[str]:
    """Yield every keyword that a schema uses."""
    if not isinstance(rules, dict):
        return
    for keyword, value in rules.items():
        yield keyword
        if keyword == "properties":
            for inner in value.values():
                yield from keywords(inner)
        elif keyword == "oneOf":
            for inner in value:
                yield from keywords(inner)
        elif keyword not in ANNOTATIONS:
            yield from keywords(value) if keyword in {"items", "additionalProperties", "propertyNames"} else ()


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_there_are_words_for_every_keyword(name: str) -> None:
    assert set(keywords(load_schema(name))) <= set(HANDLERS) | ANNOTATIONS | APPLICATORS


def test_a_full_manifest_is_valid() -> None:
    assert problems(FULL_MANIFEST) == {}
    value = parse_yaml(FULL_MANIFEST, "f").value
    assert isinstance(value, dict)
    manifest = load_schema("manifest")["properties"]
    assert isinstance(manifest, dict)
    assert set(value) == set(manifest)


@pytest.mark.parametrize(
    "source",
    [
        'ollama: "qwen2.5vl:7b"',
        "ollama: hf.co/owner/repo:Q4_K_M\n  digest: sha256:" + "0a" * 32,
        "ollama: my-model\n  modelfile: {from: base, template: x, system: y, parameters: {top_k: 1}, license: mit}",
        "path: ~/models/x",
        "path: /mnt/d/ai stuff/models",
        "huggingface: gpt2",
        'huggingface: a/b\n  revision: "2026-11-20"',
        "huggingface: a/b\n  revision: refs/pr/1",
    ],
)
def test_each_kind_of_source(source: str) -> None:
    assert problems(with_version(f"source:\n  {source}\n")) == {}


NEAR_MISSES: list[tuple[str, Pointer, str, str]] = [
    ("quantisation: awq", ("quantisation",), 'unknown key "quantisation"', 'did you mean "quantization"?'),
    ("backendd: vllm", ("backendd",), 'unknown key "backendd"', 'did you mean "backend"?'),
    ("backend: vlm", ("backend",), '"vlm" is not a known value', 'did you mean "vllm"?'),
    ("backend: VLLM", ("backend",), '"VLLM" is not a known value', 'did you mean "vllm"?'),
    ("backend: kubernetes", ("backend",), "is not a known value", "values that can stand here: vllm, ollama"),
    ("state: suspend", ("state",), "is not a known value", 'did you mean "suspended"?'),
    ("source: {huggingfac: a/b}", ("source", "huggingfac"), "unknown key", 'did you mean "huggingface"?'),
    ("backend_config: {prot: 1}", ("backend_config", "prot"), "unknown key", 'did you mean "port"?'),
    ("name: x", ("name",), "unknown key", "rename the file"),
    ("repo: a/b", ("repo",), "unknown key", "source: {huggingface: owner/repo}"),
    ("revision: main", ("revision",), "unknown key", "below `source:`"),
    ("location: 1e3", ("location",), "1e3 is a number where text is expected", 'write "1e3" in quotes'),
    ("labels: {gpu: 4090}", ("labels", "gpu"), "4090 is a number where text is expected", 'write "4090" in quotes'),
    ("quantization: TRUE", ("quantization",), "TRUE is true or false where text", 'write "TRUE" in quotes'),
    ("deprecated: yes", ("deprecated",), '"yes" is text where true or false is expected', "write true without quotes"),
    ("deprecated: NO", ("deprecated",), '"NO" is text where true or false is expected', "write false without quotes"),
    ("deprecated: maybe", ("deprecated",), "is expected", "write true or false"),
    ("roles: caption", ("roles",), "is text where a list is expected", 'write it as a list: ["caption"]'),
    ('backend_config: {port: "24001"}', ("backend_config", "port"), "is text where", "write 24001 without quotes"),
    ("backend_config: {port: 24001.0}", ("backend_config", "port"), "where a whole number is expected", "24001"),
    ("backend_config: {port: 70000}", ("backend_config", "port"), "out of range", "at most 65535"),
    ("backend_config: {extra_args: [0.87]}", ("backend_config", "extra_args", 0), "0.87 is a", 'write "0.87"'),
    ("generation_defaults: {temperature: -1}", ("generation_defaults", "temperature"), "out of range", "at least 0"),
    ("hosts: []", ("hosts",), "0 items", "at least 1"),
    ("state:", ("state",), "nothing is given where text is expected", "give a value, or remove the key"),
    ("source: a/b", ("source",), "where a mapping", "exactly one of huggingface"),
    ("source: {}", ("source",), "none of huggingface, ollama, path", "exactly one"),
    ("source: {huggingface: a/b, path: /x}", ("source",), "both huggingface and path", "exactly one"),
    ("source: {path: /x, revision: main}", ("source", "revision"), 'means nothing without "huggingface"', "remove it"),
    ("source: {path: relative}", ("source", "path"), "not the form", "~/"),
    ("source: {path: /a/../b}", ("source", "path"), "not the form", "~/"),
    ('source: {huggingface: "https://huggingface.co/a/Q/tree/x"}', ("source", "huggingface"), "form", "alone: a/Q"),
    ("source: {huggingface: a/b@dev}", ("source", "huggingface"), "form", '`revision: "dev"`'),
    ('source: {huggingface: a/b, revision: "main\\n"}', ("source", "revision"), "form", "spaces or line breaks"),
    ("source: {huggingface: a/b, revision: 1234567}", ("source", "revision"), "1234567 is a", 'write "1234567"'),
    ("source: {huggingface: a/b, include: [../x]}", ("source", "include", 0), "form", "*.safetensors"),
    ("display_name: " + "x" * 200, ("display_name",), "200 characters", "at most 120"),
    ("previously: [a/b]", ("previously", 0), "form", "old-name"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pointer", "message", "suggestion"), NEAR_MISSES, ids=[row[0][:50] for row in NEAR_MISSES]
)
def test_what_is_wrong_and_what_to_write_instead(text: str, pointer: Pointer, message: str, suggestion: str) -> None:
    found = problems(with_version(text + "\n"))
    assert set(found) == {pointer}
    assert message in found[pointer][0]
    assert suggestion in (found[pointer][1] or "")


def test_an_empty_document_and_one_without_a_version() -> None:
    assert problems("# nothing\n") == {(): ("the document is empty", "give at least `schema_version: 1`")}
    assert problems("backend: vllm\n") == {(): ('the key "schema_version" is missing', "add `schema_version: 1`")}
    assert problems("schema_version: 2\n") == {
        ("schema_version",): ("2 is not 1", "write 1; this program knows no other")
    }
    assert "a list stands where" in problems("- 1\n")[()][0]


def test_confusable_keys_are_unknown_keys() -> None:
    for key in ("b\u0430ckend", "backend\u0301", "\uff42ackend"):  # Cyrillic a, combining accent, full-width b
        assert problems(with_version(f"{key}: vllm\n"))[(key,)][1] == 'did you mean "backend"?'


def test_messages_are_bounded_whatever_the_document_holds() -> None:
    huge = "x" * 20_000
    text = with_version(
        f'"{huge[:1000]}": 1\nbackend: {huge}\nlocation: "{huge}\\n"\nsource: {{huggingface: [{huge}]}}\n'
    )
    for message, suggestion in problems(text).values():
        assert len(message) < 200
        assert len(suggestion or "") < 400
    many = with_version("".join(f"unknown{n}: 1\n" for n in range(2_000)))
    assert len(problems(many)) == 100
    assert len(problems(with_version("roles: [" + "1, " * 2_000 + "]\n"))) == 100


def test_registry_settings() -> None:
    text = """\
schema_version: 1
locations:
  linux_wsl: {path: ~/ai-models/weights, layout: owner/repo}
  windows_lmstudio: {path: "/mnt/d/ai stuff/models/llm models", layout: publisher/repo, kind: lmstudio}
routing: {gguf: windows_lmstudio, default: linux_wsl}
transfer: {connections: 8, jobs: 4, limit: 20M, window: "22:00-06:00"}
prune: false
policies: {require_pins: true, anything: else}
hosts: {workstation: {labels: {gpu: rtx4090}, locations: {linux_wsl: /data, other: {path: /x, kind: lmstudio}}}}
commit: {branch: null, push: false}
git: {require_signed: false, allowed_keys: []}
"""
    assert problems(text, "registry") == {}
    found = problems(text.replace("flat", "").replace("owner/repo", "owner-repo").replace("20M", "fast"), "registry")
    assert found[("locations", "linux_wsl", "layout")][1] == 'did you mean "owner/repo"?'
    assert "Bytes per second" in (found["transfer", "limit"][1] or "")
    bad_name = problems('schema_version: 1\nlocations: {"a b": {path: /x}}\n', "registry")
    assert bad_name["locations", "a b"][0] == '"a b" cannot be a name here'


def test_names_that_a_legacy_import_needs() -> None:
    pattern = re.compile(str(_previously_pattern()))
    for name in (
        "qwen2.5vl-7b-ollama-gguf",
        "qwen2.5-vl-7b-instruct_(AWQ)",
        "hf.co-x-gguf-ollama-gguf-q6_k",
        "a",
        "a" * 80,
    ):
        assert pattern.search(name), name
    for name in ("", "a/b", "../a", ".a", "-a", "a" * 81, "a.", "a ", "a\n", "a\\b", "é"):
        assert not pattern.search(name), name


def _previously_pattern() -> object:
    manifest = load_schema("manifest")["properties"]
    assert isinstance(manifest, dict)
    previously = manifest["previously"]
    assert isinstance(previously, dict)
    items = previously["items"]
    assert isinstance(items, dict)
    return items["pattern"]


def test_every_merged_field_has_an_owner() -> None:
    owners = json.loads((schema_dir() / "ownership.json").read_text())["owners"]
    snapshot = load_schema("snapshot")["items"]
    assert isinstance(snapshot, dict)
    assert isinstance(snapshot["properties"], dict)
    assert set(snapshot["properties"]) == set(owners) | {"schema_version", "name", "managed"}
    assert set(owners.values()) == {"manifest", "entry", "manifest-over-entry"}
    for field in ("download_path", "artifacts", "resolved", "conditions", "downloaded_at"):
        assert owners[field] == "entry"
    for field in ("family", "quantization", "capabilities", "chat_template", "display_name", "backend_config"):
        assert owners[field] == "manifest-over-entry"
    for name, owned_by in (
        ("manifest", {"manifest", "manifest-over-entry"}),
        ("entry", {"entry", "manifest-over-entry"}),
    ):
        fields = load_schema(name)["properties"]
        assert isinstance(fields, dict)
        for field in set(fields) - {"schema_version", "name", "managed", "source"}:
            assert owners[field] in owned_by, (name, field)


def test_an_unknown_schema() -> None:
    with pytest.raises(UnknownSchemaError, match="manifst"):
        schema_text("manifst")


def test_the_wheel_carries_the_schemas(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for name in SCHEMA_NAMES:
            assert archive.read(f"imageworks/schemas/{name}.schema.json").decode() == schema_text(name)
        assert "imageworks/schemas/ownership.json" in names
        archive.extractall(tmp_path / "installed")
    script = (
        "from imageworks.registry.documents.schema import schema_dir, check; "
        "print(schema_dir()); print(check('manifest', {}))"
    )
    installed = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path / "installed")},
    )
    assert installed.stdout.startswith(str(tmp_path / "installed" / "imageworks" / "schemas"))
