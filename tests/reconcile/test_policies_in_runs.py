"""Policies through the real program: what is refused brings no byte, stops no other model, and removes nothing."""

import json

import pytest

from support.reconcile import MODEL, NAME, QUANTS, REPO, World, command

PICKLED = {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04w" * 1000}
CODE = {**MODEL, "config.json": b'{"auto_map": {"AutoModel": "other/repo--modeling.Model"}}'}


def policies(world: World, **rules: object) -> None:
    world.configure(policies=rules)


def test_a_violation_blocks_only_its_model_and_says_the_line(world: World) -> None:
    world.serve()
    pinned = world.serve(QUANTS, "acme/many-7b")
    policies(world, require_pins=True)
    world.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource:\n  huggingface: {REPO}\n  revision: main\n")
    source = {"huggingface": "acme/many-7b", "revision": pinned.commit_id}
    world.declare("many", source=source, quantization="Q8_0")
    result = world.reconcile(code=1, valid=False)
    assert result.planned[NAME] == ("blocked", "policy-violated")
    assert f"models/{NAME}.yaml:4:13: policies.require_pins: the revision main is no full commit id" in result.out
    assert world.entries() == ["many"]
    validated = command("validate", "--registry", world.root)
    assert validated.code == 1
    assert f"models/{NAME}.yaml:4:13: policies.require_pins" in validated.out
    assert command("snapshot", "check", "--registry", world.root).code == 0


@pytest.mark.parametrize(
    ("rules", "files", "said"),
    [
        ({"forbid_pickle": True}, PICKLED, "pytorch_model.bin can run code when it is loaded"),
        ({"forbid_remote_code": True}, CODE, "its configuration names code to import"),
        ({"forbid_remote_code": True}, {**MODEL, "modeling_tiny.py": b"1"}, "modeling_tiny.py"),
        ({"max_model_bytes": 1000}, MODEL, "of 1000 that are allowed"),
        ({"max_host_bytes": 1000}, MODEL, "all models of testhost would take"),
    ],
)
def test_what_the_listing_shows_is_refused_before_any_byte_of_weights(
    world: World, rules: dict[str, object], files: dict[str, bytes], said: str
) -> None:
    world.serve(files)
    policies(world, **rules)
    world.declare()
    result = world.reconcile(code=1)
    assert said in result.out
    assert not any(name.endswith((".safetensors", ".bin")) for name in world.served.files)
    assert list(world.weights.rglob("*.*")) == []
    exception = {"name": NAME, "policy": next(iter(rules)), "reason": "reviewed", "expires": "2999-12-31"}
    policies(world, **rules, exceptions=[exception])
    world.reconcile()
    assert world.entries() == [NAME]


def test_what_is_installed_stays_and_is_told(world: World) -> None:
    world.serve(PICKLED)
    world.declare()
    world.reconcile()
    exception = {"name": NAME, "policy": "forbid_pickle", "reason": "old", "expires": "2020-01-31"}
    policies(world, forbid_pickle=True, exceptions=[exception])
    plan = world.plan()
    assert plan.changes == {}
    notes = plan.json["notes"]
    assert isinstance(notes, list)
    assert any("policies.forbid_pickle" in note and "what is installed stays" in note for note in notes)
    assert any("expired on 2020-01-31 (old)" in note for note in notes)
    world.reconcile()
    assert (world.weights / REPO / "pytorch_model.bin").read_bytes() == PICKLED["pytorch_model.bin"]
    head = world.head()
    world.reconcile()
    assert world.head() == head


def test_nothing_is_told_of_policies_that_are_carried_out(world: World) -> None:
    world.serve()
    policies(world, max_model_bytes=10**9, later=True)
    world.declare()
    notes = json.dumps(world.plan().json["notes"])
    assert "policies.later is not carried out" in notes
    assert "max_model_bytes" not in notes


def test_validate_tells_of_expired_exceptions_without_failing(world: World) -> None:
    exception = {"name": "m", "policy": "forbid_pickle", "reason": "old", "expires": "2020-01-31"}
    policies(world, exceptions=[exception])
    result = command("validate", "--registry", world.root)
    assert result.code == 0
    assert "note: registry.yaml: the exception of m" in result.err


def test_validate_tells_of_exceptions_for_nobody(world: World) -> None:
    exceptions = [
        {"name": name, "policy": "forbid_pickle", "reason": "why", "expires": "9999-12-31"}
        for name in ("tiny-2b", NAME)
    ]
    policies(world, exceptions=exceptions)
    world.declare()
    result = command("validate", "--registry", world.root)
    assert result.code == 0
    assert "the exception of tiny-2b from policies.forbid_pickle concerns no manifest" in result.err
    assert f"the exception of {NAME} " not in result.err


def test_a_review_is_told_only_of_what_it_brings(world: World) -> None:
    world.serve()
    world.serve(name="acme/other-1b")
    world.declare()
    world.declare("other-1b", source={"huggingface": "acme/other-1b"})
    world.reconcile()
    policies(world, required_labels=["team"])
    compared = ("--format", "markdown", "--base", world.head())
    world.declare("other-1b", source={"huggingface": "acme/other-1b"}, labels={"tier": "x"})
    review = command("reconcile", "--dry-run", *compared, "--registry", world.root).out
    assert "the label team is missing" not in review
    policies(world, required_labels=["team", "owner"])
    review = command("reconcile", "--dry-run", *compared, "--registry", world.root).out
    assert "the label owner is missing" in review
    assert "the label team is missing" not in review
