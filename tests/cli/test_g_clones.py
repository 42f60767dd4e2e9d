"""Clones as people and CI make them: each kind works, or is refused with a command that makes it work.

Every row of the table in docs/git.md is a test here.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import HOST, NAME, Result, World, command

LOGICAL = "schema_version: 1\nbackend: vllm\nroles: [caption]\n"
SNAPSHOT = f"snapshot/{HOST}.json"


@pytest.fixture
def installed(world: World) -> World:
    """A registry with one installed model, whose git serves shallow and partial clones."""
    world.serve()
    world.declare()
    world.reconcile()
    git(world.git_root, "config", "uploadpack.allowFilter", "true")
    git(world.git_root, "config", "uploadpack.allowAnySHA1InWant", "true")
    return world


def clone(world: World, *options: str, name: str = "clone") -> Path:
    folder = world.folder / name
    git(world.folder, "clone", "--quiet", *options, f"file://{world.git_root}", str(folder))
    return folder


def run(folder: Path, *words: str, code: int = 0) -> Result:
    result = command(*words, "--registry", folder)
    assert result.code == code, result
    return result


def works(folder: Path, *, quiet: bool = True) -> None:
    """Fail unless everything that a person does in a registry works in a clone, and leaves nothing of itself behind."""
    assert run(folder, "validate").out == ""
    assert run(folder, "snapshot", "check").out == ""
    assert run(folder, "diff").out.strip() == "No differences."
    assert "note:" not in run(folder, "status").err or not quiet
    assert run(folder, "reconcile", "--dry-run", "--json").json["changes"] == []
    assert "tiny" in run(folder, "list").out
    run(folder, "pin")
    commit_logical(folder, "another")
    run(folder, "reconcile", "--yes", "--no-progress")
    assert git(folder, "status", "--porcelain") == ""
    assert run(folder, "snapshot", "check").out == ""
    assert "another" in git(folder, "show", f"HEAD:{SNAPSHOT}")
    git(folder, "fsck", "--strict", "--no-dangling")


def commit_logical(folder: Path, name: str) -> None:
    (folder / f"models/{name}.yaml").write_text(LOGICAL, encoding="utf-8")
    git(folder, "add", "--sparse", f"models/{name}.yaml")
    git(folder, "commit", "--quiet", "--message", f"Declare {name}")


def follow(remedy: str, folder: Path) -> None:
    """Run the commands that a message gives, as somebody who reads it does."""
    commands = re.findall(r"`([^`]+)`", remedy)
    assert commands, remedy
    for line in commands:
        done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)


def test_g3_a_split_index(installed: World) -> None:
    folder = clone(installed, "--config", "core.splitIndex=true")
    git(folder, "update-index", "--split-index")
    works(folder)
    assert list((folder / ".git").glob("sharedindex.*"))


@pytest.mark.parametrize("version", ["2", "4"])
def test_g3_an_index_of_another_version(installed: World, version: str) -> None:
    folder = clone(installed)
    git(folder, "update-index", "--index-version", version)
    works(folder)
    assert (folder / ".git/index").read_bytes()[7] == int(version)


@pytest.mark.parametrize("folders", [("models", "snapshot", "discovered"), ("models",), ("snapshot",)])
@pytest.mark.parametrize("form", ["--sparse-index", "--no-sparse-index"])
def test_g3_g5_a_sparse_checkout(installed: World, form: str, folders: tuple[str, ...]) -> None:
    """G5: what is left out is no edit, and is read from git all the same."""
    folder = clone(installed)
    git(folder, "sparse-checkout", "set", "--cone", form, *folders)
    (folder / "models").mkdir(exist_ok=True)
    works(folder)
    git(folder, "sparse-checkout", "reapply")
    assert (folder / "discovered").exists() == ("discovered" in folders)


def test_g5_a_command_changes_a_manifest_that_is_left_out(installed: World) -> None:
    folder = clone(installed)
    git(folder, "sparse-checkout", "set", "--no-cone", "/registry.yaml")
    assert not (folder / "models").exists()
    run(folder, "pin")
    assert re.search(r'"?revision"?: "[0-9a-f]{40}"', git(folder, "show", f"HEAD:models/{NAME}.yaml"))
    assert git(folder, "status", "--porcelain") == ""


def test_g5_a_real_edit_beside_what_is_left_out_is_told(installed: World) -> None:
    folder = clone(installed)
    git(folder, "sparse-checkout", "set", "--cone", "models")
    commit_logical(folder, "mine")
    (folder / "models/mine.yaml").write_text(LOGICAL.replace("caption", "chat"), encoding="utf-8")
    shown = run(folder, "diff").out
    assert "mine" in shown
    assert NAME not in shown
    assert "models/mine.yaml has uncommitted changes" in run(folder, "reconcile", "--dry-run").out


@pytest.mark.parametrize("autocrlf", ["true", "input", "false"])
def test_g2_line_ends_that_git_converts(installed: World, autocrlf: str) -> None:
    installed.write("models/lines.yaml", LOGICAL)
    folder = clone(installed, "--config", f"core.autocrlf={autocrlf}")
    assert (b"\r\n" in (folder / "models/lines.yaml").read_bytes()) == (autocrlf == "true")
    works(folder)


@pytest.mark.parametrize(
    "rule", ["* text eol=crlf", "*.json text eol=crlf", "*.yaml eol=crlf", "* ident", "* text=auto"]
)
def test_g2_attributes_that_change_what_is_checked_out(installed: World, rule: str) -> None:
    installed.write(".gitattributes", f"{rule}\n")
    installed.write("models/lines.yaml", LOGICAL)
    works(clone(installed))


def test_g2_an_edit_in_a_file_with_converted_line_ends_is_one(installed: World) -> None:
    installed.write("models/lines.yaml", LOGICAL)
    folder = clone(installed, "--config", "core.autocrlf=true")
    file = folder / "models/lines.yaml"
    file.write_bytes(file.read_bytes() + b"display_name: Mine\r\n")
    assert "lines" in run(folder, "diff").out
    snapshot = folder / SNAPSHOT
    snapshot.write_bytes(snapshot.read_bytes().replace(b"safetensors", b"gguf"))
    assert run(folder, "snapshot", "check", code=1).out.startswith(f"{SNAPSHOT}:")


def give_away(folder: Path) -> None:
    """Let a repository belong to somebody else, as a checkout by another user or in a container's volume does."""
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    subprocess.run(["chown", "-R", "12345", str(folder)], check=True)


def test_g4_a_foreign_repository_is_refused_and_its_remedy_helps(
    installed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(installed)
    give_away(folder)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "their own gitconfig"))
    refused = run(folder, "reconcile", "--dry-run", code=1)
    assert "another user" in refused.err
    told = re.search(r"(git config --global --add safe\.directory .*)", refused.err)
    assert told is not None
    subprocess.run(shlex.split(told[1]), check=True)
    works(folder)


@pytest.mark.parametrize("value", ["{folder}", "*"])
@pytest.mark.parametrize("route", ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_COUNT", "HOME", "XDG"])
def test_g4_safe_directory_counts_wherever_git_reads_it(
    installed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: str, value: str
) -> None:
    folder = clone(installed)
    give_away(folder)
    run(folder, "reconcile", "--dry-run", code=1)
    safe = value.format(folder=folder)
    file = tmp_path / "somewhere else"
    if route == "GIT_CONFIG_COUNT":
        for name, said in (("COUNT", "1"), ("KEY_0", "safe.directory"), ("VALUE_0", safe)):
            monkeypatch.setenv(f"GIT_CONFIG_{name}", said)
    elif route == "GIT_CONFIG_SYSTEM":
        monkeypatch.delenv("GIT_CONFIG_NOSYSTEM")
        monkeypatch.setenv(route, str(file))
    elif route == "GIT_CONFIG_GLOBAL":
        monkeypatch.setenv(route, str(file))
    else:
        monkeypatch.delenv("GIT_CONFIG_GLOBAL")
        file = Path.home() / (".gitconfig" if route == "HOME" else ".config/git/config")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'[safe]\n\tdirectory = "{safe}"\n', encoding="utf-8")
    run(folder, "reconcile", "--dry-run")
    run(folder, "snapshot", "check")


def test_g4_a_list_that_is_emptied_again_and_another_folder_do_not_count(
    installed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(installed)
    give_away(folder)
    file = tmp_path / "gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(file))
    for lines in (f"directory = {folder}\n\tdirectory =", f"directory = {folder}-other", f"directory = {tmp_path}"):
        file.write_text(f"[safe]\n\t{lines}\n", encoding="utf-8")
        run(folder, "reconcile", "--dry-run", code=1)
    # What the clone says of itself counts for nothing.
    git(tmp_path, "config", "--file", str(folder / ".git/config"), "safe.directory", "*")
    run(folder, "reconcile", "--dry-run", code=1)


def pull_request(world: World, manifest: str = LOGICAL) -> None:
    """Make what GitHub checks out for a pull request that adds one manifest: a merge that no branch has."""
    git(world.git_root, "switch", "--quiet", "--create", "request")
    world.write("models/asked.yaml", manifest)
    git(world.git_root, "switch", "--quiet", "main")
    git(world.git_root, "switch", "--quiet", "--detach")
    git(world.git_root, "merge", "--quiet", "--no-ff", "--no-edit", "request")
    git(world.git_root, "update-ref", "refs/pull/1/merge", "HEAD")
    git(world.git_root, "switch", "--quiet", "main")


def checkout(world: World, depth: int | None = 1, ref: str = "refs/pull/1/merge") -> Path:
    """Check out as actions/checkout does it: an empty repository, one fetch, a detached HEAD."""
    folder = world.folder / "runner"
    git(world.folder, "init", "--quiet", str(folder))
    git(folder, "remote", "add", "origin", f"file://{world.git_root}")
    words = [f"--depth={depth}"] if depth else []
    git(folder, "fetch", "--quiet", "--no-tags", *words, "origin", f"+{ref}:refs/remotes/pull/1/merge")
    git(folder, "checkout", "--quiet", "--force", "--detach", "refs/remotes/pull/1/merge")
    return folder


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("depth", [1, 2, None])
def test_g1_a_right_pull_request_is_green_at_any_depth(
    installed: World, depth: int | None, *, later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At depth 2 the clone ends at two commits, and the newer one has what the older one wrote.
    newest = git(installed.git_root, "log", "-1", "--format=%ct").strip()
    monkeypatch.setenv("GIT_COMMITTER_DATE", f"{int(newest) + 60 * later} +0000")
    pull_request(installed)
    folder = checkout(installed, depth)
    result = run(folder, "snapshot", "check")
    assert result.out == ""
    assert ("git fetch --unshallow" in result.err) == (depth == 1)
    run(folder, "validate")
    run(folder, "reconcile", "--dry-run", "--all-hosts", "--format", "markdown")
    if depth is not None:
        follow("`git fetch --quiet --unshallow`", folder)
        assert "note:" not in run(folder, "snapshot", "check").err


@pytest.mark.parametrize("depth", [1, 2, None])
@pytest.mark.parametrize("change", [("safetensors", "gguf"), ("acme/tiny", "evil/tiny")])
def test_g1_an_edit_of_what_was_recorded_is_red_at_any_depth(
    installed: World, depth: int | None, change: tuple[str, str]
) -> None:
    text = (installed.root / SNAPSHOT).read_text(encoding="utf-8")
    assert change[0] in text
    installed.write(SNAPSHOT, text.replace(*change))
    pull_request(installed)
    result = run(checkout(installed, depth), "snapshot", "check", code=1)
    assert result.out.startswith(f"{SNAPSHOT}:2:1: ")
    assert "snapshot rebuild" in result.out


def test_g1_a_wrong_manifest_is_red_with_its_line(installed: World) -> None:
    pull_request(installed, LOGICAL.replace("vllm", "vlm"))
    folder = checkout(installed)
    assert run(folder, "validate", code=1).out.split(": ")[0].endswith("models/asked.yaml:2:10")


def test_g1_an_edit_of_what_people_declare_is_red_where_history_is_there(installed: World) -> None:
    installed.declare(display_name="Right")
    installed.reconcile()
    text = (installed.root / SNAPSHOT).read_text(encoding="utf-8")
    installed.write(SNAPSHOT, text.replace("Right", "Wrong"))
    pull_request(installed)
    assert run(checkout(installed, None), "snapshot", "check", code=1).out.startswith(f"{SNAPSHOT}:2:1: ")


@pytest.fixture
def apart(world: World) -> World:
    """A registry whose entries are on branches of their own; one model is installed, as the branch says."""
    world.serve()
    world.configure(commit={"branch": "state/{host}"})
    world.declare()
    world.reconcile()
    return world


def actions(folder: Path, *words: str) -> dict[str, str]:
    listed = run(folder, "reconcile", "--dry-run", "--host", HOST, "--json", *words).json["changes"]
    assert isinstance(listed, list)
    return {change["name"]: change["action"] for change in listed}


@pytest.mark.parametrize("options", [("--depth", "1"), ("--single-branch",), ("--depth", "1", "--no-single-branch")])
def test_g10_a_clone_without_the_branch_of_the_entries_says_so(apart: World, options: tuple[str, ...]) -> None:
    assert actions(apart.root) == {}
    folder = clone(apart, *options)
    if "--no-single-branch" in options:
        assert actions(folder) == {}
        return
    result = run(folder, "reconcile", "--dry-run", "--all-hosts")
    assert "install" not in result.out
    assert f"state/{HOST}, which is not in this clone" in result.out
    told = re.search(r"`(git fetch [^`]+)`", result.out)
    assert told is not None
    follow(told[0], folder)
    after = run(folder, "reconcile", "--dry-run", "--host", HOST)
    assert "not in this clone" not in after.out
    assert actions(folder) == {}
    shallow = git(folder, "rev-parse", "--is-shallow-repository").strip() == "true"
    assert shallow == ("--depth" in options)


def test_g10_a_request_is_planned_without_what_is_not_known(apart: World) -> None:
    git(apart.git_root, "switch", "--quiet", "--create", "request")
    apart.write("models/asked.yaml", LOGICAL)
    git(apart.git_root, "switch", "--quiet", "main")
    folder = clone(apart, "--single-branch", "--branch", "request")
    words = ("--dry-run", "--all-hosts", "--format", "markdown", "--base", "HEAD^")
    shown = run(folder, "reconcile", *words).out
    assert "pending" not in shown
    assert NAME not in shown.replace(f"{NAME}.yaml", "")


def test_g10_a_host_that_was_never_there_is_no_lack_of_the_clone(apart: World) -> None:
    folder = clone(apart)
    result = run(folder, "reconcile", "--dry-run", "--host", "elsewhere", "--json").json
    assert [change["reason"] for change in result["changes"]] == ["missing"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("base", ["HEAD^1", "0123456789012345678901234567890123456789"])
def test_g1_a_base_that_a_shallow_clone_lacks_is_said(installed: World, base: str) -> None:
    pull_request(installed)
    folder = checkout(installed)
    words = ("reconcile", "--dry-run", "--all-hosts", "--format", "markdown", "--base", base)
    shown = run(folder, *words).out
    assert "is not in this shallow clone" in shown
    follow("`git fetch --quiet --unshallow`", folder)
    assert "shallow" not in run(folder, *words, code=int(base != "HEAD^1")).out


def test_g1_rules_that_labels_protect_are_not_passed_over_in_a_shallow_clone(installed: World) -> None:
    installed.configure(policies={"change_requires": ["policy-change"]})
    pull_request(installed)
    words = ("reconcile", "--dry-run", "--all-hosts", "--format", "markdown", "--base", "HEAD^1")
    refused = run(checkout(installed), *words, code=1)
    assert "git fetch --unshallow" in refused.err


def test_g3_a_linked_work_tree(installed: World) -> None:
    folder = installed.folder / "linked"
    git(installed.git_root, "worktree", "add", "--quiet", "-b", "mine", str(folder))
    works(folder)


def test_g3_a_work_tree_whose_git_folder_is_elsewhere(installed: World) -> None:
    works(clone(installed, f"--separate-git-dir={installed.folder / 'somewhere else.git'}"))


def test_g3_objects_that_another_clone_has(installed: World) -> None:
    works(clone(installed, "--reference", str(installed.git_root)))


def test_g12_attributes_that_ask_for_filters(installed: World) -> None:
    installed.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n*.md filter=none\n")
    works(clone(installed))


@pytest.mark.parametrize("filtered", ["blob:none", "tree:0", "blob:limit=100"])
def test_g3_a_partial_clone_is_refused_until_its_remedy_is_followed(installed: World, filtered: str) -> None:
    folder = clone(installed, f"--filter={filtered}")
    refused = run(folder, "status", code=1)
    assert "partial clone" in refused.err
    told = re.search(r"`(git config [^`]+)`", refused.err)
    assert told is not None
    follow(told[0], folder)
    works(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (("init", "--quiet", "--bare"), "worktree add"),
        (("init", "--quiet", "--object-format=sha256"), "--object-format=sha1"),
    ],
)
def test_g3_other_repositories_are_refused_with_the_way_out(tmp_path: Path, make: tuple[str, ...], said: str) -> None:
    folder = tmp_path / "other"
    git(tmp_path, *make, str(folder))
    (folder / "registry.yaml").write_text("schema_version: 1\n", encoding="utf-8")
    result = command("status", "--registry", folder)
    assert result.code == 1
    assert said in result.err


def rows() -> list[tuple[str, str]]:
    """Return the tests that each row of the table names, and the rows."""
    text = (Path(__file__).resolve().parents[2] / "docs/git.md").read_text(encoding="utf-8")
    table = text.partition("## Kinds of clones")[2].partition("\n## ")[0]
    return [(name, line) for line in table.splitlines() for name in re.findall(r"`(test_\w+)`", line)]


def test_every_row_of_the_table_of_clones_is_a_test_and_the_other_way_round() -> None:
    named = {name for name, _ in rows()}
    here = {name for name in globals() if name.startswith("test_g")}
    assert named == here
    table = (Path(__file__).resolve().parents[2] / "docs/git.md").read_text(encoding="utf-8")
    for line in table.partition("## Kinds of clones")[2].splitlines():
        assert not line.startswith("| ") or line.startswith("| clone |") or "`test_" in line, line
