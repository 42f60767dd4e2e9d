"""Only what an allowed key signed is reconciled, where a registry asks for that; real ssh and gpg signatures."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import NAME, World, command

REQUIRED = {"git": {"require_signed": True}}


@pytest.fixture
def signing(world: World, tmp_path: Path) -> World:
    """Set git up to sign with a fresh ssh key that is allowed."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    key = tmp_path / "key of ada"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", str(key)], check=True)
    allowed = tmp_path / "allowed signers"
    allowed.write_text(f"ada@example.org {Path(f'{key}.pub').read_text()}", encoding="utf-8")
    for name, value in {
        "gpg.format": "ssh",
        "user.signingkey": str(key),
        "gpg.ssh.allowedSignersFile": str(allowed),
    }.items():
        git(world.git_root, "config", name, value)
    world.serve()
    return world


def sign(world: World, *words: str) -> None:
    git(world.git_root, "commit", "--quiet", "--amend", "--no-edit", "-S", *words)


def test_a_signed_declaration_is_reconciled_and_stays_so_under_our_own_commits(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    signing.reconcile()
    assert signing.entries() == [NAME]
    assert "No changes" in signing.reconcile().out


def test_an_unsigned_change_stops_everything_until_someone_vouches_for_it(signing: World) -> None:
    signing.configure(**REQUIRED)
    sign(signing)
    signing.declare()
    refused = signing.reconcile(code=1)
    assert "not signed by an allowed key" in refused.err
    assert "git commit --allow-empty -S" in refused.err
    assert not (signing.root / "discovered").exists()
    git(signing.git_root, "commit", "--quiet", "--allow-empty", "-S", "--message", "Vouch")
    signing.reconcile()
    assert signing.entries() == [NAME]


def test_the_rule_cannot_be_taken_away_without_a_signature(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    signing.reconcile()
    signing.configure()
    signing.declare("evil", source={"huggingface": "acme/tiny-1b"}, location="second")
    assert "not signed by an allowed key" in signing.reconcile(code=1).err
    sign(signing)
    signing.reconcile()
    assert signing.entries() == ["evil", NAME]


def test_a_key_that_nobody_allowed_does_not_count(signing: World, tmp_path: Path) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    git(signing.git_root, "-c", f"user.signingkey={stranger}", "commit", "--quiet", "--amend", "--no-edit", "-S")
    assert "not among the allowed ones" in signing.reconcile(code=1).err
    assert "not among the allowed ones" in signing.reconcile("--dry-run", code=1, valid=False).err


def test_a_signature_that_was_put_on_another_commit_does_not_count(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    raw = git(signing.git_root, "cat-file", "commit", "HEAD")
    signing.declare("evil", source={"huggingface": "acme/tiny-1b"}, location="second")
    tree = git(signing.git_root, "rev-parse", "HEAD^{tree}").strip()
    forged = f"tree {tree}\n" + raw.split("\n", 1)[1]
    written = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        cwd=signing.git_root,
        input=forged.encode(),
        capture_output=True,
        check=True,
    )
    git(signing.git_root, "reset", "--quiet", "--hard", written.stdout.decode().strip())
    assert "has a bad signature" in signing.reconcile(code=1).err


def test_a_merge_vouches_with_either_side_that_has_the_same_manifests(signing: World) -> None:
    signing.configure(**REQUIRED)
    sign(signing)
    git(signing.git_root, "switch", "--quiet", "--create", "change")
    signing.declare()
    sign(signing)
    git(signing.git_root, "switch", "--quiet", "main")
    git(signing.git_root, "merge", "--quiet", "--no-ff", "--no-edit", "change")
    signing.reconcile()
    assert signing.entries() == [NAME]


def test_commands_that_write_manifests_leave_signing_to_people(signing: World) -> None:
    signing.configure(**REQUIRED)
    sign(signing)
    before = signing.head()
    refused = command("download", "acme/tiny-1b", "-y", "--registry", signing.root, "--location", "linux_wsl")
    assert refused.code == 1
    assert "git commit -S" in refused.err
    assert signing.head() == before
    assert list(signing.weights.iterdir()) == []


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
def test_a_gpg_key_must_be_trusted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(tempfile.mkdtemp(prefix="gpg-"))  # gpg's socket does not fit into a long path
    monkeypatch.setenv("GNUPGHOME", str(home))
    try:
        parameters = "%no-protection\nKey-Type: eddsa\nKey-Curve: ed25519\nName-Email: ada@example.org\n%commit\n"
        subprocess.run(["gpg", "--batch", "--quiet", "--gen-key"], input=parameters.encode(), check=True)
        git(world.git_root, "config", "user.signingkey", "ada@example.org")
        world.serve()
        world.configure(**REQUIRED)
        world.declare()
        sign(world)
        world.reconcile()
        owner = subprocess.run(["gpg", "--export-ownertrust"], capture_output=True, check=True).stdout
        subprocess.run(["gpg", "--quiet", "--import-ownertrust"], input=owner.replace(b":6:", b":2:"), check=True)
        refused = world.reconcile(code=1)
        assert "not among the allowed ones" in refused.err
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)
