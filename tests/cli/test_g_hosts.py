"""G16: hosts are listed, retired and renamed in one commit; nothing is fetched again, no manifest reaches further."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from support.git import git
from support.reconcile import HOST, NAME, Result, World, command

OTHER = "elsewhere"


def hosts(world: World, *words: str, code: int = 0) -> Result:
    result = command("hosts", *words, "--registry", world.root)
    assert result.code == code, result
    return result


def listed(world: World) -> dict[str, dict[str, object]]:
    found = hosts(world, "list", "--json").json["hosts"]
    assert isinstance(found, list)
    return {one["name"]: one for one in found}


@pytest.fixture
def two(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """Two hosts that have recorded the same model, seen from the first."""
    world.serve()
    world.declare()
    with monkeypatch.context() as there:
        there.setenv("IMAGEWORKS_HOST", OTHER)
        there.setenv("IMAGEWORKS_STATE_DIR", str(tmp_path / "its state"))
        there.setenv("IMAGEWORKS_MODEL_ROOT", str(tmp_path / "its weights"))
        world.reconcile()
    world.reconcile()
    return world


def test_g16_hosts_are_listed_with_labels_models_and_dates(two: World) -> None:
    found = listed(two)
    assert {name: (one["labels"], one["models"], one["current"]) for name, one in found.items()} == {
        HOST: ({"gpu": "rtx4090"}, 1, True),
        OTHER: ({"gpu": "none"}, 1, False),
    }
    assert all(str(one["last_recorded"]).startswith("20") for one in found.values())
    shown = hosts(two, "list").out
    assert "gpu=rtx4090" in shown
    assert "this host" in shown


def test_g16_a_retired_host_leaves_nothing_in_one_commit(two: World) -> None:
    two.declare("for-both", source={"huggingface": "acme/tiny-1b"}, hosts=[HOST, OTHER], location="flat")
    before = two.head()
    assert hosts(two, "retire", OTHER, "--dry-run").out.endswith("Nothing was written.\n")
    assert two.head() == before
    hosts(two, "retire", OTHER)
    assert git(two.git_root, "rev-list", "--count", f"{before}..HEAD").strip() == "1"
    assert git(two.git_root, "status", "--porcelain") == ""
    assert list(listed(two)) == [HOST]
    assert not (two.root / f"discovered/{OTHER}").exists()
    assert not (two.root / f"snapshot/{OTHER}.json").exists()
    assert YAML(typ="safe").load(two.root / "models/for-both.yaml")["hosts"] == [HOST]
    two.check()
    two.reconcile()
    assert NAME in two.entries()
    git(two.git_root, "revert", "--no-edit", before + "..HEAD", check=False)


def test_g16_what_would_reach_further_is_refused(two: World) -> None:
    two.declare("only-there", source={"huggingface": "acme/tiny-1b"}, hosts=[OTHER], location="flat")
    before = two.head()
    assert "models/only-there.yaml" in hosts(two, "retire", OTHER, code=1).err
    two.declare("only-there", source={"huggingface": "acme/tiny-1b"}, hosts=["gpu=none"], location="flat")
    refused = hosts(two, "retire", OTHER, code=1)
    assert "models/only-there.yaml:1:" in refused.err
    assert git(two.git_root, "rev-list", "--count", f"{before}..HEAD").strip() == "1"


def test_g16_this_host_and_unknown_ones_are_not_retired(two: World) -> None:
    assert "hosts rename" in hosts(two, "retire", HOST, code=64).err
    assert f"'{OTHER}'" in hosts(two, "retire", "elsewher", code=64).err
    assert hosts(two, "rename", OTHER, HOST, code=64).out == ""
    assert hosts(two, "rename", OTHER, HOST.upper(), code=64).out == ""
    hosts(two, "rename", OTHER, "../x", code=1)


@pytest.mark.parametrize("name", ["gpu_box.7", "rack-1.node-2", "9lives"])
def test_g16_a_renamed_host_goes_on_without_a_download(two: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    two.declare("here-too", source={"huggingface": "acme/tiny-1b"}, hosts=[HOST], location="flat")
    two.reconcile()
    before = two.head()
    hosts(two, "rename", HOST, name)
    assert git(two.git_root, "rev-list", "--count", f"{before}..HEAD").strip() == "1"
    monkeypatch.setenv("IMAGEWORKS_HOST", name)
    assert set(listed(two)) == {name, OTHER}
    assert listed(two)[name]["labels"] == {"gpu": "rtx4090"}
    assert command("snapshot", "check", "--registry", two.root).code == 0
    two.served.forget()
    assert two.plan().changes == {}
    two.reconcile()
    assert two.served.files == {}
    assert two.entries(host=name) == ["here-too", NAME]
    assert git(two.git_root, "rev-list", "--count", f"{before}..HEAD").strip() == "1"


def test_g16_protection_is_remembered_under_the_new_name(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    two.declare(prune="disabled")
    two.reconcile()
    hosts(two, "rename", HOST, "renamed")
    monkeypatch.setenv("IMAGEWORKS_HOST", "renamed")
    two.delete(NAME)
    two.reconcile("--prune", "--confirm", NAME, "--allow-empty")
    assert two.entries(host="renamed") == [NAME]


def test_g16_comments_of_the_settings_survive(two: World) -> None:
    text = (
        "schema_version: 1\n# the machines\nhosts:\n"
        f"  {HOST}: {{labels: {{gpu: rtx4090}}}}  # under the desk\n"
        f"  # in the rack\n  {OTHER}:\n    labels: {{gpu: none}}  # no GPU\n"
    )
    two.write("registry.yaml", text)
    hosts(two, "rename", OTHER, "rack")
    assert (two.root / "registry.yaml").read_text(encoding="utf-8") == text.replace(OTHER, "rack")
    hosts(two, "retire", "rack")
    kept = (two.root / "registry.yaml").read_text(encoding="utf-8")
    assert "# the machines" in kept
    assert f"{HOST}: {{labels: {{gpu: rtx4090}}}}  # under the desk" in kept
    assert "rack:" not in kept
    two.check()


def test_g16_a_pull_request_is_proposed_and_shown(two: World) -> None:
    before = two.head()
    hosts(two, "retire", OTHER, "--pr-branch", "retire-it")
    assert two.head() == before
    hosts(two, "retire", OTHER, "--pr-branch", "retire-it")  # renewed, not doubled
    assert git(two.git_root, "rev-list", "--count", "main..retire-it").strip() == "1"
    git(two.git_root, "switch", "--quiet", "retire-it")
    words = ("--dry-run", "--all-hosts", "--format", "markdown", "--base", before)
    shown = command("reconcile", *words, "--registry", two.root).out
    assert f"`discovered/{OTHER}`" in shown
    assert "1 entry" in shown


def test_g16_status_tells_of_hosts_that_may_be_gone(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hosts retire" not in command("status", "--registry", two.root).out
    two.configure(hosts={HOST: {}})
    assert f"`imageworks-models hosts retire {OTHER}`" in command("status", "--registry", two.root).out
    monkeypatch.setenv("IMAGEWORKS_HOST", "new-name")
    assert "hosts rename" in command("status", "--registry", two.root).out


def test_g16_a_host_with_a_branch_of_its_own_takes_it_along(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve()
    world.configure(commit={"branch": "state/{host}"})
    world.declare()
    world.reconcile()
    assert listed(world)[HOST]["branch"] == f"state/{HOST}"
    result = hosts(world, "rename", HOST, "renamed")
    assert f"git push origin --delete state/{HOST}" in result.err
    monkeypatch.setenv("IMAGEWORKS_HOST", "renamed")
    world.served.forget()
    assert world.plan().changes == {}
    world.reconcile(valid=False)
    assert world.served.files == {}
    names = git(world.git_root, "ls-tree", "-r", "--name-only", "state/renamed", "--", "discovered").split()
    assert names == [f"discovered/renamed/{NAME}.json"]
