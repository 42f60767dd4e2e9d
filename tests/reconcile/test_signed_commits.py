"""The controller's own commits: signed with the user's key and worded as registry.yaml asks."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support.git import assert_sound, git
from support.reconcile import HOST, NAME, World, command
from support.signing import PASSPHRASE, REQUIRED, Signers, gpg_home, gpg_key, signers
from support.warm import run_program

SIGNED = {"commit": {"sign": True}}


@pytest.fixture
def ada(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signers:
    """Let Ada's key sign what the controller commits."""
    people = signers(world, tmp_path, monkeypatch)
    world.serve()
    world.configure(**SIGNED, **REQUIRED)
    people.amend()
    return people


def signatures(world: World, *words: str) -> list[str]:
    """Return git's verdict on the newest commits, the newest first."""
    return git(world.git_root, "log", "--format=%G?", *words).split()


def unchanged(world: World, *words: str | Path) -> str:
    """Return why a command is refused that must fetch and commit nothing."""
    before = world.head(), world.served.files, sorted(world.weights.rglob("*"))
    done = command(*words, "--registry", world.root)
    assert done.code == 1, done
    assert (world.head(), world.served.files, sorted(world.weights.rglob("*"))) == before
    assert git(world.git_root, "status", "--porcelain") == ""
    assert "Traceback" not in done.err
    return done.err


@pytest.mark.usefixtures("ada")
def test_g15_every_command_commits_under_require_signed(world: World) -> None:
    download = ("download", "acme/tiny-1b", "-y", "--location", "linux_wsl", "--registry", world.root)
    assert command(*download).code == 0
    assert command("pin", NAME, "--registry", world.root).code == 0
    world.reconcile()
    assert command("remove", NAME, "-y", "--registry", world.root).code == 0
    assert command("restore", "--from", "HEAD~1", "-y", "--registry", world.root).code == 0
    assert "No changes" in world.reconcile().out
    assert len(signatures(world)) >= 5
    assert set(signatures(world, "HEAD~4..")) == {"G"}
    world.check()
    assert_sound(world.git_root)
    assert git(world.git_root, "reflog", "-1", "--format=%gs").startswith("commit: ")


def test_g15_entries_on_a_branch_of_their_own_are_signed(world: World, ada: Signers) -> None:
    world.configure(commit={"sign": True, "branch": "state/{host}"}, **REQUIRED)
    ada.amend()
    download = ("download", "acme/tiny-1b", "-y", "--location", "linux_wsl", "--registry", world.root)
    assert command(*download).code == 0
    assert signatures(world, "-1") == ["G"]
    assert signatures(world, "-1", f"state/{HOST}") == ["G"]
    assert command("update", "--pr-branch", "proposed", "--registry", world.root).code == 0
    assert "No changes" in world.reconcile(valid=False).out


def test_g15_a_proposal_is_signed(world: World, ada: Signers) -> None:
    world.declare(commit=False)
    ada.commit("Declare")
    world.reconcile()
    assert command("pin", NAME, "--pr-branch", "pins", "--registry", world.root).code == 0
    assert signatures(world, "-1", "pins") == ["G"]


def test_g15_the_first_commit_of_a_branch_and_a_second_are_signed(world: World, ada: Signers) -> None:
    world.declare(commit=False)
    ada.commit("Declare")
    world.reconcile()
    ada.allow("bob")
    world.declare(roles=["caption"], commit=False)
    ada.commit("Change", by="bob")
    world.reconcile()
    assert set(signatures(world, "-4")) == {"G"}


def test_g15_gpg_keys_sign_too(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    with gpg_home(monkeypatch):
        gpg_key()
        git(tmp_path, "config", "--global", "user.signingkey", "ada@example.org")
        world.serve()
        world.configure(**SIGNED, **REQUIRED)
        git(world.git_root, "commit", "--quiet", "--amend", "--no-edit", "-S")
        download = ("download", "acme/tiny-1b", "-y", "--location", "linux_wsl", "--registry", world.root)
        assert command(*download).code == 0
        assert signatures(world, "-1") == ["G"]
        assert "No changes" in world.reconcile().out


def test_g15_a_locked_gpg_key_is_told_before_anything_is_fetched(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    with gpg_home(monkeypatch):
        gpg_key(locked=True)
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)
        git(tmp_path, "config", "--global", "user.signingkey", "ada@example.org")
        world.serve()
        world.configure(**SIGNED)
        world.declare()
        assert "git cannot sign commits" in unchanged(world, "reconcile", "--yes", "--no-progress")


@pytest.mark.parametrize(
    "case", ["no key", "missing key", "passphrase", "no program", "no agent", "not allowed", "expired", "x509"]
)
def test_g15_what_cannot_sign_is_told_before_anything_is_fetched(
    world: World, ada: Signers, tmp_path: Path, case: str
) -> None:
    world.declare(commit=False)
    ada.commit("Declare")
    public = Path(f"{ada.key('agent')}.pub").read_text(encoding="utf-8")
    settings = {
        "no key": ("user.signingkey", ""),
        "missing key": ("user.signingkey", str(tmp_path / "gone")),
        "passphrase": ("user.signingkey", str(ada.key("locked", locked=True))),
        "no program": ("gpg.ssh.program", str(tmp_path / "no program")),
        "no agent": ("user.signingkey", f"key::{public.strip()}"),
        "not allowed": ("user.signingkey", str(ada.key("mallory"))),
        "expired": ("user.signingkey", str(ada.key("old"))),
        "x509": ("gpg.format", "x509"),
    }
    ada.allow("old", 'valid-before="20250101"')
    git(tmp_path, "config", "--global", *settings[case])
    told = unchanged(world, "reconcile", "--yes", "--no-progress")
    assert "would not count here" in told or "git cannot" in told
    download = ("download", "acme/tiny-1b", "-y", "--location", "second")
    assert told.split()[:8] == unchanged(world, *download).split()[:8]
    assert unchanged(world, "pin", NAME)
    if case != "no program":  # which verifies as well
        assert command("reconcile", "--dry-run", "--registry", world.root).code == 0


def test_g15_the_remedy_helps(world: World, ada: Signers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is not installed")
    world.declare(commit=False)
    ada.commit("Declare")
    locked = ada.key("locked", locked=True)
    ada.allow("locked")
    git(tmp_path, "config", "--global", "user.signingkey", f"{locked}.pub")
    assert "ssh-add" in unchanged(world, "reconcile", "--yes", "--no-progress")
    asked = tmp_path / "ask"
    asked.write_text(f"#!/bin/sh\necho {PASSPHRASE}\n", encoding="utf-8")
    asked.chmod(0o755)
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "a")], stdout=subprocess.PIPE) as agent:
        try:
            assert agent.stdout is not None
            agent.stdout.readline()  # it listens once it has said where
            monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "a"))
            asking = {**os.environ, "SSH_ASKPASS": str(asked), "SSH_ASKPASS_REQUIRE": "force"}
            subprocess.run(["ssh-add", "-q", str(locked)], env=asking, check=True)
            world.reconcile()
        finally:
            agent.terminate()
    assert signatures(world, "-1") == ["G"]


def test_g15_our_signed_commits_go_on_top_of_what_others_pushed(world: World, ada: Signers) -> None:
    ada.allow("bob")
    remote = world.folder / "remote.git"
    git(world.folder, "init", "--quiet", "--bare", "--initial-branch", "main", str(remote))
    git(world.git_root, "remote", "add", "origin", str(remote))
    git(world.git_root, "push", "--quiet", "origin", "HEAD:main")
    other = world.folder / "other"
    git(world.folder, "clone", "--quiet", str(remote), str(other))
    download = ("download", "acme/tiny-1b", "-y", "--location", "linux_wsl", "--registry", world.root)
    assert command(*download).code == 0
    world.reconcile()  # what we declared ourselves has been accepted now
    (other / "models").mkdir(exist_ok=True)
    (other / "models/bobs.yaml").write_text('{"schema_version": 1, "backend": "unassigned"}', encoding="utf-8")
    git(other, "add", "--all")
    git(other, "-c", f"user.signingkey={ada.key('bob')}", "commit", "--quiet", "-S", "--message", "Bob's")
    git(other, "push", "--quiet", "origin", "HEAD:main")
    world.reconcile("--pull", "--push")
    assert set(signatures(world, "-3")) == {"G"}
    assert git(remote, "rev-parse", "main").strip() == world.head()
    assert "No changes" in world.reconcile().out


def test_g15_hosts_and_schemas_are_changed_by_signed_commits(world: World, ada: Signers) -> None:
    suffix = {"sign": True, "message_suffix": "[skip ci]", "trailers": {"Kind": "automatic"}}
    world.configure(commit=suffix, **REQUIRED)
    ada.amend()
    world.declare(commit=False)
    ada.commit("Declare")
    world.reconcile()
    for words in (("hosts", "rename", "elsewhere", "somewhere"), ("init", "--refresh", str(world.root))):
        before = world.head()
        registry = ("--registry", world.root) if words[0] == "hosts" else ()
        done = command(*words, *registry)
        assert done.code == 0, done
        assert world.head() != before
        assert signatures(world, "-1") == ["G"]
        assert git(world.git_root, "log", "-1", "--format=%s").strip().endswith("[skip ci]")
        assert "Kind: automatic" in world.message()
    assert "No changes" in world.reconcile().out


def test_g15_without_sign_nothing_is_signed_whatever_git_is_set_to(world: World, ada: Signers, tmp_path: Path) -> None:
    git(tmp_path, "config", "--global", "commit.gpgsign", "true")
    world.configure(**REQUIRED)
    ada.amend()
    world.declare(commit=False)
    ada.commit("Declare")
    world.reconcile()
    assert signatures(world, "-1") == ["N"]
    assert "commit: {sign: true}" in unchanged(world, "pin", NAME)


@pytest.mark.parametrize("point", ["git.objects-written", "git.ref-moved", "git.index-updated"])
def test_g15_a_kill_beside_a_signed_commit_is_survived(world: World, ada: Signers, point: str) -> None:
    world.declare(commit=False)
    ada.commit("Declare")
    words = ("reconcile", "--yes", "--registry", str(world.root), "-q")
    killed = {**os.environ, "IMAGEWORKS_FAILPOINT": point}
    assert run_program(*words, folder=world.folder, environment=killed).returncode == -signal.SIGKILL
    world.reconcile()
    assert signatures(world, "-1") == ["G"]
    assert world.entries() == [NAME]
    assert "No changes" in world.reconcile().out
    assert_sound(world.git_root)


def test_g15_a_branch_that_moves_while_a_commit_is_signed_loses_nothing(
    world: World, ada: Signers, tmp_path: Path
) -> None:
    world.declare(commit=False)
    ada.commit("Declare")
    theirs = git(world.git_root, "commit-tree", "-p", "HEAD", "-m", "Theirs", "HEAD^{tree}").strip()
    slow = tmp_path / "slow program"
    slow.write_text(
        f"""#!/bin/sh
case "$*" in *"-Y sign"*)
    if [ -e '{tmp_path}/tried' ] && [ ! -e '{tmp_path}/moved' ]; then
        touch '{tmp_path}/moved'
        git -C '{world.git_root}' update-ref refs/heads/main {theirs} || exit 1
    fi
    touch '{tmp_path}/tried';;
esac
exec ssh-keygen "$@"
""",
        encoding="utf-8",
    )
    slow.chmod(0o755)
    git(tmp_path, "config", "--global", "gpg.ssh.program", str(slow))
    world.reconcile(valid=False)
    assert (tmp_path / "moved").exists()
    assert git(world.git_root, "rev-parse", "HEAD~1").strip() == theirs
    assert signatures(world, "-1") == ["G"]
    assert world.entries() == [NAME]


def test_g15_a_program_that_never_ends_is_ended(
    world: World, ada: Signers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.declare(commit=False)
    ada.commit("Declare")
    monkeypatch.setattr("imageworks.git.trust.signing.SIGN_SECONDS", 0.5)
    stuck = tmp_path / "stuck"
    stuck.write_text('#!/bin/sh\ncase "$*" in *"-Y sign"*) sleep 600;; esac\nexec ssh-keygen "$@"\n', encoding="utf-8")
    stuck.chmod(0o755)
    git(tmp_path, "config", "--global", "gpg.ssh.program", str(stuck))
    assert "git cannot sign commits" in unchanged(world, "reconcile", "--yes", "--no-progress")


@pytest.mark.parametrize("branch", [None, "state/{host}"])
def test_g15_trailers_and_a_suffix_are_on_every_commit(world: World, branch: str | None) -> None:
    world.serve()
    words = {"trailers": {"Reviewed-By": "platform@example.com", "Change-Kind": "automatic"}}
    world.configure(commit={"branch": branch, "message_suffix": "[skip ci]", **words})
    download = ("download", "acme/tiny-1b", "-y", "--location", "linux_wsl", "--registry", world.root)
    assert command(*download).code == 0
    for tip in {"HEAD", f"state/{HOST}" if branch else "HEAD"}:
        subject, *rest = git(world.git_root, "log", "-1", "--format=%B", tip).strip().split("\n")
        assert subject.endswith(" [skip ci]")
        assert "[skip ci]" not in "\n".join(rest)
        found = git(world.git_root, "log", "-1", "--format=%(trailers:only,unfold)", tip).strip().splitlines()
        assert found[:2] == ["Reviewed-By: platform@example.com", "Change-Kind: automatic"]
        assert f"Host: {HOST}" in found
    assert "No changes" in world.reconcile(valid=branch is None).out
    assert command("history", "--registry", world.root).code == 0


@pytest.mark.parametrize(
    "commit",
    [
        {"trailers": {"Note": "x\nHost: elsewhere"}},
        {"trailers": {"Note": "x\r\ny"}},
        {"trailers": {"Note": "x\n"}},
        {"trailers": {"Note": "x\u2028Host: elsewhere"}},
        {"trailers": {"Note": " "}},
        {"trailers": {"Note: x\nHost": "elsewhere"}},
        {"trailers": {"Host": "elsewhere"}},
        {"trailers": {"host": "elsewhere"}},
        {"trailers": {"reconciled-revision": "a" * 40}},
        {"trailers": {"Migrated-From": "x"}},
        {"trailers": {"Proposed-By": "imageworks-models"}},
        {"trailers": {"-x": "y"}},
        {"trailers": ["x"]},
        {"message_suffix": "x\n\nHost: elsewhere"},
        {"message_suffix": "x\n"},
        {"message_suffix": ""},
        {"message_suffix": "x" * 61},
        {"sign": "yes"},
    ],
)
def test_g15_what_would_forge_a_message_is_refused(world: World, commit: dict[str, object]) -> None:
    world.configure(commit=commit)
    refused = command("validate", "--registry", world.root)
    assert refused.code == 1
    assert "registry.yaml:1:" in refused.out
