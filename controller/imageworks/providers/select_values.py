"""What choosing files works on and gives back."""

from collections.abc import Sequence
from dataclasses import dataclass

from imageworks.detect.filenames import Container, NamedFile
from imageworks.errors import ImageworksError
from imageworks.transfer.files import RemoteFile


@dataclass(frozen=True, slots=True)
class QuantChoice:
    """One quantization that a repository offers.

    Args:
        label: As a manifest's ``quantization`` names it.
        size: Of all its files, in bytes.
        files: How many files it has.
    """

    label: str
    size: int
    files: int


@dataclass(frozen=True, slots=True)
class Selection:
    """The files to have, and why not the others.

    Args:
        files: Sorted by path.
        container: How the chosen weights are packed.
        quantization: The label that the chosen weights' names say, if they say one.
        left_out: The files of the listing that are not wanted.
        warnings: What a person should know, a line each.
    """

    files: tuple[RemoteFile, ...]
    container: Container
    quantization: str | None
    left_out: tuple[RemoteFile, ...]
    warnings: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """The size of all chosen files together."""
        return sum(file.size for file in self.files)


class SelectionError(ImageworksError):
    """A listing has not what the manifest wants, or more than one thing that it could mean.

    Args:
        message: What is wrong.
        remedy: What to write instead.
        reason: One kebab-case word for plans.
        choices: The quantizations to choose from, where that is the question.
    """

    def __init__(self, message: str, *, remedy: str, reason: str, choices: Sequence[QuantChoice] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
        self.choices = tuple(choices)


@dataclass(frozen=True, slots=True)
class NamedRemote:
    """A file of the listing with what its name says.

    Args:
        file: The file.
        says: What its name says.
    """

    file: RemoteFile
    says: NamedFile

    @property
    def path(self) -> str:
        """Its path in the repository."""
        return self.file.path

    @property
    def folder(self) -> str:
        """The folder it is in, empty at the top."""
        return self.file.path.rpartition("/")[0]
