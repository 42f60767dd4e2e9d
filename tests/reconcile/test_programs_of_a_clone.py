"""Git runs no filter for us, and no program that a clone's own configuration names."""

import shutil
from pathlib import Path

import pytest

from imageworks.git.program import GitProgram
from support.git import git
from support.reconcile import World, command

REQUIRED = {"git": {"require_signed": True}}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12\n"


@pytest.fixture
def cloned(world: World) -> World:
    """Give the registry a remote that is one commit ahead, whose files ask for a filter."""
    remote = world.folder / "remote.git"
    git(world.folder, "init", "--quiet", "--bare", "--initial-branch", "main", str(remote))
    git(world.git_root, "remote", "add", "origin", str(remote))
    git(world.git_root, "push", "--quiet", "origin", "HEAD:main")
    other = world.folder / "other"
    git(world.folder, "clone", "--quiet", str(remote), str(other))
    (other / ".gitattributes").write_text("*.txt filter=lfs\n*.dat filter=a=b\n", encoding="utf-8")
    (other / ".lfsconfig").write_text("[lfs]\n\turl = http://127.0.0.1:9/evil\n", encoding="utf-8")
    (other / "note.txt").write_text(POINTER, encoding="utf-8")
    (other / "note.dat").write_text(POINTER, encoding="utf-8")
    git(other, "add", "--all")
    git(other, "commit", "--quiet", "--message", "Theirs")
    git(other, "push", "--quiet", "origin", "HEAD:main")
    return world


@pytest.mark.parametrize("scope", ["--local", "--global"])
@pytest.mark.parametrize("name", ["lfs", "a=b"])
@pytest.mark.parametrize("kind", ["smudge", "process"])
def test_x12_no_filter_is_run_by_a_pull(
    cloned: World, monkeypatch: pytest.MonkeyPatch, scope: str, name: str, kind: str
) -> None:
    ran = cloned.folder / "ran"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(cloned.folder / "gitconfig"))
    git(cloned.git_root, "config", scope, f"filter.{name}.{kind}", f"touch '{ran}'; cat")
    git(cloned.git_root, "config", scope, f"filter.{name}.clean", f"touch '{ran}'; cat")
    git(cloned.git_root, "config", scope, f"filter.{name}.required", "true")
    cloned.reconcile("--pull", valid=False)
    assert not ran.exists()
    assert (cloned.git_root / "note.txt").read_text(encoding="utf-8") == POINTER
    cloned.reconcile("--pull", valid=False)  # nor where files are looked at that are here
    assert not ran.exists()


def test_x12_filters_and_pointers_are_told(cloned: World) -> None:
    cloned.reconcile("--pull", valid=False)
    notes = str(cloned.plan().json["notes"])
    assert ".gitattributes: the filters a=b, lfs are not run" in notes
    assert ".lfsconfig: is not obeyed" in notes
    validated = command("validate", "--registry", cloned.root)
    assert validated.code == 0
    assert ".lfsconfig" in validated.err
    cloned.write("models/m.yaml", POINTER)
    validated = command("validate", "--registry", cloned.root)
    assert validated.code == 1
    assert "models/m.yaml:1:1: the file is a pointer of Git LFS" in validated.out


@pytest.mark.parametrize(
    "key",
    [
        *("core.fsmonitor", "core.askPass", "core.gitProxy", "credential.helper", "remote.origin.uploadpack"),
        "remote.origin.receivepack",
        *("credential.http://127.0.0.1:9.helper", "remote.origin.vcs", "core.alternateRefsCommand", "core.pager"),
    ],
)
def test_x16_a_program_of_the_clone_never_runs(cloned: World, key: str) -> None:
    ran = cloned.folder / "ran"
    git(cloned.git_root, "config", key, f"!touch '{ran}' #" if "helper" in key else f"touch '{ran}'; false")
    command("reconcile", "--yes", "--pull", "--push", "--registry", cloned.root, "--no-progress")
    if key == "core.gitProxy":
        git(cloned.git_root, "remote", "set-url", "origin", "git://127.0.0.1:9/x.git")
        command("reconcile", "--yes", "--pull", "--registry", cloned.root, "--no-progress")
    if key.startswith("cred"):
        git(cloned.git_root, "remote", "set-url", "origin", "http://127.0.0.1:9/x.git")
        command("reconcile", "--yes", "--pull", "--registry", cloned.root, "--no-progress")
    assert not ran.exists()


@pytest.mark.parametrize("key", ["gpg.program", "gpg.openpgp.program", "gpg.ssh.program", "gpg.x509.program"])
def test_x16_a_program_of_the_clone_verifies_no_signature(world: World, tmp_path: Path, key: str) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    ran = world.folder / "ran"
    program = world.folder / "their program"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\necho 'Good \"git\" signature for x with ED25519 key SHA256:x'\n")
    program.chmod(0o755)
    signature = "-----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----"
    if "ssh" in key:
        signature = "-----BEGIN SSH SIGNATURE-----\n x\n -----END SSH SIGNATURE-----"
    elif "x509" in key:
        signature = "-----BEGIN SIGNED MESSAGE-----\n x\n -----END SIGNED MESSAGE-----"
    world.configure(**REQUIRED)
    raw = git(world.git_root, "cat-file", "commit", "HEAD").split("\n\n", 1)
    written = tmp_path / "commit"
    written.write_text(f"{raw[0]}\ngpgsig {signature}\n\n{raw[1]}", encoding="utf-8")
    forged = git(world.git_root, "hash-object", "-t", "commit", "-w", str(written)).strip()
    git(world.git_root, "reset", "--quiet", "--hard", forged)
    git(world.git_root, "config", key, str(program))
    git(world.git_root, "config", "gpg.ssh.allowedSignersFile", str(tmp_path / "allowed"))
    (tmp_path / "allowed").write_text("", encoding="utf-8")
    assert command("reconcile", "--yes", "--registry", world.root, "--no-progress").code == 1
    assert not ran.exists()
    git(world.git_root, "log", "-1", "--format=%G?", check=False)
    assert ran.exists()  # git alone does run it


def test_x16_what_the_user_configures_still_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(world.folder / "gitconfig"))
    git(world.git_root, "config", "--global", "gpg.program", "my-gpg")
    git(world.git_root, "config", "--global", "credential.helper", "mine")
    git(world.git_root, "config", "gpg.program", "their-gpg")
    git(world.git_root, "config", "credential.helper", "theirs")
    program = GitProgram(
        world.git_root, {"GIT_CONFIG_GLOBAL": str(world.folder / "gitconfig"), "PATH": "/usr/bin:/bin"}
    )
    assert program.run("config", "--get", "gpg.program").out.strip() == "my-gpg"
    assert program.run("config", "--get-all", "credential.helper").out.split("\n")[-3:-1] == ["", "mine"]


def test_x16_what_looks_like_a_bare_repository_is_refused_by_validate(tmp_path: Path) -> None:
    registry = tmp_path / "repo" / "registry"
    (registry / "models").mkdir(parents=True)
    (registry / "registry.yaml").write_text("schema_version: 1\n", encoding="utf-8")
    git(tmp_path, "init", "--quiet", str(tmp_path / "repo"))
    assert command("validate", "--registry", registry).code == 0
    for part in ("objects/x", "refs/x", "HEAD"):
        (registry / part).parent.mkdir(exist_ok=True)
        (registry / part).write_text("ref: refs/heads/main\n", encoding="utf-8")
    refused = command("validate", "--registry", registry)
    assert refused.code == 1
    assert "HEAD:1:1: HEAD, objects, refs side by side" in refused.out
