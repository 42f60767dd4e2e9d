"""I7 and I8 with remotes: secrets stay off command lines and files, and what a remote sends runs nothing here."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from imageworks.git.program import GitProgram, GitProgramError, access_to
from support.git import git
from support.git_server import GitServer, serve_git
from support.reconcile import HOST, NAME, World, command
from support.team import manifest, push_all

SECRET = "s3cret" + "-pass/word"
TOKEN = "ghp_" + "tokentokentoken"


def command_lines() -> bytes:
    """Return the command lines of all processes."""
    found = b""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found += (process / "cmdline").read_bytes() + b"\n"
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")
@pytest.mark.parametrize("where", ["variable", "address"])
def test_no_secret_is_on_a_command_line_or_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, isolated_environment: Path, where: str
) -> None:
    secret = TOKEN if where == "variable" else SECRET
    seen: list[bytes] = []
    settings = isolated_environment / "gitconfig"
    settings.write_text("[credential]\n\thelper = store\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    with serve_git(world.folder / "private.git", token=secret) as private:
        private.on_request = lambda: seen.append(command_lines())
        address = private.address
        if where == "variable":
            monkeypatch.setenv("IMAGEWORKS_GIT_TOKEN", secret)
        else:
            address = address.replace("http://", "http://ada%40work:s3cret-pass%2Fword@")
        git(world.git_root, "remote", "add", "origin", address)
        world.serve()
        world.declare()
        done = world.reconcile("--push")
        assert private.tip() == world.head()
        world.declare(roles=["caption"])
        world.reconcile("--pull", "--push")
        assert private.tip() == world.head()
    assert b"http-backend" in b"".join(seen) or b"remote-http" in b"".join(seen)
    for part in (secret.encode(), b"s3cret-pass%2Fword"):
        assert part not in b"".join(seen)
        assert part.decode() not in done.out + done.err
        log = git(world.git_root, "log", "--all", "--format=%B")
        assert part.decode() not in log
    assert not (isolated_environment / ".git-credentials").exists()


def test_a_password_of_an_address_goes_to_its_own_server_only() -> None:
    access = access_to("https://ada:p%40ss@git.example.org:8443/team/x.git", {"IMAGEWORKS_GIT_TOKEN": "other"})
    assert access is not None
    assert (access.server, access.user, access.token) == ("https://git.example.org:8443", "ada", "p@ss")
    assert "p@ss" not in repr(access.flags)
    assert access_to("ssh://ada:pass@git.example.org/x.git", {}) is None
    assert access_to("https://ada@git.example.org/x.git", {}) is None


@pytest.mark.parametrize("found", ["missing", "not executable"])
def test_without_git_one_clear_error_says_so(tmp_path: Path, found: str) -> None:
    if found == "not executable":
        (tmp_path / "git").write_text("#!/bin/sh\n", encoding="utf-8")
    program = GitProgram(tmp_path, {"PATH": str(tmp_path)})
    with pytest.raises(GitProgramError, match="git cannot be run"):
        program.run("version")


@pytest.mark.parametrize(
    "name", ["GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_SHALLOW_FILE", "GIT_DIR"]
)
def test_variables_of_git_do_not_lead_elsewhere(world: World, server: GitServer, colleague: Path, name: str) -> None:
    (colleague / "note").write_text("theirs", encoding="utf-8")
    push_all(colleague, "Theirs")
    world.serve()
    world.declare()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(name, str(world.folder / "elsewhere"))
        refused = command("reconcile", "--yes", "--registry", world.root, "--no-progress", "--pull")
    assert "not the controller's to rebuild" in refused.err, refused
    assert not (world.folder / "elsewhere").exists()
    assert server.subjects()[0] == "Theirs"


def test_x16_the_users_own_ssh_command_runs_and_none_of_the_clone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = world.folder / "ran with"
    script = world.folder / "my ssh"
    script.write_text(f"#!/bin/sh\necho \"$@\" > '{marker}'\nexit 1\n", encoding="utf-8")
    script.chmod(0o755)
    theirs = world.folder / "their program ran"
    git(world.git_root, "config", "core.sshCommand", f"touch '{theirs}' #")
    git(world.git_root, "remote", "add", "origin", "git@localhost:team/x.git")
    refused = command("reconcile", "--yes", "--registry", world.root, "--no-progress", "--pull")
    assert refused.code == 1
    assert not theirs.exists()
    own = world.folder / "gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(own))
    git(world.git_root, "config", "--global", "core.sshCommand", f"'{script}' -i deploy-key")
    world.reconcile("--pull", code=1, valid=False)
    assert "-i deploy-key" in marker.read_text()
    assert not theirs.exists()


# --- what a hostile commit holds ------------------------------------------------------------------------------------


def raw_tree(folder: Path, entries: list[tuple[str, str, str]]) -> str:
    """Write a tree without git's own checks of names."""
    data = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(identifier) for mode, name, identifier in entries)
    done = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
        cwd=folder,
        input=data,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


def blob(folder: Path, text: str) -> str:
    done = subprocess.run(
        ["git", "hash-object", "-w", "--stdin"], cwd=folder, input=text.encode(), capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def with_root_entry(folder: Path, mode: str, name: str, identifier: str) -> None:
    """Put a commit on main whose tree has one more entry, and send it unchecked."""
    entries = [tuple(line.split(maxsplit=3)) for line in git(folder, "ls-tree", "HEAD").splitlines()]
    kept = [(entry[0].lstrip("0"), entry[3], entry[2]) for entry in entries]
    tree = raw_tree(folder, sorted([*kept, (mode, name, identifier)], key=lambda entry: entry[1]))
    commit = git(folder, "commit-tree", "-p", "HEAD", "-m", "Hostile", tree).strip()
    git(folder, "push", "--quiet", "origin", f"{commit}:main")


def dot_git(folder: Path, marker: Path) -> None:
    hook = raw_tree(folder, [("100755", "post-checkout", blob(folder, f"#!/bin/sh\ntouch '{marker}'\n"))])
    with_root_entry(folder, "40000", ".git", raw_tree(folder, [("40000", "hooks", hook)]))


def dot_git_in_capitals(folder: Path, marker: Path) -> None:
    with_root_entry(folder, "40000", ".GIT", raw_tree(folder, [("100644", "config", blob(folder, str(marker)))]))


def upwards(folder: Path, marker: Path) -> None:
    with_root_entry(folder, "40000", "..", raw_tree(folder, [("100644", marker.name, blob(folder, "x"))]))


def a_path_as_a_name(folder: Path, marker: Path) -> None:
    with_root_entry(folder, "100644", f"../{marker.name}", blob(folder, "x"))


def modules_that_run(folder: Path, marker: Path) -> None:
    text = f'[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch {marker}"\n\tupdate = !touch {marker}\n'
    with_root_entry(folder, "100644", ".gitmodules", blob(folder, text))


REFUSED = [dot_git, dot_git_in_capitals, upwards, a_path_as_a_name, modules_that_run]


@pytest.mark.parametrize("deed", REFUSED, ids=lambda one: one.__name__)
def test_hostile_trees_are_not_even_fetched(
    world: World, server: GitServer, colleague: Path, tmp_path: Path, deed: Callable[[Path, Path], None]
) -> None:
    marker = tmp_path / "marker"
    git(server.folder, "config", "receive.fsckObjects", "false")
    deed(colleague, marker)
    before = world.head()
    refused = world.reconcile("--pull", code=1, valid=False)
    assert "cannot be fetched" in refused.err or "cannot be brought up to date" in refused.err
    assert world.head() == before
    assert git(world.git_root, "status", "--porcelain") == ""
    assert not marker.exists()


def test_filters_textconv_and_submodules_of_a_registry_run_nothing(
    world: World, server: GitServer, colleague: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    (colleague / ".gitattributes").write_text("* filter=evil diff=evil merge=evil textconv=evil\n", encoding="utf-8")
    (colleague / ".gitconfig").write_text(f"[filter \"evil\"]\n\tsmudge = touch '{marker}'\n", encoding="utf-8")
    (colleague / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = file:///nowhere\n', encoding="utf-8")
    git(colleague, "update-index", "--add", "--cacheinfo", f"160000,{git(colleague, 'rev-parse', 'HEAD').strip()},x")
    (colleague / f"models/{NAME}.yaml").parent.mkdir(exist_ok=True)
    (colleague / f"models/{NAME}.yaml").write_text(manifest(), encoding="utf-8")
    git(colleague, "add", ".gitattributes", ".gitconfig", ".gitmodules", "models")
    git(colleague, "commit", "--quiet", "--message", "Hostile")
    git(colleague, "push", "--quiet")
    world.serve()
    world.reconcile("--pull", "--push")
    assert server.tip() == world.head()
    assert not marker.exists()
    assert not list((world.root / "x").iterdir())


@pytest.mark.parametrize("folder", ["models", "discovered", "snapshot", f"discovered/{HOST}"])
def test_a_folder_that_is_a_link_is_not_followed(world: World, server: GitServer, colleague: Path, folder: str) -> None:
    outside = world.folder / "outside"
    outside.mkdir()
    (outside / f"{NAME}.yaml").write_text(manifest(), encoding="utf-8")
    world.serve()
    world.declare(f"{NAME}-b")
    git(world.git_root, "push", "--quiet")
    git(colleague, "pull", "--quiet")
    place = colleague / folder
    if place.exists():
        git(colleague, "rm", "-r", "--quiet", folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(outside)
    push_all(colleague, "Link")
    done = command("reconcile", "--yes", "--pull", "--push", "--registry", world.root, "--no-progress")
    assert done.code == 1, done
    assert "symbolic link" in done.err + done.out
    assert "bug" not in done.err
    assert [path.name for path in outside.iterdir()] == [f"{NAME}.yaml"]
    assert server.subjects()[0] == "Link"


def test_the_environment_of_the_child_has_no_replaced_objects(world: World) -> None:
    program = GitProgram(world.git_root, {**os.environ, "GIT_NO_REPLACE_OBJECTS": "0"})
    shown = program.run("-c", "alias.shown=!env", "shown").out
    assert "GIT_NO_REPLACE_OBJECTS=1" in shown.splitlines()


def test_git_says_nothing_of_what_is_set_for_it(world: World) -> None:
    assert GitProgram(world.git_root, os.environ).run("log", "-1", "--format=%h").errors == ""
