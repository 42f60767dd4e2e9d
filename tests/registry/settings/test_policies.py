"""Policies as files alone show them: validate says rule, file, line and remedy, and nothing else becomes invalid."""

from datetime import date
from pathlib import Path

import pytest

from imageworks.registry.manifests.manifest import read_manifest
from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.settings.model_origins import ollama_key
from imageworks.registry.settings.policies import Policies, declared_violations
from imageworks.registry.validate import validate_files, validate_registry

TODAY = date(2026, 11, 22)
SETTINGS = """\
schema_version: 1
policies:
  require_pins: true
  allowed_owners: [Qwen]
  allowed_licenses: [mit, apache-2.0]
  required_labels: [team]
  required_roles: [caption, embedding]
"""
EXCEPTIONS = """\
  exceptions:
    - {name: m, policy: require_pins, reason: "upstream is gone", expires: %s}
"""
MANIFEST = """\
schema_version: 1
source:
  huggingface: acme/tiny
  revision: dev # ours
license: gpl-3.0
"""
GOOD = """\
schema_version: 1
source: {huggingface: qwen/tiny, revision: "%s"}
license: MIT
labels: {team: vision}
roles: [embedding]
""" % ("a" * 40)


def registry(folder: Path, settings: str = SETTINGS, **manifests: str) -> Path:
    (folder / "models").mkdir(parents=True)
    (folder / "registry.yaml").write_text(settings, encoding="utf-8")
    for name, text in manifests.items():
        (folder / f"models/{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def test_each_violation_says_rule_file_line_and_remedy(tmp_path: Path) -> None:
    found = validate_registry(WorkTreeReader(registry(tmp_path / "a registry", m=MANIFEST, good=GOOD)), today=TODAY)
    assert [item.render() for item in found.diagnostics] == [
        "models/m.yaml:1:1: policies.required_labels: the label team is missing",
        "models/m.yaml:1:1: policies.required_roles: it has none of the roles caption, embedding",
        "models/m.yaml:3:16: policies.allowed_owners: acme is not one of Qwen",
        "models/m.yaml:4:13: policies.require_pins: the revision dev is no full commit id",
        "models/m.yaml:5:10: policies.allowed_licenses: the licence gpl-3.0 is not one of mit, apache-2.0",
    ]
    assert "imageworks-models pin m" in found.diagnostics[3].remedy
    assert all("exception with an end" in item.remedy for item in found.diagnostics)
    # Against a rule, and valid all the same: what is installed is not taken for undeclared.
    assert set(found.manifests) == {"m", "good"}
    assert found.blocked == {}


@pytest.mark.parametrize(("expires", "counts"), [("2026-11-22", True), ("2030-01-01", True), ("2026-11-21", False)])
def test_an_exception_counts_up_to_its_day(tmp_path: Path, expires: str, counts: bool) -> None:
    settings = "schema_version: 1\npolicies:\n  require_pins: true\n" + EXCEPTIONS % expires
    found = validate_registry(WorkTreeReader(registry(tmp_path / "r", settings, m=MANIFEST)), today=TODAY)
    assert bool(found.diagnostics) is not counts
    assert bool(found.notes) is not counts
    if not counts:
        assert "(its exception expired on 2026-11-21)" in found.diagnostics[0].message
        assert "renew or remove it" in found.notes[0]


def test_single_files_are_held_to_the_policies_of_their_registry(tmp_path: Path) -> None:
    root = registry(tmp_path / "r", m=MANIFEST, good=GOOD)
    assert len(validate_files([root / "models/m.yaml"]).diagnostics) == 5
    assert validate_files([root / "models/good.yaml"]).diagnostics == ()


@pytest.mark.parametrize(
    ("exception", "said"),
    [
        ("{name: m, policy: require_pins, reason: x, expires: 2026-02-31}", "there is no day 2026-02-31"),
        ("{name: m, policy: require_pins, reason: x, expires: soon}", "expires"),
        ("{name: m, policy: require_pins, reason: x}", "expires"),
        ("{name: m, policy: require_pins, expires: 2026-12-31}", "reason"),
        ("{name: m, policy: require_pin, reason: x, expires: 2026-12-31}", 'did you mean "require_pins"?'),
    ],
)
def test_an_exception_that_cannot_be_read_is_told(tmp_path: Path, exception: str, said: str) -> None:
    settings = f"schema_version: 1\npolicies:\n  exceptions:\n    - {exception}\n"
    (found,) = validate_registry(WorkTreeReader(registry(tmp_path / "r", settings, m=MANIFEST))).diagnostics
    assert (found.file, found.line) == ("registry.yaml", 4)
    assert said in f"{found.message} {found.remedy}"


@pytest.mark.parametrize(
    ("source", "rules"),
    [
        ({"ollama": "qwen2.5vl:7b"}, {"require_pins", "allowed_owners"}),
        ({"ollama": "qwen2.5vl:7b", "digest": "sha256:" + "a" * 64}, {"allowed_owners"}),
        ({"ollama": "acme/it:7b", "digest": "sha256:" + "a" * 64}, set()),
        ({"ollama": "hf.co/acme/it:Q4_K_M"}, {"require_pins"}),
        ({"ollama": "mine", "modelfile": {"from": "acme/it"}}, {"require_pins", "allowed_owners"}),
        ({"ollama": "acme/mine", "modelfile": {"from": "ACME/pinned"}}, set()),
        ({"ollama": "acme/mine", "modelfile": {"from": "acme/pinned:7b"}}, {"require_pins"}),
        ({"ollama": "acme/mine", "modelfile": {"from": "evil/it"}}, {"require_pins", "allowed_owners"}),
        ({"ollama": "acme/mine", "modelfile": {"from": "evil.example/acme/it"}}, {"require_pins", "allowed_owners"}),
        ({"ollama": "acme/mine", "modelfile": {"from": "/models/it.gguf"}}, set()),
        ({"ollama": "evil.example:8443/acme/it", "digest": "a" * 64}, {"allowed_owners"}),
        ({"ollama": "http://evil.example:8443/acme/it", "digest": "a" * 64}, {"allowed_owners"}),
        ({"ollama": "evil.example/acme/it:acme", "digest": "a" * 64}, {"allowed_owners"}),
        ({"ollama": "registry.ollama.ai/acme/it", "digest": "a" * 64}, set()),
        ({"ollama": "HF.co/Acme/it", "digest": "a" * 64}, set()),
        ({"ollama": "ours.example:5000/team/it", "digest": "a" * 64}, set()),
        ({"ollama": "ours.example/team/it", "digest": "a" * 64}, {"allowed_owners"}),
        ({"huggingface": "gpt2", "revision": "a" * 40}, {"allowed_owners"}),
        ({"path": "/models/it"}, set()),
    ],
)
def test_x7_every_kind_of_source_is_held_to_pins_and_owners(source: dict[str, object], rules: set[str]) -> None:
    policies = Policies(require_pins=True, allowed_owners=("acme", "ours.example:5000/team"))
    found = declared_violations(
        read_manifest("models/m.yaml", {"source": source}), policies, pinned={ollama_key("acme/pinned")}
    )
    assert {violation.policy.value for violation in found} == rules


def test_x7_a_base_is_pinned_by_a_manifest_of_its_own(tmp_path: Path) -> None:
    settings = "schema_version: 1\npolicies: {require_pins: true}\n"
    made = "schema_version: 1\nsource:\n  ollama: mine\n  modelfile: {from: 'acme/base:7b'}\n"
    base = f"schema_version: 1\nsource: {{ollama: 'acme/base:7b', digest: {'a' * 64}}}\n"
    (found,) = validate_registry(WorkTreeReader(registry(tmp_path / "r", settings, m=made))).diagnostics
    assert (found.file, found.line) == ("models/m.yaml", 4)
    assert "require_pins" in found.message
    assert validate_registry(WorkTreeReader(registry(tmp_path / "s", settings, m=made, b=base))).diagnostics == ()
    gone = f"{base}state: absent\n"
    assert len(validate_registry(WorkTreeReader(registry(tmp_path / "t", settings, m=made, b=gone))).diagnostics) == 1
