"""Pulling and pushing with a real git server, by the real git program."""

import json
import logging
import os
from pathlib import Path

import pytest

from imageworks.git.program import GitProgram, GitResult, redact, token_for
from imageworks.git.repository import RegistryRepository
from imageworks.host.settings import load_host_settings
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from support.git import assert_sound, git, user_work
from support.git_server import GitServer, serve_git
from support.meanwhile import meanwhile
from support.reconcile import HOST, NAME, World, command
from support.team import manifest, write_and_push

SECOND = "acme/second-1b"


def test_what_was_merged_elsewhere_is_pulled_and_what_it_led_to_is_pushed(
    world: World, server: GitServer, colleague: Path
) -> None:
    world.serve()
    world.write("notes.txt", "mine", commit=False)
    theirs = write_and_push(colleague, f"models/{NAME}.yaml", manifest())
    done = world.reconcile("--pull", "--push")
    assert "pulled origin/main" in done.out
    assert "pushed" in done.err
    assert server.tip() == world.head()
    assert git(world.git_root, "rev-parse", "HEAD^").strip() == theirs
    assert (world.root / "notes.txt").read_text() == "mine"
    assert git(world.git_root, "status", "--porcelain").split() == ["??", "notes.txt"]
    assert_sound(world.git_root)


def test_commits_of_ours_are_put_on_top_of_theirs_with_a_snapshot_that_fits(
    world: World, server: GitServer, colleague: Path
) -> None:
    world.serve()
    world.declare()
    git(world.git_root, "push", "--quiet")
    world.reconcile()
    ours = git(world.git_root, "log", "-1", "--format=%an %ad %s").strip()
    write_and_push(colleague, f"models/{NAME}.yaml", manifest(roles=["caption"]))
    world.reconcile("--pull", "--push")
    assert server.tip() == world.head()
    log = git(world.git_root, "log", "--format=%an %ad %s").splitlines()
    assert ours in log
    rebuilt = git(world.git_root, "log", "--format=%H", "--grep=installed").split()[0]
    snapshot = json.loads(git(world.git_root, "show", f"{rebuilt}:snapshot/{HOST}.json"))
    assert snapshot[0]["roles"] == ["caption"]
    assert git(world.git_root, "rev-list", "--min-parents=2", "HEAD") == ""
    assert_sound(world.git_root)


def test_a_push_that_others_came_before_is_tried_again_on_top_of_theirs(
    world: World, server: GitServer, colleague: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.serve()
    world.declare()
    git(world.git_root, "push", "--quiet")
    meanwhile(monkeypatch, lambda: write_and_push(colleague, "docs/note.md", "theirs"))
    world.reconcile("--push")
    assert server.tip() == world.head()
    assert server.subjects()[0].startswith("Reconcile")
    assert server.subjects()[1] == "Write docs/note.md"
    assert (world.root / "docs/note.md").read_text() == "theirs"


def test_two_hosts_that_push_at_once_both_end_up_in_history(
    world: World, server: GitServer, colleague: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.serve()
    world.declare()
    git(world.git_root, "push", "--quiet")

    def other_host() -> None:
        git(colleague, "pull", "--quiet")
        with pytest.MonkeyPatch.context() as other:
            other.setenv("IMAGEWORKS_HOST", "elsewhere")
            other.setenv("IMAGEWORKS_STATE_DIR", str(world.folder / "other state"))
            other.setenv("IMAGEWORKS_MODEL_ROOT", str(world.folder / "other weights"))
            assert command("reconcile", "--yes", "--registry", colleague, "--push", "--no-progress").code == 0

    meanwhile(monkeypatch, other_host)
    world.reconcile("--push")
    assert server.tip() == world.head()
    assert sorted(subject.split(":")[0] for subject in server.subjects()[:2]) == [
        "Reconcile elsewhere",
        f"Reconcile {HOST}",
    ]
    assert world.entries() == world.entries("elsewhere") == [NAME]


def test_a_persons_commits_are_never_rebuilt(world: World, server: GitServer, colleague: Path) -> None:
    world.write("models/mine.yaml", manifest(SECOND))
    before = world.head()
    write_and_push(colleague, "docs/note.md", "theirs")
    refused = world.reconcile("--pull", code=1, valid=False)
    assert "Write models/mine.yaml" in refused.err
    assert "git pull --rebase origin" in refused.err
    assert world.head() == before
    assert server.subjects()[0] == "Write docs/note.md"


def test_uncommitted_work_in_the_way_stops_the_pull(world: World, server: GitServer, colleague: Path) -> None:
    assert server.tip()
    world.declare(commit=False)
    mine = user_work(world.git_root)
    before = world.head()
    write_and_push(colleague, f"models/{NAME}.yaml", manifest(roles=["theirs"]))
    refused = world.reconcile("--pull", code=1, valid=False)
    assert f"models/{NAME}.yaml" in refused.err
    assert "Move it away, or commit it" in refused.err
    assert world.head() == before
    assert user_work(world.git_root) == mine


def test_a_manifest_changed_on_both_sides_is_for_a_person_to_settle(
    world: World, server: GitServer, colleague: Path
) -> None:
    assert server.tip()
    repo = world.serve()
    assert command("download", repo.name, "--registry", world.root, "-y", "--location", "linux_wsl").code == 0
    file = next((world.root / "models").glob("*.yaml")).name
    write_and_push(colleague, f"models/{file}", manifest(roles=["theirs"]))
    before = world.head()
    refused = world.reconcile("--pull", code=1, valid=False)
    assert f"models/{file} was changed on both sides" in refused.err
    assert world.head() == before


def test_one_name_for_two_hosts_is_found_out(world: World, server: GitServer, colleague: Path) -> None:
    world.serve()
    world.declare()
    git(world.git_root, "push", "--quiet")
    world.reconcile()
    write_and_push(colleague, f"discovered/{HOST}/other.json", "{}")
    refused = world.reconcile("--pull", code=1, valid=False)
    assert f"another controller has written entries as {HOST}" in refused.err
    assert server.tip() != world.head()


def test_a_remote_that_does_not_answer_costs_the_push_and_nothing_else(world: World, server: GitServer) -> None:
    world.serve()
    world.declare()
    git(world.git_root, "remote", "set-url", "origin", "http://user:s3cret@127.0.0.1:9/none.git")
    failed = world.reconcile("--push", code=1)
    assert "cannot be pushed to" in failed.err
    assert "s3cret" not in failed.err + failed.out
    assert world.entries() == [NAME]
    git(world.git_root, "remote", "set-url", "origin", server.address)
    again = world.reconcile("--push")
    assert "No changes" in again.out
    assert server.tip() == world.head()


def test_registry_yaml_may_ask_for_the_push_of_every_commit(world: World, server: GitServer) -> None:
    repo = world.serve()
    world.configure(commit={"push": True})
    assert command("download", repo.name, "--registry", world.root, "-y", "--location", "linux_wsl").code == 0
    assert server.tip() == world.head()
    name = world.entries()[0]
    world.delete(name)
    world.reconcile("--no-push")
    assert server.tip() != world.head()
    removed = command("remove", name, "--purge", "--force", "--registry", world.root)
    assert removed.code == 0, removed
    assert server.tip() == world.head()


def test_a_protected_branch_is_told_of_with_the_way_out(world: World, server: GitServer) -> None:
    hook = server.folder / "hooks/pre-receive"
    hook.write_text('#!/bin/sh\nwhile read old new ref; do test "$ref" = refs/heads/main && exit 1; done; exit 0\n')
    hook.chmod(0o755)
    world.serve()
    world.declare()
    refused = world.reconcile("--push", code=1)
    assert "does not take the push" in refused.err
    assert "state/{host}" in refused.err
    world.configure(commit={"branch": "state/{host}", "push": True})
    world.declare(roles=["caption"])
    world.reconcile(valid=False)
    assert server.tip(f"state/{HOST}") == git(world.git_root, "rev-parse", f"state/{HOST}").strip()


def test_a_token_opens_its_own_server_and_is_never_shown(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = "ghp_" + "abcdefghijklmnop"
    with serve_git(tmp_path / "private.git", token=token) as private:
        git(world.git_root, "remote", "add", "origin", private.address)
        refused = world.reconcile("--push", code=1)
        assert "IMAGEWORKS_GIT_TOKEN" in refused.err
        assert private.authorizations == [""]
        monkeypatch.setenv("IMAGEWORKS_GIT_TOKEN", token)
        world.serve()
        world.declare()
        done = world.reconcile("--push")
        assert private.tip() == world.head()
    assert token not in done.out + done.err + caplog.text
    logs = load_host_settings(registry=world.root).log_dir
    assert not any(token in file.read_text() for file in logs.rglob("*") if file.is_file())
    assert token not in (world.git_root / ".git/config").read_text()


@pytest.mark.parametrize(
    ("remote", "variables", "expected"),
    [
        ("https://github.com/a/b.git", {"GITHUB_TOKEN": "hub"}, "hub"),
        ("https://github.com/a/b.git", {"GITLAB_TOKEN": "lab"}, ""),
        ("https://gitlab.com/a/b.git", {"GITLAB_TOKEN": "lab"}, "lab"),
        ("https://example.org/a.git", {"GITHUB_TOKEN": "hub"}, ""),
        ("https://example.org/a.git", {"IMAGEWORKS_GIT_TOKEN": "own"}, "own"),
        ("http://example.org/a.git", {"IMAGEWORKS_GIT_TOKEN": "own"}, ""),
        ("http://127.0.0.1:8080/a.git", {"IMAGEWORKS_GIT_TOKEN": "own"}, "own"),
        ("git@github.com:a/b.git", {"GITHUB_TOKEN": "hub"}, ""),
        ("https://github.com.evil.example/a.git", {"GITHUB_TOKEN": "hub"}, ""),
    ],
)
def test_a_token_goes_to_no_other_server(remote: str, variables: dict[str, str], expected: str) -> None:
    assert token_for(remote, variables) == expected


def test_what_git_prints_is_shown_without_secrets() -> None:
    said = "fatal: unable to access 'https://ada:hunter2@example.org/x.git/': tok-123 was refused"
    assert redact(said, "tok-123") == "fatal: unable to access 'https://***@example.org/x.git/': *** was refused"


def test_a_hostile_clone_runs_no_hook_and_no_transport(
    world: World, server: GitServer, colleague: Path, tmp_path: Path
) -> None:
    assert server.tip()
    marker = tmp_path / "ran"
    for name in ("post-merge", "post-checkout", "pre-push", "reference-transaction", "post-index-change"):
        hook = world.git_root / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
        hook.chmod(0o755)
    write_and_push(colleague, f"models/{NAME}.yaml", manifest())
    world.serve()
    world.reconcile("--pull", "--push")
    assert not marker.exists()
    git(world.git_root, "remote", "set-url", "origin", f"ext::sh -c touch% {marker}")
    refused = world.reconcile("--pull", code=1)
    assert "cannot be fetched" in refused.err
    assert not marker.exists()


def test_a_pull_that_was_killed_half_way_is_finished_by_the_next(
    world: World, server: GitServer, colleague: Path
) -> None:
    world.serve()
    world.declare()
    git(world.git_root, "push", "--quiet")
    world.reconcile()
    write_and_push(colleague, "docs/note.md", "theirs")
    head = world.head()
    # What a kill between the files and the branch leaves: the work tree and index of the new commit.
    git(world.git_root, "fetch", "--quiet")
    real = GitProgram.run

    def dies(self: GitProgram, *arguments: str, **options: object) -> GitResult:
        if arguments[0] == "update-ref":
            raise KeyboardInterrupt
        return real(self, *arguments, **options)  # type: ignore[arg-type]

    host = load_host_settings(registry=world.root)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(GitProgram, "run", dies)
        with pytest.raises(KeyboardInterrupt), Run.open(world.root, host, RunOptions(pull=True)):
            pass
    assert world.head() == head
    world.reconcile("--pull", "--push")
    assert server.tip() == world.head()
    assert (world.root / "docs/note.md").read_text() == "theirs"
    assert git(world.git_root, "status", "--porcelain") == ""


def test_a_dry_run_does_not_pull(world: World, server: GitServer) -> None:
    assert server.tip()
    assert world.reconcile("--dry-run", "--pull", code=64, valid=False).err.startswith("error: a run that writes")


def test_without_a_remote_a_push_says_so(world: World) -> None:
    world.serve()
    world.declare()
    refused = world.reconcile("--push", code=1)
    assert "no remote" in refused.err
    assert world.entries() == [NAME]


def test_the_environment_of_a_hook_does_not_lead_git_elsewhere(world: World, server: GitServer) -> None:
    program = RegistryRepository.open(world.root).program({**os.environ, "GIT_DIR": str(server.folder)})
    assert program.run("rev-parse", "--show-toplevel").out.strip() == str(world.git_root)
