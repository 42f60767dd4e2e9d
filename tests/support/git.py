"""The real git program, as the judge of what the registry's git side did."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pygit2

from imageworks.git.libgit2 import open_repository
from imageworks.git.repository import RegistryRepository, init_repository

# Without maintenance: it goes on in the background, with locks and files that come and go in what a test looks at.
USER = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "maintenance.auto=false")


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """Run git in a folder and return what it printed; never anything of the developer's own settings."""
    done = subprocess.run(["git", *USER, *arguments], cwd=folder, check=False, capture_output=True, text=True)
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}{done.stdout}")
    return done.stdout


def typed_at_shell(line: str) -> None:
    """Do what somebody types who has a name in git."""
    names = {f"GIT_{who}_{what}": "ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **names}
    subprocess.run(line, shell=True, check=True, capture_output=True, env=environment)  # noqa: S602 # as it is typed


def commit_all(folder: Path, message: str) -> None:
    """Commit everything as ``git add --all`` and ``git commit`` do, which themselves are started only for a reason.

    Thousands of tests begin so, and two programs take ten times as long.
    """
    repository = open_repository(folder)
    settings, hooks = repository.config, Path(repository.path, "hooks")
    if (
        os.environ.get("GIT_CONFIG_GLOBAL") != os.devnull
        or any(entry.name.startswith(("commit.", "filter.", "gpg.", "core.hookspath")) for entry in settings)
        or any(file.suffix != ".sample" for file in hooks.glob("*"))
        or repository.state() != pygit2.enums.RepositoryState.NONE
    ):
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", message)
        return
    index = repository.index
    index.add_all()
    index.write()
    tree = index.write_tree()
    parents = [] if repository.head_is_unborn else [repository.head.target]
    assert not parents or repository[parents[0]].peel(pygit2.Tree).id != tree, "nothing to commit"
    ada = pygit2.Signature("Ada", "ada@example.org")
    repository.create_commit("HEAD", ada, ada, f"{message}\n", tree, parents)


def make_registry(path: Path, files: dict[str, bytes] | None = None) -> RegistryRepository:
    """Return a fresh registry repository whose first commit has some files, made by our own commit."""
    repository = init_repository(path, branch="main")
    first = files if files is not None else {"registry.yaml": b"schema_version: 1\n", "models/a.yaml": b"a: 1\n"}
    if first:
        repository.commit(first, message="First", expected=None)
    return repository


def assert_sound(folder: Path) -> None:
    """Fail unless git finds every object of the repository in order and no lock is left."""
    git(folder, "fsck", "--strict", "--no-dangling")
    common = Path(git(folder, "rev-parse", "--path-format=absolute", "--git-common-dir").strip())
    left = [lock for lock in common.rglob("*.lock") if lock.name != "controller.lock"]
    assert left == []


@dataclass(frozen=True)
class UserWork:
    """Everything in a repository that is the user's and uncommitted."""

    staged: str
    index: str
    stash: str
    files: dict[str, bytes]


def user_work(folder: Path, *, without: tuple[str, ...] = ()) -> UserWork:
    """Return the user's uncommitted work, except at some paths."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts and str(path.relative_to(folder)) not in without
    }
    excluded = [f":(exclude){path}" for path in without]
    return UserWork(
        staged=git(folder, "diff", "--cached", "--binary", "--", ".", *excluded),
        index=git(folder, "ls-files", "--stage", "--", ".", *excluded),
        stash=git(folder, "stash", "list", "--format=%H"),
        files=files,
    )


COMMIT_PROGRAM = """
import sys
from pathlib import Path
from imageworks.git.repository import RegistryRepository
repository = RegistryRepository.open(Path(sys.argv[1]))
changes = dict(item.split("=", 1) for item in sys.argv[2:])
result = repository.commit(
    {path: text.encode() or None for path, text in changes.items()}, message="By a child", expected=repository.head()
)
print(result.id)
for note in result.notes:
    print("note:", note)
for item in result.left_alone:
    print("left:", item.path, item.reason)
"""


def commit_command(folder: Path, changes: dict[str, str]) -> list[str]:
    """Return the command of a process of its own that makes one commit of some texts; an empty one deletes."""
    words = [f"{name}.txt={text}" for name, text in changes.items()]
    return [sys.executable, "-c", COMMIT_PROGRAM, str(folder), *words]


def run_commit(
    folder: Path, *, changes: dict[str, str], failpoint: str = "", prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Make one commit in a process of its own, which a failpoint may kill."""
    environment = {**os.environ, "IMAGEWORKS_FAILPOINT": failpoint}
    command = [*prefix, *commit_command(folder, changes)]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
