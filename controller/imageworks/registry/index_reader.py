"""What git's index knows of a registry that its work tree does not show: files left out, and names as they are."""

import os
from pathlib import Path

from imageworks.git.index import read_index
from imageworks.git.locate import locate
from imageworks.git.program import GitProgram
from imageworks.git.read import read_blob
from imageworks.git.values import PLAIN_MODES, BlobReference, RegistryGitError
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.documents.json_reader import MAX_BYTES as MAX_FILE_BYTES


def names_in_git(root: Path) -> set[str] | None:
    """Return all paths within a registry as git has them; ``None`` where it cannot be asked."""
    try:
        layout, _ = locate(root)
        return {layout.registry_path(path) for path in read_index(GitProgram(layout.worktree, os.environ))}
    except RegistryGitError:
        return None


def files_left_out(root: Path, path: str) -> dict[str, bytes | Refusal]:
    """Return the files at or below a path that a sparse checkout leaves out."""
    found: dict[str, bytes | Refusal] = {}
    try:
        layout, repository = locate(root)
        entries = read_index(GitProgram(layout.worktree, os.environ), [layout.repository_path(path)])
        for place, entry in entries.items():
            if entry.left_out and "/." not in f"/{layout.registry_path(place)}":
                plain = entry.mode in PLAIN_MODES
                refused = BlobReference(entry.blob, 0, entry.mode).refusal
                content = read_blob(repository.odb, entry.blob, MAX_FILE_BYTES) if plain else Refusal(refused)
                found[layout.registry_path(place)] = content
    except RegistryGitError:
        return {}
    return found
