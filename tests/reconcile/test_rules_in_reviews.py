"""Who changes the rules is told first: what a request loosens of registry.yaml, and the files that CI and git obey."""

from typing import Any

import pytest

from imageworks.registry.settings.changes import settings_changes
from support.git import git
from support.reconcile import NAME, Result, World, command

LOOSENED = "**loosened or reaching further:** "
POLICIES: dict[str, Any] = {"require_pins": True, "allowed_owners": ["acme"], "max_model_bytes": 10**9}


def review(world: World, base: str, *words: str) -> Result:
    asked = ("--all-hosts", "--format", "markdown", "--base", base, *words)
    return command("reconcile", "--dry-run", *asked, "--registry", world.root)


def test_x11_policies_that_go_are_told_before_any_model(world: World) -> None:
    pinned = world.serve().commit_id
    world.configure(policies=POLICIES, git={"require_signed": False})
    base = world.head()
    world.configure()
    world.declare(source={"huggingface": "acme/tiny-1b", "revision": pinned})
    result = review(world, base)
    assert result.code == 0
    lines = result.out.splitlines()
    assert f"- {LOOSENED}`policies.require_pins`: `true` → nothing" in lines
    assert f'- {LOOSENED}`policies.allowed_owners`: `["acme"]` → nothing' in lines
    told = [number for number, line in enumerate(lines) if "policies." in line]
    assert max(told) < next(number for number, line in enumerate(lines) if f"`{NAME}`" in line)


def test_x11_a_change_of_the_rules_alone_is_no_empty_review(world: World) -> None:
    base = world.head()
    world.configure(commit={"branch": "entries/{host}"}, hosts={"testhost": {}, "other": {}})
    out = review(world, base).out
    assert "No changes." not in out.splitlines()
    assert '- `commit.branch`: nothing → `"entries/{host}"`' in out
    assert "`hosts.other`" not in out or LOOSENED not in out
    assert "Changes of the rules" not in review(world, world.head()).out


@pytest.mark.parametrize(
    ("before", "after", "loosened"),
    [
        ({"policies": {"forbid_pickle": True}}, {}, True),
        ({"policies": {"forbid_pickle": True}}, {"policies": {"forbid_pickle": False}}, True),
        ({}, {"policies": {"forbid_pickle": True}}, False),
        ({"policies": {"allowed_licenses": ["mit"]}}, {"policies": {"allowed_licenses": ["mit", "x"]}}, True),
        ({"policies": {"allowed_licenses": ["mit"]}}, {"policies": {"allowed_licenses": []}}, True),
        ({"policies": {"allowed_licenses": ["mit", "x"]}}, {"policies": {"allowed_licenses": ["mit"]}}, False),
        ({"policies": {"denied_licenses": ["x", "y"]}}, {"policies": {"denied_licenses": ["x"]}}, True),
        ({"policies": {"denied_licenses": ["x"]}}, {"policies": {"denied_licenses": ["x", "y"]}}, False),
        ({"policies": {"required_labels": ["a"]}}, {"policies": {"required_labels": ["b"]}}, True),
        ({"policies": {"required_roles": ["a"]}}, {"policies": {"required_roles": ["a", "b"]}}, True),
        ({"policies": {"max_model_bytes": 5}}, {"policies": {"max_model_bytes": 6}}, True),
        ({"policies": {"max_model_bytes": 5}}, {"policies": {"max_model_bytes": None}}, True),
        ({"policies": {"max_model_bytes": 5}}, {"policies": {"max_model_bytes": 4}}, False),
        ({"policies": {"exceptions": []}}, {"policies": {"exceptions": [{"name": "m"}]}}, True),
        ({"policies": {"exceptions": [{"name": "m"}]}}, {"policies": {}}, False),
        ({"policies": {"change_requires": ["x"]}}, {"policies": {}}, True),
        ({"git": {"require_signed": True}}, {"git": {}}, True),
        ({"git": {"require_signed": True}}, {}, True),
        ({}, {"git": {"require_signed": True}}, False),
        ({"locations": {"a": {"path": "~/a"}}}, {"locations": {"a": {"path": "~/b"}}}, True),
        ({"locations": {"a": {"path": "~/a"}}}, {"locations": {"a": {"path": "~/a"}, "b": {"path": "/"}}}, True),
        ({"hosts": {"h": {}}}, {"hosts": {"h": {"locations": {"a": "/x"}}}}, True),
        ({"hosts": {"h": {"labels": {"gpu": "a"}}}}, {"hosts": {"h": {"labels": {"gpu": "b"}}}}, False),
        ({"prune": False}, {"prune": True}, True),
        ({}, {"commit": {"push": True}}, True),
        ({"commit": {"branch": "entries/{host}"}}, {"commit": {"branch": None}}, True),
        ({"transfer": {"jobs": 2}}, {"transfer": {"jobs": 3}}, False),
    ],
)
def test_x11_what_is_looser_is_marked(before: dict[str, Any], after: dict[str, Any], loosened: bool) -> None:
    changes = list(settings_changes(before, after))
    assert changes
    assert any(one.loosened for one in changes) is loosened
    assert list(settings_changes(after, after)) == []


def test_x11_what_is_loosened_needs_the_label_that_the_base_demands(world: World) -> None:
    world.configure(policies={**POLICIES, "change_requires": ["policy-change", "-x"]})
    base = world.head()
    world.configure(policies={"require_pins": True})
    result = review(world, base)
    assert result.code == 1
    assert "policies.change_requires" in result.err
    assert "Refused until the request has the label `-x`, `policy-change`" in result.out
    assert review(world, base, "--label", "policy-change").code == 1
    assert review(world, base, "--label=policy-change", "--label=-x").code == 0
    words = ("--format", "markdown", "--base", base, "--registry", world.root)
    assert command("reconcile", "--dry-run", *words).code == 1  # as this host sees it, too


def test_x11_what_is_tightened_or_unchanged_needs_none(world: World) -> None:
    world.configure(policies={**POLICIES, "change_requires": ["policy-change"]})
    base = world.head()
    world.configure(policies={**POLICIES, "max_model_bytes": 10, "change_requires": ["policy-change"]})
    assert review(world, base).code == 0
    assert review(world, world.head()).code == 0


@pytest.mark.parametrize(
    "file", [".github/workflows/x.yml", ".gitlab-ci.yml", "CODEOWNERS", ".gitattributes", ".lfsconfig"]
)
def test_x11_files_that_ci_and_git_obey_are_told(world: World, file: str) -> None:
    world.configure(policies={"change_requires": ["policy-change"]})
    base = world.head()
    path = world.git_root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x\n", encoding="utf-8")
    git(world.git_root, "add", "--force", file)
    git(world.git_root, "commit", "--quiet", "--message", "Change it")
    result = review(world, base)
    assert result.code == 1
    assert f"- {LOOSENED}`{file.partition('/')[0]}`: nothing → `changed`" in result.out


def test_x11_a_registry_yaml_that_goes_or_breaks_is_told(world: World) -> None:
    world.configure(policies={**POLICIES, "change_requires": ["policy-change"]})
    base = world.head()
    world.write("registry.yaml", "policies: [\n")
    result = review(world, base)
    assert result.code == 1
    assert f"- {LOOSENED}`registry.yaml`: nothing → `missing or invalid`" in result.out
    assert "Refused until" in result.out
