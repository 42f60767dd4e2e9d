"""A registry as it stands in one commit, behind the same interface as the one on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.git.repository import RegistryRepository
from imageworks.git.values import BlobReference, UnsafePathError
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.documents.json_reader import MAX_BYTES as MAX_FILE_BYTES
from imageworks.registry.reader import Files

MANY: Final = 2_000
"""Of more files than that, what libgit2 keeps is freed and texts of entries are packed; fewer are not worth it."""


@dataclass(frozen=True, slots=True)
class RevisionReader:
    """A registry at a commit; a :class:`~imageworks.registry.reader.RegistryReader`.

    Args:
        repository: The registry's repository.
        revision: Commit id; ``None`` (an unborn branch) reads as empty.
    """

    repository: RegistryRepository
    revision: str | None

    def file(self, path: str) -> bytes | Refusal | None:
        """Return one file's content by its path within the registry; ``None`` when there is none."""
        reference = self.repository.find_file(self.revision, path)
        return None if reference is None else self.content(reference)

    def plain(self, path: str) -> bytes | None:
        """Return one file's content; ``None`` also for what is refused: a link, a submodule, a huge file."""
        content = self.file(path)
        return content if isinstance(content, bytes) else None

    def files(self, folder: str) -> Mapping[str, bytes | Refusal]:
        """Return the files anywhere below a folder, by their ``/``-separated paths within the registry."""
        try:
            listed = sorted(self.repository.unsized_files(self.revision, folder))
        except UnsafePathError:
            return {folder: Refusal("a symbolic link", "put a plain folder in its place")}
        start = len(folder) + 1 if folder else 0
        shown = {path: one for path, one in listed if path[start] != "." and "/." not in path[start:]}
        return Files(shown, lambda one: self.content(self.repository.reference(one.id, one.mode)))

    def content(self, reference: BlobReference) -> bytes | Refusal:
        """Return a listed file's content."""
        if reference.refusal:
            return Refusal(reference.refusal)
        if reference.size > MAX_FILE_BYTES:
            return Refusal(f"{reference.size} bytes long", f"keep it within {MAX_FILE_BYTES} bytes")
        return next(self.repository.read_blobs((reference,)))[1]
