"""Plans for hosts whose disks cannot be seen, and what one commit changes against another: what CI can say."""

import re
import shutil
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import MODEL, NAME, QUANTS, REPO, Result, World, command
from support.transfer import content

SECOND = {
    "model.safetensors": content("tiny-1b second", 70_000),
    "extra.py": b"print()",
    "README.md": b"---\nlicense: gpl\n---\n",
}
ANCHOR = "<!-- imageworks-plan: testhost -->"


@pytest.fixture
def installed(world: World) -> World:
    """A world whose host has installed a pinned model, and whose disk is gone since."""
    repository = world.serve({**MODEL, "README.md": b"---\nlicense: mit\n---\n"})
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    world.reconcile()
    git(world.git_root, "branch", "base")
    shutil.rmtree(world.weights / REPO)
    return world


def review(world: World, *words: str, code: int = 0) -> Result:
    before = {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}
    result = command("reconcile", "--dry-run", *words, "--registry", world.root)
    assert result.code == code, result
    assert {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()} == before
    return result


def unlinked(text: str) -> str:
    """Return a comment without where its links lead."""
    return re.sub(r"\[(`[^`]*`)\]\([^)]*\)", r"\1", text)


def test_a_hosts_entries_stand_for_its_disk(installed: World) -> None:
    assert installed.plan().changes == {NAME: ("repair", "file-missing")}
    assert review(installed, "--host", "testhost", "--json").changes == {}
    text = review(installed, "--host", "testhost", "--format", "markdown", "--base", "base").out
    assert text.startswith(ANCHOR)
    assert "\nNo changes.\n" in text


def test_a_new_pin_is_an_update_with_files_sizes_licence_and_safety(installed: World) -> None:
    repository = installed.serve(MODEL)
    newer = repository.commit(SECOND)
    old = str(installed.entry()["resolved"]["revision"])  # type: ignore[index]
    installed.declare(source={"huggingface": REPO, "revision": newer})
    text = review(installed, "--host", "testhost", "--format", "markdown", "--base", "base").out
    assert f"| `~` | `{NAME}` | update (revision-changed) | `{old[:12]}` → `{newer[:12]}` |" in unlinked(text)
    assert "`licence mit -> gpl`, `extra.py can run code (code)`" in text
    assert "`+ extra.py`, `~ README.md`, `~ model.safetensors`" in text
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in text
    installed.declare("other", source={"huggingface": REPO, "revision": newer}, location="second")
    git(installed.git_root, "branch", "next", "HEAD~1")
    rest = unlinked(review(installed, "--host", "testhost", "--format", "markdown", "--base", "next").out)
    assert f"| `~` | `{NAME}`" not in rest
    assert "| `+` | `other` |" in rest
    assert "1 change is pending already at the base." in rest


def test_every_host_has_its_own_plan(installed: World) -> None:
    installed.serve(QUANTS, "acme/many-7b")
    installed.declare("many", source={"huggingface": "acme/many-7b"}, quantization="Q8_0", hosts=["gpu=none"])
    result = review(installed, "--all-hosts", "--json", "--detailed-exitcode", code=2)
    plans = result.json["plans"]
    assert isinstance(plans, list)
    changes = {plan["host"]: [(c["name"], c["action"]) for c in plan["changes"]] for plan in plans}
    assert changes == {"testhost": [], "elsewhere": [("many", "install"), (NAME, "install")]}
    text = review(installed, "--all-hosts", "--format", "markdown", "--base", "base").out
    assert text.startswith("<!-- imageworks-plan: all hosts -->")
    assert "#### Host `elsewhere`" in text
    assert "| `+` | `many` | install (missing) |" in unlinked(text)
    assert f"`{NAME}`" not in text
    shown = review(installed, "--all-hosts").out
    assert "testhost:\n" in shown
    assert re.search(r"\+ install +many .* missing", shown)


def test_renames_moves_and_deletions_are_seen_without_disks(installed: World) -> None:
    git(installed.git_root, "mv", f"models/{NAME}.yaml", "models/renamed.yaml")
    text = (installed.root / "models/renamed.yaml").read_text(encoding="utf-8")
    installed.write("models/renamed.yaml", text.removesuffix("}") + f', "previously": ["{NAME}"]}}')
    assert review(installed, "--host", "testhost", "--json").changes == {"renamed": ("move", "renamed")}
    installed.write(
        "models/renamed.yaml", text.removesuffix("}") + f', "previously": ["{NAME}"], "location": "second"}}'
    )
    assert review(installed, "--host", "testhost", "--json").changes == {"renamed": ("move", "location-changed")}
    installed.delete("renamed")
    gone = review(installed, "--host", "testhost", "--json", "--prune", "--allow-empty")
    assert gone.changes == {NAME: ("remove", "undeclared")}


def test_what_only_the_host_can_see_is_neither_change_nor_error(world: World) -> None:
    world.declare("local", source={"path": "/srv/models/it"})
    world.declare("library", source={"ollama": "qwen2.5vl:7b"})
    result = review(world, "--host", "testhost", "--json")
    assert result.changes == {"library": ("install", "missing")}
    assert "/srv/models/it is on testhost and cannot be looked at from here" in str(result.json["notes"])


def test_a_bad_manifest_is_named_with_its_line_and_fails(installed: World) -> None:
    installed.write("models/bad.yaml", "schema_version: 1\nbackend: vlm\n")
    result = review(installed, "--all-hosts", "--format", "markdown", "--base", "base", code=1)
    assert "**Invalid documents**\n\n- `models/bad.yaml:2:10: " in result.out


def test_a_policy_is_told_where_a_request_breaks_it(installed: World) -> None:
    installed.configure(policies={"require_pins": True})
    installed.declare("loose", source={"huggingface": REPO}, location="second")
    result = review(installed, "--host", "testhost", "--format", "markdown", "--base", "base", code=1)
    assert "**Blocked**\n\n- `loose`: ``models/loose.yaml:1:" in unlinked(result.out)
    assert "policies.require_pins" in result.out


def test_a_registry_without_hosts_is_planned_for_this_one(world: World) -> None:
    world.serve()
    world.configure(hosts={})
    world.declare()
    assert "#### Host `testhost`" in review(world, "--all-hosts", "--format", "markdown").out


def test_on_the_host_itself_a_base_is_compared_too(world: World) -> None:
    world.serve()
    world.declare()
    git(world.git_root, "branch", "base")
    world.serve(QUANTS, "acme/many-7b")
    world.declare("many", source={"huggingface": "acme/many-7b"}, quantization="Q8_0")
    text = review(world, "--format", "markdown", "--base", "base").out
    assert "| `+` | `many` |" in unlinked(text)
    assert f"`{NAME}`" not in text
    assert "1 change is pending already at the base." in text
    assert review(world, "many", "--format", "markdown", "--base", "base").out.count("\n| `") == 1
    assert "Free below" in text


def test_names_choose_models_that_the_base_need_not_know(installed: World) -> None:
    installed.serve(QUANTS, "acme/many-7b")
    installed.declare("many", source={"huggingface": "acme/many-7b"}, quantization="Q8_0")
    text = review(installed, "many", "--host", "testhost", "--format", "markdown", "--base", "base").out
    assert "| `+` | `many` |" in unlinked(text)
    assert "no model is called" in review(installed, "nobody", "--host", "testhost", code=1).err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--host", "tasthost"), 64, "Did you mean 'testhost'?"),
        (("--host", "testhost", "--all-hosts"), 64, "exclude each other"),
        (("--base", "HEAD"), 64, "--base is for --format markdown"),
        (("--base", "nowhere", "--format", "markdown"), 1, "'nowhere': names no commit"),
        (("--host", "testhost", "--out", "plan.json"), 64, "only show a plan"),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, words: tuple[str, ...], code: int, said: str) -> None:
    result = command("reconcile", "--dry-run", *words, "--registry", world.root)
    assert (result.code, said in result.err) == (code, True), result


def test_nothing_is_ever_applied_for_another_host(world: World) -> None:
    for words in (("--host", "testhost"), ("--all-hosts",), ("--base", "HEAD", "--format", "markdown")):
        result = command("reconcile", "--yes", *words, "--registry", world.root)
        assert result.code == 64, result
        assert "Add --dry-run" in result.err


def test_hosts_that_keep_their_entries_on_branches_are_found(world: World, tmp_path: Path) -> None:
    repository = world.serve()
    world.configure(commit={"branch": "state/{host}"}, hosts={})
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    assert command("reconcile", "--yes", "--registry", world.root, "--no-progress").code == 0
    git(world.git_root, "branch", "unrelated")
    git(tmp_path, "clone", "--quiet", str(world.git_root), "the checkout")
    checkout = tmp_path / "the checkout"
    result = command("reconcile", "--dry-run", "--all-hosts", "--json", "--registry", checkout)
    assert result.code == 0, result
    plans = result.json["plans"]
    assert isinstance(plans, list)
    assert [(plan["host"], plan["changes"]) for plan in plans] == [("testhost", [])]


def test_a_detached_shallow_checkout_is_enough(installed: World, tmp_path: Path) -> None:
    """As CI systems check a request out."""
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{installed.git_root}", "the checkout")
    git(tmp_path / "the checkout", "checkout", "--quiet", "--detach")
    result = command("reconcile", "--dry-run", "--all-hosts", "--json", "--registry", tmp_path / "the checkout")
    assert result.code == 0, result
