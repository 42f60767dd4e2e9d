"""Remotes that were rewound, deleted, renamed or hang, and commits that are not the controller's to rebuild."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from imageworks.git import program as git_program
from support.git import assert_sound, git
from support.git_server import GitServer
from support.network import listening
from support.reconcile import NAME, World, command
from support.registry import PROGRAM, wait_for
from support.team import manifest, push_all, write_and_push


def test_a_remote_that_was_rewound_is_neither_followed_nor_put_back(
    world: World, server: GitServer, colleague: Path
) -> None:
    write_and_push(colleague, "docs/secret.md", "a password, by mistake")
    world.reconcile("--pull")
    before = world.head()
    git(colleague, "reset", "--quiet", "--hard", "HEAD^")
    git(colleague, "push", "--quiet", "--force")
    rewound = server.tip()
    for words in (("--pull",), ("--pull", "--push")):
        refused = world.reconcile(*words, code=1, valid=False)
        assert "was rewound or rewritten" in refused.err
        assert "git fetch origin" in refused.err
    world.serve()
    world.declare()
    assert "was rewound or rewritten" in world.reconcile("--push", code=1).err
    assert server.tip() == rewound
    assert git(world.git_root, "merge-base", "--is-ancestor", before, "HEAD") == ""
    assert world.entries() == [NAME]
    git(world.git_root, "fetch", "--quiet", "origin")  # a person looked, and wants it back
    world.reconcile("--push")
    assert server.tip() == world.head()


def test_a_remote_that_was_rewritten_is_not_joined(world: World, server: GitServer, colleague: Path) -> None:
    world.serve()
    world.declare()
    git(world.git_root, "push", "--quiet")
    world.reconcile()
    git(colleague, "pull", "--quiet")
    git(colleague, "commit", "--quiet", "--amend", "--message", "Rewritten")
    git(colleague, "push", "--quiet", "--force")
    before = world.head()
    assert "was rewound or rewritten" in world.reconcile("--pull", code=1).err
    assert world.head() == before
    assert server.subjects()[0] == "Rewritten"


def test_a_branch_that_was_deleted_there_is_not_made_again(world: World, server: GitServer) -> None:
    git(server.folder, "branch", "other", "main")
    git(server.folder, "symbolic-ref", "HEAD", "refs/heads/other")
    git(server.folder, "branch", "-D", "main")
    assert "is gone from the remote" in world.reconcile("--pull", code=1, valid=False).err
    world.serve()
    world.declare()
    refused = world.reconcile("--push", code=1)
    assert "git push -u origin main" in refused.err
    assert git(server.folder, "branch", "--list", "main") == ""
    git(world.git_root, "push", "--quiet", "-u", "origin", "main")
    world.reconcile("--pull", "--push")
    assert server.tip() == world.head()


def test_an_upstream_of_another_name_is_the_one_that_counts(world: World, server: GitServer, colleague: Path) -> None:
    git(server.folder, "branch", "trunk-ü/1", "main")
    git(world.git_root, "fetch", "--quiet")
    git(world.git_root, "branch", "--quiet", "--set-upstream-to", "origin/trunk-ü/1")
    git(colleague, "fetch", "--quiet")
    git(colleague, "switch", "--quiet", "trunk-ü/1")
    main = server.tip()
    world.serve()
    write_and_push(colleague, f"models/{NAME}.yaml", manifest())
    done = world.reconcile("--pull", "--push")
    assert "pulled origin/trunk-ü/1" in done.out
    assert server.tip("trunk-ü/1") == world.head()
    assert server.tip() == main


@pytest.mark.parametrize("deed", ["delete", "rename"])
def test_an_entry_of_a_model_that_others_delete_or_rename_stays_ours(
    world: World, server: GitServer, colleague: Path, deed: str
) -> None:
    world.serve()
    world.declare()
    git(world.git_root, "push", "--quiet")
    world.reconcile()
    git(colleague, "pull", "--quiet")
    file = colleague / f"models/{NAME}.yaml"
    if deed == "rename":
        (colleague / "models/renamed.yaml").write_text(manifest(previously=[NAME]), encoding="utf-8")
    file.unlink()
    push_all(colleague, deed)
    weights = {path: path.read_bytes() for path in world.weights.rglob("*.safetensors")}
    world.reconcile("--pull", "--push")
    assert server.tip() == world.head()
    assert {path: path.read_bytes() for path in world.weights.rglob("*.safetensors")} == weights
    assert world.entries() == (["renamed"] if deed == "rename" else [NAME])
    for commit in git(world.git_root, "rev-list", "HEAD").split()[:3]:
        checkout = world.folder / f"at {commit[:8]}"
        git(world.git_root, "worktree", "add", "--quiet", "--detach", str(checkout), commit)
        assert command("validate", "--registry", checkout).code == 0
        assert command("snapshot", "check", "--registry", checkout).code == 0


def test_a_commit_of_ours_that_a_person_amended_is_theirs(world: World, server: GitServer, colleague: Path) -> None:
    """In a repository that holds more than the registry, what they added may lie outside of it."""
    git(world.git_root, "rm", "--quiet", "-r", "--cached", ".")
    inner = world.git_root / "team registry ü"
    inner.mkdir()
    for name in ("registry.yaml", ".gitignore"):
        (world.git_root / name).rename(inner / name)
    world.root = inner
    world.commit("Move the registry into a folder")
    git(world.git_root, "push", "--quiet")
    world.serve()
    world.declare()
    git(world.git_root, "push", "--quiet")
    world.reconcile()
    (world.git_root / "code.py").write_text("print('mine')\n", encoding="utf-8")
    git(world.git_root, "add", "code.py")
    git(world.git_root, "commit", "--quiet", "--amend", "--no-edit")
    before = world.head()
    write_and_push(colleague, "docs/note.md", "theirs")
    refused = world.reconcile("--pull", code=1)
    assert "not the controller's to rebuild" in refused.err
    assert world.head() == before
    git(world.git_root, "pull", "--quiet", "--rebase")
    world.reconcile("--pull", "--push")
    assert server.tip() == world.head()
    assert (world.git_root / "code.py").is_file()


def test_a_registry_in_a_folder_pulls_what_changes_beside_it(world: World, server: GitServer, colleague: Path) -> None:
    git(world.git_root, "rm", "--quiet", "-r", "--cached", ".")
    inner = world.git_root / "team registry ü"
    inner.mkdir()
    for name in ("registry.yaml", ".gitignore"):
        (world.git_root / name).rename(inner / name)
    world.root = inner
    world.commit("Move the registry into a folder")
    world.serve()
    world.declare()
    git(world.git_root, "push", "--quiet")
    world.reconcile()
    write_and_push(colleague, "src/code.py", "theirs")
    world.reconcile("--pull", "--push")
    assert server.tip() == world.head()
    assert (world.git_root / "src/code.py").read_text() == "theirs"
    assert world.entries() == [NAME]
    assert_sound(world.git_root)


@contextmanager
def hanging() -> Iterator[str]:
    """Serve a remote that takes connections and never answers."""
    with ExitStack() as taken, listening(taken.enter_context) as port:
        yield f"http://127.0.0.1:{port}/hangs.git"


@pytest.mark.usefixtures("server")
def test_a_remote_that_hangs_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(git_program.SETTINGS, "http.lowSpeedTime", "1")
    with hanging() as address:
        git(world.git_root, "remote", "set-url", "origin", address)
        assert "cannot be fetched" in world.reconcile("--pull", code=1, valid=False).err


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")
@pytest.mark.usefixtures("server")
def test_git_that_does_not_end_is_ended_with_its_helpers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    program = git_program.GitProgram(world.git_root, {"PATH": "/usr/bin:/bin"})
    with hanging() as address:
        git(world.git_root, "remote", "set-url", "origin", address)
        monkeypatch.setattr(git_program, "END_SECONDS", 0.5)
        with pytest.raises(git_program.GitProgramError, match="no end within"):
            program.run("fetch", "origin", timeout=1.0)
        wait_for(lambda: address not in running())  # a process that was killed is there for a moment


def test_a_manifest_of_ours_that_clashes_with_theirs_is_for_a_person(
    world: World, server: GitServer, colleague: Path
) -> None:
    repo = world.serve()
    done = command("download", repo.name, "--registry", world.root, "-y", "--location", "linux_wsl")
    assert done.code == 0, done
    before = world.head()
    write_and_push(colleague, "models/theirs.yaml", manifest(location="linux_wsl"))
    refused = world.reconcile("--pull", code=1, valid=False)
    assert "does not go with" in refused.err
    assert world.head() == before
    assert server.subjects()[0] == "Write models/theirs.yaml"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")
def test_an_interrupted_pull_leaves_no_git_behind(world: World, server: GitServer) -> None:
    with hanging() as address:
        git(world.git_root, "remote", "set-url", "origin", address)
        words = [*PROGRAM, "reconcile", "--yes", "--pull", "--registry", str(world.root), "--no-progress"]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_for(lambda: address in running())
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=30)
        assert child.returncode == 130, out
        assert "Traceback" not in out
        wait_for(lambda: address not in running())
    git(world.git_root, "remote", "set-url", "origin", server.address)
    world.reconcile("--pull")


def running() -> str:
    """Return the command lines of the git programs that run."""
    found = ""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            found += words + "\n" if "git" in words.partition(" ")[0] else ""
    return found
