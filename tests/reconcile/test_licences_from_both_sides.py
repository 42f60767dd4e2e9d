"""A licence is judged as the manifest says it and as the source says it; where they differ, everybody is told."""

import json

from support.reconcile import MODEL, NAME, REPO, World, command

NONCOMMERCIAL = {**MODEL, "README.md": b"---\nlicense: cc-by-nc-4.0\n---\n# Tiny\n"}


def review(world: World, base: str) -> str:
    words = ("reconcile", "--dry-run", "--all-hosts", "--format", "markdown", "--base", base)
    return command(*words, "--registry", world.root).out


def test_x8_a_manifest_does_not_change_the_licence_of_its_source(world: World) -> None:
    world.serve(NONCOMMERCIAL)
    world.configure(policies={"denied_licenses": ["cc-by-nc-4.0"]})
    base = world.head()
    world.declare(license="mit")
    result = world.reconcile(code=1)
    assert "policies.denied_licenses: the licence cc-by-nc-4.0 is denied" in result.out
    assert world.entries() == []
    told = f"models/{NAME}.yaml: the licence is mit in the manifest and cc-by-nc-4.0 at the source"
    assert told in review(world, base)


def test_x8_a_contradiction_is_told_in_plan_comment_and_validate(world: World) -> None:
    world.serve(NONCOMMERCIAL)
    base = world.head()
    world.declare(license="mit")
    said = f"models/{NAME}.yaml: the licence is mit in the manifest and cc-by-nc-4.0 at the source"
    assert said in json.dumps(world.plan().json["notes"])
    comment = review(world, base)
    assert "the source says another licence: cc-by-nc-4.0" in comment
    world.reconcile()
    assert said in json.dumps(world.plan().json["notes"])  # as it was when the model came; nothing is asked for that
    validated = command("validate", "--registry", world.root)
    assert validated.code == 0
    assert said in validated.err
    world.configure(policies={"allowed_licenses": ["mit"]})
    validated = command("validate", "--registry", world.root)
    assert validated.code == 1
    assert "policies.allowed_licenses: the licence cc-by-nc-4.0" in validated.out


def test_x8_the_same_licence_in_other_letters_is_no_contradiction(world: World) -> None:
    world.serve(NONCOMMERCIAL)
    world.declare(source={"huggingface": REPO}, license="CC BY-NC 4.0")
    assert "at the source" not in json.dumps(world.plan().json["notes"])
