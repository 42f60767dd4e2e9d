"""Each commit since the last accepted one is signed by a key that counts today, whatever a clone makes of it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import NAME, World, command
from support.signing import REQUIRED, Signers, gpg_home, gpg_key, signers

EVIL = {"huggingface": "acme/tiny-1b"}


@pytest.fixture
def ada(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signers:
    """Let the registry demand signatures of Ada, who signs with an ssh key."""
    people = signers(world, tmp_path, monkeypatch)
    world.serve()
    world.configure(**REQUIRED)
    world.declare(commit=False)
    people.commit("Begin")
    return people


def refused(world: World, *words: str) -> str:
    """Return why a run is refused that must change nothing."""
    before = world.head(), sorted(world.weights.rglob("*"))
    result = world.reconcile(*words, code=1, valid=False)
    assert (world.head(), sorted(world.weights.rglob("*"))) == before
    assert "Traceback" not in result.err
    return result.err


def fresh(world: World, *words: str) -> str:
    """Return what a dry run says in a clone on a host that knows nothing of it."""
    clone = world.folder / f"clone {len(list(world.folder.glob('clone *')))}"
    git(world.folder, "clone", "--quiet", *words, world.git_root.as_uri(), str(clone))
    done = command("reconcile", "--dry-run", "--registry", clone)
    return "" if done.code == 0 else done.err


def commit_tree(world: World, tree: str, *parents: str, message: str = "Merge") -> None:
    """Move the branch to an unsigned commit of a tree."""
    words = [word for parent in parents for word in ("-p", parent)]
    made = git(world.git_root, "commit-tree", *words, "-m", message, f"{tree}^{{tree}}").strip()
    git(world.git_root, "reset", "--quiet", "--hard", made)


def test_x10_a_signed_commit_on_top_does_not_vouch_for_an_unsigned_one(world: World, ada: Signers) -> None:
    world.reconcile()
    world.declare("evil", source=EVIL, location="second")
    world.declare(roles=["caption"], commit=False)
    ada.commit("A change of mine")
    assert "is not signed" in refused(world)
    assert "is not signed" in fresh(world)
    ada.commit("Vouch")
    assert fresh(world) == ""
    world.reconcile()
    assert world.entries() == ["evil", NAME]


def test_x10_an_unsigned_change_that_was_taken_back_is_told(world: World, ada: Signers) -> None:
    world.reconcile()
    world.declare("evil", source=EVIL, location="second")
    (world.root / "models/evil.yaml").unlink()
    ada.commit("Take it back")
    assert "is not signed" in refused(world)


@pytest.mark.parametrize("swapped", [False, True])
def test_x10_an_unsigned_merge_brings_nothing_back(world: World, ada: Signers, *, swapped: bool) -> None:
    world.reconcile()
    old = world.head()
    world.declare(roles=["newer"], commit=False)
    ada.commit("Newer")
    world.reconcile()
    parents = (old, world.head()) if swapped else (world.head(), old)
    commit_tree(world, old, *parents)
    assert "is not signed" in refused(world)
    assert "is not signed" in fresh(world)


def test_x10_an_unsigned_commit_brings_nothing_back(world: World, ada: Signers) -> None:
    old = world.head()
    world.declare(roles=["newer"], commit=False)
    ada.commit("Newer")
    commit_tree(world, old, world.head())
    assert "is not signed" in refused(world)


def test_x10_a_signed_merge_vouches_for_itself_alone(world: World, ada: Signers) -> None:
    world.reconcile()
    git(world.git_root, "switch", "--quiet", "--create", "theirs", "HEAD~1")
    world.declare("evil", source=EVIL, location="second")
    git(world.git_root, "switch", "--quiet", "main")
    ada.merge("theirs")
    assert "is not signed" in refused(world)
    assert "is not signed" in fresh(world)
    ada.commit("Vouch")
    world.reconcile()
    assert world.entries() == ["evil", NAME]


def test_x10_signed_sides_of_a_signed_merge_count(world: World, ada: Signers) -> None:
    ada.allow("bob")
    world.reconcile()
    git(world.git_root, "switch", "--quiet", "--create", "bobs", "HEAD~1")
    world.declare("bobs", source=EVIL, location="second", commit=False)
    ada.commit("Bob's", by="bob")
    git(world.git_root, "switch", "--quiet", "main")
    ada.merge("bobs")
    assert fresh(world) == ""
    world.reconcile()
    assert world.entries() == ["bobs", NAME]
    assert "No changes" in world.reconcile().out


def test_x10_an_unsigned_merge_of_signed_sides_does_not_count(world: World, ada: Signers) -> None:
    git(world.git_root, "switch", "--quiet", "--create", "change")
    world.declare(roles=["caption"], commit=False)
    ada.commit("Signed")
    git(world.git_root, "switch", "--quiet", "main")
    git(world.git_root, "merge", "--quiet", "--no-ff", "--no-edit", "change")
    assert "is not signed" in refused(world)


@pytest.mark.usefixtures("ada")
def test_x10_what_changes_nothing_that_is_declared_needs_no_signature(world: World) -> None:
    world.reconcile()
    world.write("docs/note.md", "unsigned")
    git(world.git_root, "switch", "--quiet", "--create", "notes")
    world.write("docs/other.md", "unsigned")
    git(world.git_root, "switch", "--quiet", "main")
    git(world.git_root, "merge", "--quiet", "--no-ff", "--no-edit", "notes")
    assert "No changes" in world.reconcile().out
    assert fresh(world) == ""


def test_x10_an_older_state_of_the_branch_is_refused_until_a_person_signs_that(world: World, ada: Signers) -> None:
    world.reconcile()
    old = world.head()
    world.declare(roles=["newer"], commit=False)
    ada.commit("Newer")
    world.reconcile()
    accepted = git(world.git_root, "rev-parse", "HEAD~1").strip()
    git(world.git_root, "reset", "--quiet", "--hard", old)
    told = refused(world)
    assert f"does not follow {accepted[:10]}" in told
    remedy = told.partition("git merge ")[2].partition(",")[0]
    git(world.git_root, "merge", *remedy.split())
    world.reconcile()
    assert "roles" not in world.snapshot()[NAME]


def test_x10_a_history_that_was_rewritten_is_refused_until_this_host_forgets(world: World, ada: Signers) -> None:
    world.reconcile()
    git(
        world.git_root, "reset", "--quiet", "--soft", git(world.git_root, "rev-list", "--max-parents=0", "HEAD").strip()
    )
    ada.commit("All anew")
    told = refused(world)
    assert "does not follow" in told
    Path(told.partition("rm '")[2].partition("'")[0]).unlink()
    world.reconcile()


@pytest.mark.parametrize(
    ("options", "date"),
    [
        ('valid-before="20250101"', "2024-06-01T00:00:00Z"),
        ('valid-before="20250101000000Z"', "2024-06-01T00:00:00Z"),
        ('namespaces="git",VALID-BEFORE="202501010000"', "2024-06-01T00:00:00Z"),
        ('valid-after="20370101"', "2037-06-01T00:00:00Z"),
        ('valid-before="20250101"', ""),
        ('valid-after="29990101"', ""),
        ('valid-before="soon"', ""),
        ('namespaces="file"', ""),
    ],
)
def test_x10_no_date_of_a_commit_makes_a_key_count(world: World, ada: Signers, options: str, date: str) -> None:
    ada.allow("old", options)
    world.declare(roles=["caption"], commit=False)
    ada.commit("With an old key", by="old", date=date)
    assert "bad signature" in refused(world) or "not among" in refused(world)
    ada.commit("Vouch")
    world.reconcile()


def test_x10_a_key_counts_within_its_time(world: World, ada: Signers) -> None:
    ada.allow("bob", 'namespaces="git,file",valid-after="20200101",valid-before="29990101Z"')
    world.declare(roles=["caption"], commit=False)
    ada.commit("Bob's", by="bob", date="2021-06-01T00:00:00Z")
    world.reconcile()


@pytest.mark.parametrize("form", ["public key", "list"])
def test_x10_a_revoked_key_stops_to_count(world: World, ada: Signers, tmp_path: Path, form: str) -> None:
    world.reconcile()
    ada.allow("bob")
    revoked = tmp_path / "revoked keys"
    public = Path(f"{ada.key('ada')}.pub")
    if form == "list":
        subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(revoked), str(public)], check=True)
    else:
        revoked.write_bytes(public.read_bytes())
    git(tmp_path, "config", "--global", "gpg.ssh.revocationFile", str(revoked))
    assert "revoked" in refused(world)
    ada.commit("Vouch", by="bob")
    world.reconcile()
    revoked.unlink()
    assert "revocationFile" in refused(world)


def test_x10_the_clone_says_nothing_of_keys(world: World, ada: Signers, tmp_path: Path) -> None:
    world.declare("evil", source=EVIL, location="second", commit=False)
    ada.commit("Theirs", by="mallory")
    theirs = tmp_path / "theirs"
    public = Path(f"{ada.key('mallory')}.pub").read_text(encoding="utf-8")
    theirs.write_text(f"m@x {public}", encoding="utf-8")
    git(world.git_root, "config", "gpg.ssh.allowedSignersFile", str(theirs))
    assert "not among the allowed ones" in refused(world)
    git(tmp_path, "config", "--global", "--unset", "gpg.ssh.allowedSignersFile")
    told = refused(world)
    assert "its own git configuration names the keys" in told
    git(world.git_root, "config", "gpg.ssh.allowedSignersFile", str(ada.allowed))
    remedy = refused(world).rpartition("git config --global ")[2].splitlines()[0].split(maxsplit=1)
    git(tmp_path, "config", "--global", remedy[0], remedy[1].strip().strip("'"))
    assert "not among the allowed ones" in refused(world)  # Mallory's still, but Ada's count
    ada.commit("Vouch")
    assert fresh(world) == ""
    git(tmp_path, "config", "--global", "--unset", "gpg.ssh.allowedSignersFile")
    git(world.git_root, "config", "--unset", "gpg.ssh.allowedSignersFile")
    (tmp_path / "include").write_text(f'[gpg "ssh"]\n\tallowedSignersFile = {theirs}\n', encoding="utf-8")
    git(world.git_root, "config", "include.path", str(tmp_path / "include"))
    assert "its own git configuration names the keys" in refused(world)


def test_x10_an_empty_revocation_list_of_the_clone_revokes_nothing_less(
    world: World, ada: Signers, tmp_path: Path
) -> None:
    revoked = tmp_path / "revoked"
    revoked.write_bytes(Path(f"{ada.key('ada')}.pub").read_bytes())
    git(tmp_path, "config", "--global", "gpg.ssh.revocationFile", str(revoked))
    (tmp_path / "none").write_text("", encoding="utf-8")
    git(world.git_root, "config", "gpg.ssh.revocationFile", str(tmp_path / "none"))
    assert "revoked" in refused(world)


@pytest.mark.parametrize("place", [".git/keys", "keys"])
def test_x10_keys_in_the_repository_judge_nothing(world: World, ada: Signers, tmp_path: Path, place: str) -> None:
    keys = world.git_root / place
    keys.write_bytes(ada.allowed.read_bytes())
    ada.commit("Keys")
    git(tmp_path, "config", "--global", "gpg.ssh.allowedSignersFile", str(keys))
    assert "lies in the repository" in refused(world)
    link = tmp_path / "link"
    link.symlink_to(keys)
    git(tmp_path, "config", "--global", "gpg.ssh.allowedSignersFile", str(link))
    assert "lies in the repository" in refused(world)


def test_x10_keys_in_another_work_tree_judge_nothing(world: World, ada: Signers, tmp_path: Path) -> None:
    (world.git_root / "keys").write_bytes(ada.allowed.read_bytes())
    ada.commit("Keys")
    for keys, registry in (("here/keys", world.root), ("registry/keys", world.folder / "here")):
        if not (world.folder / "here").exists():
            git(world.git_root, "worktree", "add", "--quiet", "--detach", str(world.folder / "here"))
        git(tmp_path, "config", "--global", "gpg.ssh.allowedSignersFile", str(world.folder / keys))
        done = command("reconcile", "--dry-run", "--registry", registry)
        assert done.code == 1
        assert "lies in the repository" in done.err


def test_x10_no_room_for_temporary_files_is_told(world: World, ada: Signers, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> object:
        raise OSError(28, "No space left on device")

    assert ada.allowed.exists()
    monkeypatch.setattr("tempfile.mkdtemp", full)
    assert "No space left" in refused(world)


def hidden_by_graft(world: World, tip: str) -> None:
    (world.git_root / ".git/info/grafts").write_text(f"{tip}\n", encoding="utf-8")


def hidden_by_boundary(world: World, tip: str) -> None:
    (world.git_root / ".git/shallow").write_text(f"{tip}\n", encoding="utf-8")


def hidden_by_replacement(world: World, tip: str) -> None:
    git(world.git_root, "replace", "--graft", tip)


@pytest.mark.parametrize("hide", [hidden_by_graft, hidden_by_boundary, hidden_by_replacement])
@pytest.mark.parametrize("is_known", [False, True])
def test_x10_nothing_of_a_clone_hides_an_unsigned_commit(
    world: World, ada: Signers, hide: Callable[[World, str], None], *, is_known: bool
) -> None:
    if is_known:
        world.reconcile()
    world.declare("evil", source=EVIL, location="second")
    world.declare(roles=["caption"], commit=False)
    ada.commit("On top")
    hide(world, world.head())
    assert "is not signed" in refused(world)


@pytest.mark.parametrize("name", ["GIT_REPLACE_REF_BASE", "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE", "GIT_OBJECT_DIRECTORY"])
def test_x10_no_variable_of_git_hides_an_unsigned_commit(
    world: World, ada: Signers, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    world.declare("evil", source=EVIL, location="second")
    world.declare(roles=["caption"], commit=False)
    ada.commit("On top")
    file = world.folder / "said"
    file.write_text(f"{world.head()}\n", encoding="utf-8")
    if name == "GIT_REPLACE_REF_BASE":
        git(world.git_root, "replace", "--graft", world.head())
        git(world.git_root, "update-ref", f"refs/other/{world.head()}", f"refs/replace/{world.head()}")
    value = {"GIT_REPLACE_REF_BASE": "refs/other/", "GIT_OBJECT_DIRECTORY": str(world.folder)}.get(name, str(file))
    monkeypatch.setenv(name, value)
    result = command("reconcile", "--yes", "--registry", world.root, "--no-progress")
    monkeypatch.delenv(name)
    assert result.code == 1
    assert "is not signed" in result.err


def test_x10_a_clone_that_ends_before_what_was_accepted_is_refused(world: World, ada: Signers) -> None:
    world.reconcile()
    for number in range(3):
        world.declare(roles=[f"r{number}"], commit=False)
        ada.commit(f"Change {number}")
    first = git(world.git_root, "rev-list", "--max-parents=0", "HEAD").strip()
    assert fresh(world, "--depth", "1") == ""  # all that it has is signed, and this host knows nothing of it
    home = Path(os.environ["XDG_CONFIG_HOME"]) / "imageworks/config.toml"
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text(f'require_signed_since = ["{first}"]\n', encoding="utf-8")
    assert "git fetch --unshallow" in fresh(world, "--depth", "1")


def test_x10_a_fresh_clone_is_held_to_where_its_host_says_that_history_begins(
    world: World, ada: Signers, isolated_environment: Path
) -> None:
    root = git(world.git_root, "rev-list", "--max-parents=0", "HEAD").strip()
    world.declare(roles=["newer"], commit=False)
    ada.commit("Newer")
    since = world.head()
    roots = f'roots = ["{world.folder}"]\n'
    world.user_config(isolated_environment, f'require_signed_since = ["{since}"]\n{roots}')
    assert fresh(world) == ""
    git(world.git_root, "reset", "--quiet", "--hard", "HEAD~1")
    told = fresh(world)
    assert "require_signed_since" in told
    world.user_config(isolated_environment, f'require_signed_since = ["{root}", "{since}"]\n{roots}')
    assert "is not signed" in fresh(world)  # what came before Ada signed is asked for as well
    world.user_config(isolated_environment, f'require_signed_since = ["main"]\n{roots}')
    assert command("status", "--registry", world.root).code == 1


def test_x10_the_signed_history_of_another_registry_does_not_count(
    world: World, ada: Signers, isolated_environment: Path
) -> None:
    world.configure(**REQUIRED, id="0b5ccf0e-one")
    ada.amend()
    world.reconcile()
    ours = world.head()
    world.configure(**REQUIRED, id="77aa0c1e-other")  # a fork of this one, for other machines
    git(world.git_root, "reset", "--quiet", "--soft", "HEAD~1")
    world.declare("evil", source=EVIL, location="second", commit=False)
    ada.commit("Another registry's")
    told = refused(world)
    assert "0b5ccf0e-one" in told
    assert "77aa0c1e-other" in told
    assert fresh(world) == ""
    roots = f'roots = ["{world.folder}"]\n'
    world.user_config(isolated_environment, f'registry_ids = ["0b5ccf0e-one"]\n{roots}')
    assert "registry_ids" in fresh(world)
    world.configure(**REQUIRED)
    ada.amend()
    assert "0b5ccf0e-one" in refused(world)
    git(world.git_root, "reset", "--quiet", "--hard", ours)
    world.reconcile()


def test_x10_init_gives_each_registry_an_id_of_its_own(tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "two"):
        assert command("init", tmp_path / name).code == 0
        text = (tmp_path / name / "registry.yaml").read_text(encoding="utf-8")
        ids |= {line for line in text.splitlines() if line.startswith("id: ")}
        assert command("validate", "--registry", tmp_path / name).code == 0
    assert len(ids) == 2


@pytest.mark.usefixtures("ada")
def test_x10_the_signature_of_a_tag_vouches_for_no_commit(world: World) -> None:
    world.reconcile()
    world.declare("evil", source=EVIL, location="second")
    git(world.git_root, "tag", "--sign", "--message", "Signed", "v1")
    git(world.git_root, "tag", "--sign", "--message", "Signed", "v2", "v1")
    assert "is not signed" in refused(world)
    git(world.git_root, "switch", "--quiet", "--create", "side", "HEAD~1")
    git(world.git_root, "merge", "--quiet", "--no-ff", "--no-edit", "v1")  # holds the tag's signature in its header
    git(world.git_root, "branch", "--force", "main")
    git(world.git_root, "switch", "--quiet", "main")
    assert "is not signed" in refused(world)


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["x509", "unknown", "twice"])
def test_x10_other_kinds_of_signatures_are_refused_clearly(world: World, tmp_path: Path, kind: str) -> None:
    raw = git(world.git_root, "cat-file", "commit", "HEAD")
    head, _, message = raw.partition("\n\n")
    if kind == "twice":
        forged = f"{head}\n{head[head.index('gpgsig ') :]}\n\n{message}"
    else:
        name = {"x509": "SIGNED MESSAGE", "unknown": "SEAL"}[kind]
        forged = f"{head[: head.index('gpgsig ')]}gpgsig -----BEGIN {name}-----\n x\n -----END {name}-----\n\n{message}"
    (tmp_path / "raw").write_text(forged, encoding="utf-8")
    made = git(world.git_root, "hash-object", "-t", "commit", "-w", "--literally", str(tmp_path / "raw")).strip()
    git(world.git_root, "reset", "--quiet", "--hard", made)
    told = refused(world)
    assert {"twice": "more than one signature"}.get(kind, "another way than with ssh or gpg") in told


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("kind", ["gpg.ssh.program", "gpg.program"])
def test_x10_a_missing_program_is_one_clear_error(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "gpg.program":
        with gpg_home(monkeypatch):
            gpg_key()
            git(tmp_path, "config", "--global", "gpg.format", "openpgp")
            git(
                world.git_root,
                "-c",
                "user.signingkey=ada@example.org",
                "commit",
                "--quiet",
                "--amend",
                "--no-edit",
                "-S",
            )
    git(tmp_path, "config", "--global", kind, str(tmp_path / "no program"))
    told = refused(world)
    assert f"git cannot run {tmp_path / 'no program'}" in told


def test_x10_gpg_keys_count_only_as_they_stand_today(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    with gpg_home(monkeypatch):
        then = ("--faked-system-time", "20200101T000000")
        gpg_key(*then, expires="1y")
        backdated = tmp_path / "gpg of then"
        backdated.write_text(f'#!/bin/sh\nexec gpg {" ".join(then)} "$@"\n', encoding="utf-8")
        backdated.chmod(0o755)
        git(tmp_path, "config", "--global", "user.signingkey", "ada@example.org")
        world.configure(**REQUIRED)
        monkeypatch.setenv("GIT_COMMITTER_DATE", "2020-06-01T00:00:00Z")
        git(world.git_root, "-c", f"gpg.program={backdated}", "commit", "--quiet", "--amend", "--no-edit", "-S")
        assert "key that has expired" in refused(world)


def test_x10_gpg_keys_that_are_trusted_too_little_do_not_count(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    with gpg_home(monkeypatch) as home:
        gpg_key()
        git(tmp_path, "config", "--global", "user.signingkey", "ada@example.org")
        world.configure(**REQUIRED)
        git(world.git_root, "commit", "--quiet", "--amend", "--no-edit", "-S")
        owner = subprocess.run(["gpg", "--export-ownertrust"], capture_output=True, check=True).stdout
        world.reconcile()
        git(tmp_path, "config", "--global", "gpg.minTrustLevel", "ultimate")
        world.reconcile()
        for level in (b":2:", b":5:"):
            subprocess.run(["gpg", "--quiet", "--import-ownertrust"], input=owner.replace(b":6:", level), check=True)
            assert "not among the allowed ones" in refused(world)
        (home / "gpg.conf").write_text("trust-model always\n", encoding="utf-8")  # which says nothing of trust
        git(world.git_root, "config", "gpg.minTrustLevel", "never")  # the clone's does not count
        assert "trusted less" in refused(world)
        git(tmp_path, "config", "--global", "--unset", "gpg.minTrustLevel")
        world.reconcile()


def test_x10_a_gpg_key_that_was_revoked_stops_to_count(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    with gpg_home(monkeypatch) as home:
        gpg_key()
        git(tmp_path, "config", "--global", "user.signingkey", "ada@example.org")
        world.configure(**REQUIRED)
        git(world.git_root, "commit", "--quiet", "--amend", "--no-edit", "-S")
        world.reconcile()
        (certificate,) = (home / "openpgp-revocs.d").glob("*.rev")
        text = certificate.read_text(encoding="utf-8").replace(":-----BEGIN", "-----BEGIN")
        subprocess.run(["gpg", "--quiet", "--batch", "--import"], input=text.encode(), check=True, capture_output=True)
        assert "key that was revoked" in refused(world)


def test_x10_a_certificate_does_not_count_whatever_date_its_commit_has(
    world: World, ada: Signers, tmp_path: Path
) -> None:
    public = Path(f"{ada.key('old')}.pub")
    made = ["ssh-keygen", "-q", "-s", str(ada.key("authority")), "-I", "old", "-n", "old@example.org"]
    subprocess.run([*made, "-V", "20240101:20240601", str(public)], check=True, capture_output=True)
    authority = Path(f"{ada.key('authority')}.pub").read_text(encoding="utf-8")
    with ada.allowed.open("a", encoding="utf-8") as file:
        file.write(f'old@example.org namespaces="git",cert-authority {authority}')
    certificate = tmp_path / "key of old-cert.pub"
    assert certificate.exists()
    world.declare(roles=["caption"], commit=False)
    git(world.git_root, "add", "--all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_COMMITTER_DATE", "2024-03-01T00:00:00Z")
        git(world.git_root, "-c", f"user.signingkey={certificate}", "commit", "--quiet", "-S", "--message", "Old")
    assert git(world.git_root, "log", "-1", "--format=%G?").strip() == "G"  # git itself believes the date
    assert "not among the allowed ones" in refused(world)


def test_x10_an_object_that_was_overwritten_is_not_believed(world: World, ada: Signers) -> None:
    good = world.head()
    world.declare("evil", source=EVIL, location="second")
    objects = world.git_root / ".git/objects"
    signed, unsigned = (objects / one[:2] / one[2:] for one in (good, world.head()))
    world.declare(roles=["caption"], commit=False)
    ada.commit("On top")
    unsigned.chmod(0o644)
    unsigned.write_bytes(signed.read_bytes())
    done = command("reconcile", "--yes", "--registry", world.root, "--no-progress")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert not list(world.weights.rglob("*.safetensors"))


def test_x10_other_folders_of_a_repository_need_no_signature(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.folder / "mono").mkdir()
    mono = World(world.folder / "mono", world.hub, prefix="ml/registry")
    people = signers(mono, tmp_path, monkeypatch)
    world.serve()
    mono.configure(**REQUIRED)
    mono.declare(commit=False)
    people.commit("Begin")
    mono.reconcile()
    (mono.git_root / "app.py").write_text("unsigned\n", encoding="utf-8")
    mono.commit("An application")
    assert "No changes" in mono.reconcile().out
    mono.declare(roles=["caption"])
    (mono.git_root / "app.py").write_text("signed\n", encoding="utf-8")
    people.commit("The application again")  # vouches for itself, not for the registry
    assert "is not signed" in refused(mono)
    people.commit("Vouch")
    mono.reconcile()
