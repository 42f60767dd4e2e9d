"""Finding the git repository that a registry folder belongs to, and refusing the kinds that cannot be worked with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from imageworks.files.stat_cache import StatCache
from imageworks.foundation.home import expanded
from imageworks.git import libgit2
from imageworks.git.controller_lock import FOLDER
from imageworks.git.trust.ownership import is_trusted
from imageworks.git.values import NotARegistryRepositoryError, UnsupportedRepositoryError

if TYPE_CHECKING:
    from pygit2 import Repository

    from imageworks.git.program import GitProgram

_WHOLE: Final = (
    "git config --unset-all remote.origin.promisor; git config --unset-all remote.origin.partialclonefilter; "
    "git config --unset-all extensions.partialclone; git fetch --refetch"
)
STAT_CACHE: Final = "stat-cache.json"
BARE_REPOSITORY_PARTS: Final = ("HEAD", "objects", "refs")


@dataclass(frozen=True, slots=True)
class RepositoryLocation:
    """Where a registry and its repository are.

    Args:
        root: The registry folder, symbolic links followed.
        worktree: The work tree that it lies in.
        prefix: The registry's path in the repository, with ``/``; empty when it is the whole work tree.
        git_dir: The work tree's own git folder (HEAD, index, our journal).
        common_dir: The folder that linked work trees share (objects, refs, our lock).
    """

    root: Path
    worktree: Path
    prefix: str
    git_dir: Path
    common_dir: Path

    def repository_path(self, path: str) -> str:
        """Return a registry path as a path in the repository."""
        return f"{self.prefix}/{path}" if self.prefix and path else self.prefix or path

    def registry_path(self, path: str) -> str:
        """Return a repository path as a path in the registry."""
        return path.removeprefix(f"{self.prefix}/") if self.prefix else path

    @property
    def stat_cache(self) -> StatCache:
        """What large files of the work tree are; written by those who hold the lock."""
        return StatCache(self.git_dir / FOLDER / STAT_CACHE)

    def program(self, environment: Mapping[str, str]) -> "GitProgram":
        """Return the git program in the work tree."""
        from imageworks.git.program import GitProgram  # only here: most commands never ask it

        return GitProgram(self.worktree, environment)


def locate(root: Path) -> tuple[RepositoryLocation, "Repository"]:
    """Find and open the repository of a registry folder."""
    root = expanded(root)
    if not root.is_dir():
        raise _not_a_repository(root, f"{root}: there is no such folder")
    root = root.resolve()
    worktree = _find_worktree(root)
    repository = _open(worktree)
    git_dir = Path(repository.path)
    layout = RepositoryLocation(
        root=root,
        worktree=worktree,
        prefix="" if root == worktree else PurePosixPath(root.relative_to(worktree)).as_posix(),
        git_dir=git_dir,
        common_dir=_common_dir(git_dir),
    )
    if not is_trusted(worktree, git_dir, layout.program, os.environ):
        raise UnsupportedRepositoryError(
            f"{worktree}: the repository belongs to another user, so git refuses it",
            remedy=f"If you trust it: git config --global --add safe.directory '{worktree}'",
        )
    _refuse_unsupported(repository, layout)
    return layout, repository


def _find_worktree(root: Path) -> Path:
    for folder in (root, *root.parents):
        marker = folder / ".git"
        if marker.is_symlink():
            raise UnsupportedRepositoryError(
                f"{marker}: is a symbolic link, so two work trees would share one index",
                remedy="Use `git worktree add` instead, or name the repository's own folder.",
            )
        if marker.exists():
            return folder
        if all((folder / part).exists() for part in BARE_REPOSITORY_PARTS):
            raise _bare(folder)
    raise _not_a_repository(root, f"{root}: not in a git repository")


def _open(worktree: Path) -> "Repository":
    try:
        return libgit2.open_repository(worktree)
    except libgit2.git_error() as error:
        reason = str(error)
    if "objectformat" in reason or "object format" in reason:
        raise UnsupportedRepositoryError(
            f"{worktree}: the repository uses SHA-256 object ids, which are not supported",
            remedy="Keep the registry in a repository made with `git init --object-format=sha1`.",
        )
    if "refstorage" in reason:
        raise UnsupportedRepositoryError(
            f"{worktree}: the repository stores its refs as reftable, which is not supported",
            remedy="Run `git refs migrate --ref-format=files` there (git 2.46 or later).",
        )
    raise UnsupportedRepositoryError(
        f"{worktree}: git cannot open the repository: {reason}", remedy="Look with `git status` and `git fsck` there."
    )


def _refuse_unsupported(repository: "Repository", layout: RepositoryLocation) -> None:
    if repository.is_bare or repository.workdir is None:
        raise _bare(layout.worktree)
    config = repository.config
    if "extensions.partialclone" in config or _has_promisor(config):
        raise UnsupportedRepositoryError(
            f"{layout.worktree}: a partial clone lacks files that the controller must read",
            remedy=f"Make it a whole one: `{_WHOLE}`",
        )
    if layout.prefix and repository.path_is_ignored(f"{layout.prefix}/"):
        raise _not_a_repository(
            layout.root, f"{layout.root}: the git repository around it ({layout.worktree}) ignores this folder"
        )


def _has_promisor(config: object) -> bool:
    names = (entry.name for entry in config)  # type: ignore[attr-defined]
    return any(name.startswith("remote.") and name.endswith(".promisor") for name in names)


def _common_dir(git_dir: Path) -> Path:
    try:
        text = (git_dir / "commondir").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return git_dir
    return (git_dir / text).resolve()


def _bare(folder: Path) -> UnsupportedRepositoryError:
    return UnsupportedRepositoryError(
        f"{folder}: a bare repository has no files to work on",
        remedy=f"Add a work tree and use that: git -C '{folder}' worktree add PATH",
    )


def _not_a_repository(root: Path, message: str) -> NotARegistryRepositoryError:
    return NotARegistryRepositoryError(message, remedy=f"Make it one with `imageworks-models init '{root}'`.")


def is_shared(repository: "Repository") -> bool:
    """Return whether a group shares a repository, as ``git init --shared`` makes one."""
    name, config = "core.sharedrepository", repository.config
    return name in config and (config[name] or "").lower() not in {"umask", "false", "no", "off", "0", ""}
