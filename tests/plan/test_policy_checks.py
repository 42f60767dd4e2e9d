"""What the registry's policies keep out of a plan, before any byte, and what they say of models that are here."""

from datetime import date
from enum import StrEnum
from typing import Any

import pytest

from imageworks.plan.facts import DeclaredModel, ResolvedSource
from imageworks.plan.plan import Action, Plan, Reason
from imageworks.registry.documents.yaml_reader import parse_yaml
from imageworks.registry.manifests.manifest import Manifest
from imageworks.registry.settings.policies import Policies, PolicyException, read_policies
from imageworks.registry.settings.settings import read_settings
from support.plans import FILES, A, B, entry, files, installed, manifest, orphan, place, plan_of, upstream

PICKLED = {"config.json": b"{}", "pytorch_model.bin": b"w" * 1000}
SIZE = sum(map(len, FILES.values()))


def coming(declared: Manifest | None = None, **offered: Any) -> DeclaredModel:  # noqa: ANN401 # fields of Upstream
    """Return a model that is to be installed; keywords are what its source offers."""
    fields = {"files": files(), "commit": A, "ref": A, "repo": "acme/tiny-1b", **offered}
    return DeclaredModel(declared or manifest(), place=place(), upstream=ResolvedSource(**fields))


def outcome(plan: Plan) -> tuple[Action, StrEnum, str]:
    (change,) = plan.changes
    return change.action, change.reason, change.message


def exception(policy: str, expires: date | None = None, name: str = "m") -> PolicyException:
    return PolicyException(name, policy, "upstream is gone", expires)


@pytest.mark.parametrize(
    ("allowed", "denied", "declared", "offered", "comes"),
    [
        ((), (), None, None, True),
        (("apache-2.0",), (), None, "apache-2.0", True),
        (("Apache-2.0",), (), None, "apache-2.0", True),
        (("apache-2.0",), (), None, "mit", False),
        (("apache-2.0",), (), None, None, False),
        (("apache-2.0",), (), "apache-2.0", None, True),
        (("apache-2.0",), (), "cc-by-nc-4.0", "apache-2.0", False),
        (("apache-2.0",), (), "apache-2.0", "cc-by-nc-4.0", False),
        ((), ("cc-by-nc-4.0",), "mit", "cc-by-nc-4.0", False),
        ((), ("cc-by-nc-4.0",), "MIT", "mit", True),
        (("apache-2.0",), (), "Apache-2.0", "other", True),
        ((), ("cc-by-nc-4.0",), None, "CC-BY-NC-4.0", False),
        ((), ("cc-by-nc-4.0",), None, "mit", True),
        (("apache-2.0",), (), None, "apache-2.0, mit", False),
        (("apache-2.0", "MIT"), (), None, "apache-2.0, mit", True),
        ((), ("cc-by-nc-4.0",), None, "mit, cc-by-nc-4.0", False),
        ((), ("gpl-3.0",), "MIT OR GPL-3.0", "mit", False),
        (("mit or gpl-3.0",), (), None, "MIT OR GPL-3.0", True),
        (("apache-2.0", "mit"), (), "mit, apache-2.0", "apache-2.0, mit", True),
        ((), ("cc-by-nc-4.0",), None, None, True),
    ],
)
def test_x8_licences(
    allowed: tuple[str, ...], denied: tuple[str, ...], declared: str | None, offered: str | None, comes: bool
) -> None:
    fields: dict[str, Any] = {} if declared is None else {"license": declared}
    policies = Policies(allowed_licenses=allowed, denied_licenses=denied)
    action, reason, message = outcome(plan_of(coming(manifest(**fields), license=offered), policies=policies))
    if comes:
        assert action is Action.INSTALL
    else:
        assert (action, reason) == (Action.BLOCKED, Reason.LICENSE_DENIED)
        assert message.startswith("models/m.yaml:1:1: policies.")


@pytest.mark.parametrize(
    ("policies", "case", "said"),
    [
        (Policies(require_pins=True), coming(manifest(source={"huggingface": "a/b"})), "main is no full commit id"),
        (Policies(forbid_pickle=True), coming(files=files(PICKLED)), "pytorch_model.bin can run code"),
        (Policies(forbid_remote_code=True), coming(tags=("custom_code",)), "names code to import"),
        (Policies(forbid_remote_code=True), coming(remote_code=True), "names code to import"),
        (Policies(forbid_remote_code=True), coming(files=files({**FILES, "modeling.py": b""})), "modeling.py"),
        (Policies(allowed_owners=("Qwen",)), coming(), "acme is not one of Qwen"),
        (Policies(max_model_bytes=SIZE - 1), coming(), f"takes {SIZE} bytes, of {SIZE - 1}"),
        (Policies(max_host_bytes=SIZE - 1), coming(), f"would take {SIZE} bytes, of {SIZE - 1}"),
        (Policies(required_labels=("team",)), coming(manifest(labels={"tier": "x"})), "the label team is missing"),
        (Policies(required_labels=("tier=y",)), coming(manifest(labels={"tier": "x"})), "the label tier=y is missing"),
        (Policies(required_roles=("caption", "tag")), coming(manifest(roles=["x"])), "none of the roles caption, tag"),
    ],
)
def test_each_policy_blocks_its_model_and_names_rule_and_remedy(
    policies: Policies, case: DeclaredModel, said: str
) -> None:
    action, reason, message = outcome(plan_of(case, policies=policies))
    rule = next(key for key in Policies.__slots__ if getattr(policies, key))
    assert (action, reason) == (Action.BLOCKED, Reason.POLICY_VIOLATED)
    assert f"models/m.yaml:1:1: policies.{rule}: " in message
    assert said in message
    assert "add an exception with an end under `policies` in registry.yaml" in message
    for exempt in (Policies(), read_policies({}), _with(policies, exception(rule, date(2030, 1, 1)))):
        assert outcome(plan_of(case, policies=exempt))[0] is Action.INSTALL
    elsewhere = _with(policies, exception(rule, date(2030, 1, 1), name="other"), exception("forbid_x"))
    assert outcome(plan_of(case, policies=elsewhere))[0] is Action.BLOCKED


def _with(policies: Policies, *exceptions: PolicyException) -> Policies:
    from dataclasses import replace

    return replace(policies, exceptions=exceptions)


@pytest.mark.parametrize(
    ("policies", "case"),
    [
        (Policies(require_pins=True), coming()),
        (Policies(forbid_pickle=True), coming()),
        (Policies(forbid_remote_code=True), coming(files=files(PICKLED))),
        (Policies(allowed_owners=("ACME",)), coming()),
        (Policies(max_model_bytes=SIZE, max_host_bytes=SIZE), coming()),
        (Policies(required_labels=("tier=x",)), coming(manifest(labels={"tier": "x"}))),
        (Policies(required_roles=("caption", "tag")), coming(manifest(roles=["tag"]))),
    ],
)
def test_what_keeps_to_the_policies_comes(policies: Policies, case: DeclaredModel) -> None:
    assert outcome(plan_of(case, policies=policies))[0] is Action.INSTALL


def test_a_violation_says_the_line_where_the_manifest_says_it() -> None:
    text = b"schema_version: 1\n# ours\nsource:\n  huggingface: a/b\n  revision: dev\n"
    document = parse_yaml(text, "models/m.yaml")
    declared = manifest(source={"huggingface": "a/b", "revision": "dev"})
    plan = plan_of(coming(declared), policies=Policies(require_pins=True), documents={"m": document})
    assert outcome(plan)[2].startswith("models/m.yaml:5:13: policies.require_pins: the revision dev is no full commit")


def test_all_that_is_against_a_model_is_said_at_once() -> None:
    policies = Policies(require_pins=True, forbid_pickle=True, max_model_bytes=1)
    declared = manifest(source={"huggingface": "a/b"})
    message = outcome(plan_of(coming(declared, files=files(PICKLED)), policies=policies))[2]
    assert [rule in message for rule in ("require_pins", "forbid_pickle", "max_model_bytes")] == [True] * 3


def test_an_expired_exception_does_not_count_and_is_told() -> None:
    policies = _with(Policies(require_pins=True), exception("require_pins", date(2026, 11, 21)))
    case = coming(manifest(source={"huggingface": "a/b"}))
    assert outcome(plan_of(case, policies=policies.on(date(2026, 11, 21))))[0] is Action.INSTALL
    plan = plan_of(case, policies=policies.on(date(2026, 11, 22)))
    assert "(its exception expired on 2026-11-21)" in outcome(plan)[2]
    (note,) = [note for note in plan.notes if note.startswith("registry.yaml")]
    assert note.startswith("registry.yaml: the exception of m from policies.require_pins expired on 2026-11-21 (upst")
    assert note.endswith("; renew or remove it")


def test_what_is_installed_stays_and_is_told() -> None:
    declared = manifest()
    policies = Policies(forbid_pickle=True, max_model_bytes=10, denied_licenses=("gpl",), max_host_bytes=20)
    case = installed(declared, record=entry(declared, contents=PICKLED))
    plan = plan_of(case, policies=policies)
    assert plan.changes == ()
    assert not plan.has_errors
    assert [any(rule in note for note in plan.notes) for rule in ("forbid_pickle", "max_model_bytes")] == [True] * 2
    assert any("the models of testhost take 1002 bytes, of 20 allowed" in note for note in plan.notes)
    assert all(note.endswith(("what is installed stays", "of 20 allowed")) for note in plan.notes)


def test_what_is_recorded_of_code_and_licence_is_judged_too() -> None:
    record = entry()
    fields = {
        **record.fields,
        "license": "gpl",
        "metadata": {**record.part("metadata"), "safety": {"remote_code": True}},
    }
    record = type(record)(record.name, fields, record.files)
    policies = Policies(forbid_remote_code=True, denied_licenses=("gpl",))
    notes = plan_of(installed(record=record), policies=policies).notes
    assert [rule in "\n".join(notes) for rule in ("forbid_remote_code", "denied_licenses")] == [True] * 2


def test_an_update_that_would_break_a_policy_is_blocked_and_the_old_stays() -> None:
    declared = manifest(source={"huggingface": "acme/tiny-1b", "revision": B})
    case = installed(declared, record=entry(manifest()), upstream=upstream(PICKLED, commit=B))
    plan = plan_of(case, policies=Policies(forbid_pickle=True))
    assert outcome(plan)[:2] == (Action.BLOCKED, Reason.POLICY_VIOLATED)
    assert plan.notes == ()


def test_models_that_are_not_wanted_are_against_nothing() -> None:
    strict = Policies(require_pins=True, forbid_pickle=True, required_labels=("x",), allowed_licenses=("mit",))
    record = entry(manifest(), contents=PICKLED)
    plan = plan_of(installed(manifest(state="absent"), record=record), policies=strict)
    assert [change.action for change in plan.changes] == [Action.REMOVE]
    assert plan.notes == ()


def test_a_host_is_filled_by_name_up_to_its_limit() -> None:
    cases = [coming(manifest(name, source={"huggingface": f"acme/{name}", "revision": A})) for name in ("a", "b", "c")]
    gone = orphan("gone")
    policies = _with(Policies(max_host_bytes=2 * SIZE), exception("max_host_bytes", date(2030, 1, 1), name="c"))
    plan = plan_of(*cases, orphans=(gone,), policies=policies)
    assert {change.name: change.action for change in plan.changes} == {
        "a": Action.INSTALL,
        "b": Action.BLOCKED,
        "c": Action.INSTALL,
    }


def test_policies_are_read_and_those_not_known_are_named() -> None:
    document = {"policies": {"allowed_licenses": ["mit"], "require_pins": True, "max_model_bytes": 5, "later": 1}}
    settings = read_settings(document, "host")
    assert settings.policies == Policies(allowed_licenses=("mit",), require_pins=True, max_model_bytes=5)
    assert settings.unenforced == ("policies.later",)
