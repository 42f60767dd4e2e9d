"""pin, outdated and update through the real program: a hub whose branches move, and manifests that people wrote."""

import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from support.git import assert_sound, git, user_work
from support.hub import Faults, HubHistory, status
from support.reconcile import MODEL, NAME, REPO, Result, World, command
from support.signing import REQUIRED, signers
from support.transfer import content, gguf_content

DAY = timedelta(days=1)
TEMPLATES = (b'{"chat_template": "{{ a }}"}', b'{"chat_template": "{{ b }}"}')
CARD = b"---\nlicense: %s\n---\n# Tiny\n"
FIRST = {**MODEL, "README.md": CARD % b"mit", "tokenizer_config.json": TEMPLATES[0], "picture.png": b"for nobody"}
SECOND = {
    "README.md": CARD % b"gpl-3.0",
    "tokenizer_config.json": TEMPLATES[1],
    "model.safetensors": content("tiny-1b newer weights", 90_000),
    "generation_config.json": b"{}",
}
MESSY = """\
# Ours.\r
schema_version:   1\r
source:   # where from
    huggingface: 'acme/tiny-1b'   # the small one  \r
    revision: "{commit}"      # main, 2026-01-02; checked by Ada

roles:
  - caption   # first
    # the end"""


@pytest.fixture
def history(world: World) -> HubHistory:
    """The repository with one commit, ten days old."""
    made = HubHistory(world.folder / "hub", REPO)
    made.commit(FIRST, age=10 * DAY)
    return made


def messy(world: World, commit: str) -> None:
    """Declare the model pinned, in a file that no program would write so."""
    (world.root / "models").mkdir(exist_ok=True)
    (world.root / f"models/{NAME}.yaml").write_bytes(MESSY.format(commit=commit).encode())
    world.commit("Declare it")


def manifest(world: World, name: str = NAME) -> bytes:
    return (world.root / f"models/{name}.yaml").read_bytes()


def run(world: World, *words: str, code: int = 0) -> Result:
    result = command(*words, "--registry", world.root)
    assert result.code == code, result
    return result


def model(result: Result, name: str = NAME) -> dict[str, object]:
    models = result.json["models"]
    assert isinstance(models, list)
    return next(one for one in models if one["name"] == name)


def test_what_moved_upstream_is_told_with_what_it_would_change(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    history.commit({"picture.png": b"still for nobody"}, age=5 * DAY)
    newest = history.commit(SECOND, age=2 * DAY)
    before = git(world.git_root, "rev-parse", "HEAD")
    result = run(world, "outdated", "--json")
    found = model(result)
    assert (result.json["outdated"], result.json["unknown"], result.json["format_version"]) == (1, 0, 1)
    assert (found["standing"], found["ref"], found["pinned"], found["latest"]) == ("outdated", "main", True, newest)
    assert found["commits_behind"] == 2
    assert str(found["date"]).endswith("+00:00")
    grown = len(SECOND["model.safetensors"]) - len(FIRST["model.safetensors"])
    difference = found["difference"]
    assert isinstance(difference, dict)
    assert difference["bytes"]["to"] - difference["bytes"]["from"] >= grown
    assert difference["files"] == {
        "added": ["generation_config.json"],
        "removed": [],
        "changed": ["README.md", "model.safetensors", "tokenizer_config.json"],
    }
    assert difference["license"] == {"from": "mit", "to": "gpl-3.0"}
    assert difference["chat_template_changed"] is True
    shown = run(world, "outdated", "--detailed-exitcode", code=2).out
    assert "2 commits behind" in shown
    assert "licence: mit -> gpl-3.0" in shown
    assert "chat template: another one" in shown
    assert git(world.git_root, "rev-parse", "HEAD") == before


def test_what_is_current_is_no_update(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    assert model(run(world, "outdated", "--json", "--detailed-exitcode"))["standing"] == "current"
    assert "1 current." in run(world, "outdated").out
    assert "No pins to move." in run(world, "update").out
    assert "is still at" in run(world, "update", NAME).err


def test_what_cannot_be_asked_is_said_and_is_no_error(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    world.declare("gone", source={"huggingface": "acme/gone", "revision": "0" * 40})
    result = run(world, "outdated", "--json", "--detailed-exitcode")
    assert model(result, "gone")["standing"] == "unknown"
    assert "acme/gone" in str(model(result, "gone")["message"])
    offline = run(world, "outdated", "--offline", "--detailed-exitcode")
    assert f"could not ask {NAME}: " in offline.err
    assert "2 unknown." in offline.out
    refused = run(world, "update", code=1)
    assert "error: gone: could not be asked" in refused.err


def test_a_hub_without_a_history_still_tells_what_changes(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    history.commit(SECOND)
    Faults.install(world.hub).add(status(404), where="/commits/", times=-1)
    found = model(run(world, "outdated", "--json"))
    assert (found["standing"], found["commits_behind"]) == ("outdated", None)
    assert found["difference"] is not None


def test_an_invalid_manifest_is_told_and_stops_no_other(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    world.write("models/bad.yaml", "schema_version: 1\nsource: {hugingface: a/b}\n")
    history.commit(SECOND, age=DAY)
    found = run(world, "outdated")
    assert "could not ask bad: models/bad.yaml:2:" in found.err
    assert found.out.endswith("1 outdated, 1 unknown.\n")
    assert model(run(world, "outdated", "--json"), "bad")["standing"] == "unknown"
    assert "error: bad: models/bad.yaml:2:" in run(world, "pin", code=1).err
    updated = run(world, "update", code=1)
    assert "error: bad: models/bad.yaml:2:" in updated.err
    assert f"~ models/{NAME}.yaml: " in updated.out


def test_other_sources_and_states_are_not_followed(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    world.declare("logical", source=None, commit=True)
    (world.root / "models/logical.yaml").write_text("schema_version: 1\nroles: [caption]\n", encoding="utf-8")
    world.commit("Logical")
    world.declare("off", source={"huggingface": "acme/off"}, state="absent")
    result = run(world, "outdated", "--json")
    assert [model(result, name)["standing"] for name in ("logical", "off")] == ["not-followed"] * 2
    shown = run(world, "pin", "off", "logical")
    assert "off: state: absent" in shown.err
    assert "logical: no source has no pin" in shown.err


def test_an_update_moves_the_pin_and_no_other_byte_in_one_commit(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    world.reconcile()
    newest = history.commit(SECOND)
    before, head = manifest(world), world.head()
    result = run(world, "update")
    after = manifest(world)
    day = after.decode().partition("# main, ")[2][:10]
    assert after == MESSY.format(commit=newest).replace("2026-01-02", day).encode()
    assert after != before
    assert f"{history.commits[0][:12]} -> {newest[:12]}" in result.out
    assert git(world.git_root, "rev-list", "--count", f"{head}..HEAD").strip() == "1"
    assert world.message().startswith(f"Update {NAME}\n\n{NAME}: {history.commits[0][:12]} -> {newest[:12]} (main)")
    assert git(world.git_root, "status", "--porcelain").strip() == ""
    assert world.plan().changes == {NAME: ("update", "revision-changed")}
    world.reconcile()
    assert (world.weights / REPO / "model.safetensors").read_bytes() == SECOND["model.safetensors"]


def test_a_dry_run_of_an_update_writes_nothing(world: World, history: HubHistory, isolated_environment: Path) -> None:
    messy(world, history.commits[0])
    history.commit(SECOND)
    before = sorted(str(path) for path in [*world.folder.rglob("*"), *isolated_environment.rglob("*")])
    result = run(world, "update", "--dry-run")
    assert "Nothing was written." in result.out
    assert f"~ models/{NAME}.yaml" in result.out
    assert sorted(str(path) for path in [*world.folder.rglob("*"), *isolated_environment.rglob("*")]) == before


def test_an_update_waits_until_a_commit_is_old_enough(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    middle = history.commit({"config.json": b"{}"}, age=6 * DAY)
    history.commit(SECOND, age=1 * DAY)
    held = model(run(world, "outdated", "--json", "--min-age", "8"))
    assert (held["standing"], held["held"]) == ("outdated", True)
    assert "1 day old; at least 8 are asked for" in str(held["message"])
    assert "1 held." in run(world, "outdated", "--min-age", "8", "--detailed-exitcode").out
    assert "No pins to move." in run(world, "update", "--min-age", "8").out
    run(world, "update", "--min-age", "5")
    assert middle.encode() in manifest(world)


def test_uncommitted_edits_are_neither_lost_nor_committed(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    world.declare("other", source={"huggingface": REPO, "revision": history.commits[0]}, location="second")
    history.commit(SECOND)
    edited = manifest(world) + b"\nlicense: mine\n"
    (world.root / f"models/{NAME}.yaml").write_bytes(edited)
    (world.root / "new file.txt").write_text("mine", encoding="utf-8")
    result = run(world, "update", code=1)
    assert f"error: {NAME}: models/{NAME}.yaml has uncommitted changes" in result.err
    assert manifest(world) == edited
    assert world.message().startswith("Update other\n")
    assert history.commits[1].encode() in manifest(world, "other")
    assert git(world.git_root, "diff", "--name-only", "HEAD").split() == [f"models/{NAME}.yaml"]


def test_a_proposal_touches_neither_the_checked_out_branch_nor_the_work_tree(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    newest = history.commit(SECOND)
    (world.root / f"models/{NAME}.yaml").write_bytes(manifest(world) + b"\nlicense: mine\n")
    (world.root / "staged.txt").write_text("mine", encoding="utf-8")
    git(world.git_root, "add", "staged.txt")
    before, head = user_work(world.git_root), world.head()
    result = run(world, "update", "--pr-branch", "update/models")
    assert "proposed on branch update/models" in result.out
    assert (user_work(world.git_root), world.head()) == (before, head)
    assert git(world.git_root, "rev-parse", "update/models^").strip() == head
    assert git(world.git_root, "diff", "--name-only", "HEAD", "update/models").split() == [f"models/{NAME}.yaml"]
    shown = git(world.git_root, "show", f"update/models:models/{NAME}.yaml")
    assert newest in shown
    assert "license: mine" not in shown
    assert "Proposed-By: imageworks-models" in git(world.git_root, "log", "-1", "--format=%B", "update/models")
    tip = git(world.git_root, "rev-parse", "update/models")
    assert "already proposed" in run(world, "update", "--pr-branch", "update/models").out
    assert git(world.git_root, "rev-parse", "update/models") == tip
    assert_sound(world.git_root)


def test_a_proposal_is_renewed_on_the_present_commit(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    history.commit(SECOND)
    run(world, "update", "--pr-branch", "updates")
    world.write("models/README.md", "by people\n")
    newest = history.commit({"config.json": b"{}"})
    run(world, "update", "--pr-branch", "updates")
    assert git(world.git_root, "rev-parse", "updates^").strip() == world.head()
    assert newest in git(world.git_root, "show", f"updates:models/{NAME}.yaml")
    git(world.git_root, "checkout", "--quiet", "--detach")
    history.commit({"config.json": b"[]"})
    run(world, "update", "--pr-branch", "updates")
    assert history.commits[-1] in git(world.git_root, "show", f"updates:models/{NAME}.yaml")


@pytest.mark.parametrize("branch", ["main", "-x", "a..b", "theirs", "elsewhere", "refs/../x", ""])
def test_a_branch_that_is_somebodys_stays_as_it_is(world: World, history: HubHistory, branch: str) -> None:
    messy(world, history.commits[0])
    history.commit(SECOND)
    git(world.git_root, "branch", "theirs")
    git(world.git_root, "worktree", "add", "--quiet", "-b", "elsewhere", str(world.folder / "another work tree"))
    git(world.git_root, "checkout", "--quiet", "theirs")
    world.write("theirs.txt", "work")
    git(world.git_root, "checkout", "--quiet", "main")
    before = git(world.git_root, "for-each-ref")
    result = run(world, "update", f"--pr-branch={branch}", code=1)
    assert "error: " in result.err
    assert "Traceback" not in result.err
    assert git(world.git_root, "for-each-ref") == before


def test_a_merged_branch_without_work_of_its_own_may_be_used_again(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    git(world.git_root, "branch", "updates")
    world.write("more.txt", "since then")
    newest = history.commit(SECOND)
    run(world, "update", "--pr-branch", "updates")
    assert newest in git(world.git_root, "show", f"updates:models/{NAME}.yaml")


def test_quantizations_that_share_a_folder_move_together_or_not_at_all(world: World, history: HubHistory) -> None:
    pin = history.commit({"x-Q4_K_M.gguf": gguf_content("4", 900), "x-Q8_0.gguf": gguf_content("8", 900)}, age=3 * DAY)
    for label in ("Q4_K_M", "Q8_0"):
        source = {"huggingface": REPO, "revision": pin}
        world.declare(f"x-{label.lower()}", source=source, format="gguf", quantization=label)
    newest = history.commit({"x-Q4_K_M.gguf": gguf_content("4b", 900)})
    alone = run(world, "update", "x-q4_k_m", code=1)
    assert "models that share a folder move together" in alone.err
    assert newest.encode() not in manifest(world, "x-q4_k_m")
    run(world, "update")
    assert all(newest.encode() in manifest(world, name) for name in ("x-q4_k_m", "x-q8_0"))
    world.check()


def test_a_locked_model_does_not_move(world: World, history: HubHistory) -> None:
    world.declare(source={"huggingface": REPO, "revision": history.commits[0]}, version_lock={"locked": True})
    history.commit(SECOND)
    assert "version_lock holds it" in run(world, "update", NAME).err
    assert model(run(world, "outdated", "--json"))["standing"] == "outdated"


def test_a_pin_holds_what_is_installed_and_keeps_the_branch(world: World, history: HubHistory) -> None:
    git(history.folder, "branch", "dev")
    world.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource:\n  huggingface: {REPO}\n  revision: dev # ours\n")
    world.reconcile()
    git(history.folder, "checkout", "--quiet", "dev")
    newest = history.commit(SECOND)
    assert model(run(world, "outdated", "--json"))["standing"] == "outdated"
    world.hub.stop()
    run(world, "pin", "--offline")
    text = manifest(world).decode()
    assert f'revision: "{history.commits[0]}" # dev, ' in text
    assert text.endswith('; ours\n  branch: "dev"\n')
    assert world.plan("--offline").changes == {}
    assert newest not in text


def test_a_pin_of_what_is_not_installed_is_what_the_branch_is_at(world: World, history: HubHistory) -> None:
    world.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource: {{huggingface: {REPO}}}\n")
    assert model(run(world, "outdated", "--json"))["standing"] == "not-installed"
    assert "Nothing was written." in run(world, "pin", "--dry-run").out
    assert "not-installed" in run(world, "outdated", NAME).out
    run(world, "pin", NAME)
    expected = f'schema_version: 1\nsource: {{huggingface: {REPO}, revision: "{history.commits[0]}"}}\n'
    assert manifest(world).decode() == expected
    assert f"is pinned to {history.commits[0][:12]}" in run(world, "pin", NAME).err
    assert "Nothing to pin." in run(world, "pin").out
    world.declare("gone", source={"huggingface": "acme/gone"})
    assert "error: gone: " in run(world, "pin", code=1).err


def test_a_branch_that_is_followed_without_a_pin_gets_one_when_it_moves_on(world: World, history: HubHistory) -> None:
    world.write(f"models/{NAME}.yaml", f"schema_version: 1\nsource:\n  huggingface: {REPO}\n")
    world.reconcile()
    newest = history.commit(SECOND)
    assert ", not pinned" in run(world, "update").out
    assert f'  revision: "{newest}" # main, ' in manifest(world).decode()


def test_where_people_must_sign_an_update_can_only_be_proposed(
    world: World, history: HubHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = signers(world, tmp_path, monkeypatch)
    messy(world, history.commits[0])
    newest = history.commit(SECOND)
    world.configure(**REQUIRED)
    people.amend()
    head = world.head()
    assert "signed commits" in run(world, "update", code=1).err
    assert world.head() == head
    run(world, "update", "--pr-branch", "updates")
    assert newest in git(world.git_root, "show", f"updates:models/{NAME}.yaml")


def test_a_name_that_is_not_declared_is_refused(world: World, history: HubHistory) -> None:
    messy(world, history.commits[0])
    for words in (("pin",), ("outdated",), ("update",)):
        refused = run(world, *words, "tiny-1c", code=1)
        assert "Did you mean 'tiny-1b'?" in refused.err
    world.write("models/bad.yaml", "schema_version: 2\n")
    assert "models/bad.yaml:1:" in run(world, "update", "bad", code=1).err
    assert "1 current, 1 unknown." in run(world, "outdated").out


def test_a_pushed_proposal_arrives_where_it_is_reviewed(world: World, history: HubHistory) -> None:
    """The whole way with real git: propose, push to a bare repository, merge there, pull."""
    messy(world, history.commits[0])
    newest = history.commit(SECOND)
    remote = world.folder / "a remote.git"
    git(world.folder, "init", "--quiet", "--bare", "--initial-branch", "main", str(remote))
    git(world.git_root, "remote", "add", "origin", str(remote))
    git(world.git_root, "push", "--quiet", "origin", "main")
    told = run(world, "update", "--pr-branch", "updates").out
    push = told.partition("`git ")[2].partition("`")[0]
    subprocess.run(["git", *push.split()], cwd=world.git_root, check=True, capture_output=True, env=os.environ)
    reviewer = world.folder / "the reviewer"
    git(world.folder, "clone", "--quiet", str(remote), str(reviewer))
    git(reviewer, "merge", "--quiet", "--no-ff", "-m", "Merge", "origin/updates")
    git(reviewer, "push", "--quiet", "origin", "main")
    git(world.git_root, "pull", "--quiet", "--ff-only", "origin", "main")
    assert newest.encode() in manifest(world)
    assert "1 current." in run(world, "outdated").out
