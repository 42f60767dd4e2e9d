"""Only what an allowed key signed is reconciled, where a registry asks for that; real ssh and gpg signatures."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import HOST, NAME, World, command
from support.signing import REQUIRED, gpg_home, gpg_key, signers
from support.warm import run_program


@pytest.fixture
def signing(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Set the user's git up to sign with a fresh ssh key that is allowed."""
    signers(world, tmp_path, monkeypatch)
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
    assert "not signed by an allowed key" in signing.reconcile(code=1).err  # the commit that took it away is not
    git(signing.git_root, "commit", "--quiet", "--allow-empty", "-S", "--message", "Vouch")
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


def test_a_merge_is_signed_like_any_other_commit(signing: World) -> None:
    signing.configure(**REQUIRED)
    sign(signing)
    git(signing.git_root, "switch", "--quiet", "--create", "change")
    signing.declare()
    sign(signing)
    git(signing.git_root, "switch", "--quiet", "main")
    git(signing.git_root, "merge", "--quiet", "--no-ff", "--no-edit", "change")
    assert "is not signed" in signing.reconcile(code=1).err
    sign(signing)
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


def test_a_gpg_key_must_be_trusted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with gpg_home(monkeypatch):
        gpg_key()
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


EVIL = {"huggingface": "acme/tiny-1b"}


def forge(world: World, path: str, text: str) -> None:
    """Commit what looks like a commit of this host's controller, as anybody who may push can."""
    reconciled = world.head()
    world.write(path, text, commit=False)
    git(world.git_root, "add", "--all")
    message = f"Reconcile {HOST}\n\nReconciled-Revision: {reconciled}\nHost: {HOST}\n"
    git(world.git_root, "commit", "--quiet", "--message", message)


def test_a_forged_commit_of_ours_does_not_take_the_rule_away(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    signing.reconcile()
    signing.configure()
    signing.declare("evil", source=EVIL, location="second")
    forge(signing, f"snapshot/{HOST}.json", "[]\n")
    assert "not signed by an allowed key" in signing.reconcile(code=1, valid=False).err
    assert "not signed by an allowed key" in signing.reconcile("--dry-run", code=1, valid=False).err


def test_this_hosts_config_demands_signatures_from_the_first_run_on(signing: World, isolated_environment: Path) -> None:
    signing.user_config(isolated_environment, f'require_signed = true\nroots = ["{signing.folder}"]\n')
    signing.declare()
    assert "not signed by an allowed key" in signing.reconcile(code=1).err
    assert list(signing.weights.iterdir()) == []
    refused = command("download", "acme/tiny-1b", "-y", "--registry", signing.root, "--location", "linux_wsl")
    assert refused.code == 1
    sign(signing)
    signing.reconcile()
    assert signing.entries() == [NAME]
    refused = command("download", "acme/tiny-1b", "-y", "--registry", signing.root, "--location", "second")
    assert "config.toml requires signed commits" in refused.err
    assert "require_signed" in command("config").out


def test_the_rule_ends_where_it_was_taken_away_with_a_signature(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    signing.reconcile()
    signing.configure()
    sign(signing)
    signing.reconcile()
    signing.declare(roles=["caption"])
    signing.reconcile()
    assert signing.snapshot()[NAME]["roles"] == ["caption"]


def test_a_broken_registry_yaml_does_not_take_the_rule_away(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    signing.reconcile()
    signing.write("registry.yaml", "schema_version: 1\nlocations: 7\n")
    assert "not signed by an allowed key" in signing.reconcile(code=1, valid=False).err
    sign(signing)
    signing.reconcile(code=1, valid=False)
    signing.configure()
    assert "not signed by an allowed key" in signing.reconcile(code=1).err


def test_an_object_that_was_replaced_vouches_for_nothing(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    good = signing.head()
    raw = git(signing.git_root, "cat-file", "commit", "HEAD")
    signing.declare("evil", source=EVIL, location="second")
    tree = git(signing.git_root, "rev-parse", "HEAD^{tree}").strip()
    forged = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        cwd=signing.git_root,
        input=(f"tree {tree}\n" + raw.split("\n", 1)[1]).encode(),
        capture_output=True,
        check=True,
    ).stdout.decode()
    git(signing.git_root, "reset", "--quiet", "--hard", forged.strip())
    git(signing.git_root, "replace", forged.strip(), good)
    assert "has a bad signature" in signing.reconcile(code=1, valid=False).err


def test_keys_in_the_registrys_own_repository_judge_nothing(signing: World, tmp_path: Path) -> None:
    signing.configure(**REQUIRED)
    signing.write("keys/allowed", (tmp_path / "allowed signers").read_text(encoding="utf-8"))
    git(signing.git_root, "config", "--global", "gpg.ssh.allowedSignersFile", "keys/allowed")
    signing.declare()
    sign(signing)
    assert "lies in the repository whose commits it is to judge" in signing.reconcile(code=1).err


def test_a_merge_does_not_bring_back_what_was_signed_once(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    signing.reconcile()
    old = git(signing.git_root, "rev-parse", "HEAD^").strip()
    signing.declare(roles=["newer"])
    sign(signing)
    signing.reconcile()
    now = signing.head()
    tree = git(signing.git_root, "rev-parse", f"{old}^{{tree}}").strip()
    merge = git(signing.git_root, "commit-tree", "-p", now, "-p", old, "-m", "Merge", tree).strip()
    git(signing.git_root, "reset", "--quiet", "--hard", merge)
    refused = signing.reconcile(code=1, valid=False)
    assert "is not signed" in refused.err
    git(signing.git_root, "commit", "--quiet", "--allow-empty", "-S", "--message", "Go back")
    signing.reconcile()
    assert "roles" not in signing.snapshot()[NAME]


def test_a_shallow_clone_is_judged_by_what_it_has(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    signing.write("docs/note.md", "later, unsigned")
    clone = signing.folder / "shallow clone"
    git(signing.folder, "clone", "--quiet", "--depth", "1", signing.git_root.as_uri(), str(clone))
    refused = command("reconcile", "--dry-run", "--registry", clone)
    assert "not signed by an allowed key" in refused.err
    git(clone, "fetch", "--quiet", "--unshallow")
    assert command("reconcile", "--dry-run", "--registry", clone).code == 0


def test_signatures_are_found_whatever_gits_settings_print(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    git(signing.git_root, "config", "log.showSignature", "true")
    signing.reconcile()
    assert signing.entries() == [NAME]


def test_keys_that_a_registry_allows_itself_are_told_not_to_count(signing: World) -> None:
    signing.configure(git={"require_signed": True, "allowed_keys": ["ssh-ed25519 AAAA me@example.org"]})
    signing.declare()
    sign(signing)
    assert "git.allowed_keys is not carried out" in signing.reconcile().out


@pytest.mark.parametrize("branch", [None, "state/{host}"])
def test_forged_entries_do_not_count(signing: World, branch: str | None) -> None:
    signing.configure(**REQUIRED, commit={"branch": branch})
    signing.declare()
    sign(signing)
    signing.reconcile(valid=False)
    signing.reconcile(valid=False)
    if branch is not None:
        git(signing.git_root, "switch", "--quiet", f"state/{HOST}")
    file = signing.root / f"discovered/{HOST}/{NAME}.json"
    honest = file.read_text()
    signing.write(
        f"discovered/{HOST}/{NAME}.json", honest.replace(str(signing.weights), str(signing.folder / "second"))
    )
    if branch is not None:
        git(signing.git_root, "switch", "--quiet", "main")
    refused = signing.reconcile(code=1, valid=False)
    assert "somebody else has changed what this host recorded" in refused.err
    assert "somebody else" in signing.reconcile("--dry-run", code=1, valid=False).err
    if branch is None:
        git(signing.git_root, "revert", "--no-edit", "HEAD")
        assert "No changes" in signing.reconcile().out


def test_entries_that_a_person_signed_count(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    signing.reconcile()
    signing.reconcile()
    file = signing.root / f"discovered/{HOST}/{NAME}.json"
    signing.write(
        f"discovered/{HOST}/{NAME}.json", file.read_text().replace('"downloaded_at": "20', '"downloaded_at": "19')
    )
    assert "somebody else" in signing.reconcile(code=1, valid=False).err
    sign(signing)
    signing.reconcile(valid=False)
    assert signing.entries() == [NAME]
    assert "No changes" in signing.reconcile().out


@pytest.mark.parametrize("point", ["git.journal-written", "git.ref-moved", "git.index-updated"])
def test_a_kill_beside_the_note_of_entries_locks_nobody_out(signing: World, point: str) -> None:
    signing.configure(**REQUIRED)
    signing.declare()
    sign(signing)
    signing.reconcile()
    signing.declare("other", location="second")
    sign(signing)
    words = ("reconcile", "--yes", "--registry", str(signing.root), "-q")
    environment = {**os.environ, "IMAGEWORKS_FAILPOINT": point}
    done = run_program(*words, folder=signing.folder, environment=environment)
    assert done.returncode == -signal.SIGKILL
    signing.reconcile()
    assert signing.entries() == ["other", NAME]
    assert "No changes" in signing.reconcile().out


def test_a_server_is_not_started_as_a_forged_snapshot_says(signing: World) -> None:
    signing.configure(**REQUIRED)
    signing.declare(backend="vllm")
    sign(signing)
    signing.reconcile()
    words = ("launch", "vllm", NAME, "--print", "--registry", signing.root)
    honest = command(*words)
    assert honest.code == 0, honest
    models = json.loads((signing.root / f"snapshot/{HOST}.json").read_bytes())
    models[0]["backend_config"]["extra_args"] = ["--trust-remote-code"]
    signing.write(f"snapshot/{HOST}.json", json.dumps(models))
    assert (command(*words).code, command(*words).out) == (1, "")
    signing.reconcile()
    assert command(*words).out == honest.out
    signing.declare(backend="vllm", backend_config={"port": 9})
    for refused in (command(*words), command("resolve", "--role", "caption", "--registry", signing.root)):
        assert (refused.code, refused.out) == (1, "")
        assert "sign" in refused.err
