"""What a transfer is given: files with their digests, where their bytes come from, and who is told of progress."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from imageworks.errors import ImageworksError
from imageworks.transfer.digests import Digest


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a model at one commit.

    Args:
        path: Its path in the repository and below the model's directory.
        size: Its size in bytes.
        digest: What its content must hash to.
        large: Stored outside git (LFS): its bytes come from a signed link that needs no credentials.
    """

    path: str
    size: int
    digest: Digest
    large: bool


NO_LINK = "link-needs-credentials"
"""The reason of a LinkError that means: there is no link that works without credentials, stream the file instead."""


class LinkError(ImageworksError):
    """A provider cannot give a link to a file, or its bytes.

    Args:
        message: What is wrong, naming the file and the host.
        remedy: What to do about it.
        retryable: Whether the same request may succeed later.
        retry_after: How long the server asks to wait, in seconds.
        reason: One kebab-case word for reports.
    """

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        reason: str = "link-failed",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.retryable = retryable
        self.retry_after = retry_after
        self.reason = reason


class FileSource(Protocol):
    """What a provider gives a transfer; used from several threads at once."""

    def link(self, file: RemoteFile) -> str:
        """Return a fresh URL of a large file that needs no credentials, or raise LinkError."""
        ...

    def stream(self, file: RemoteFile, offset: int = 0) -> AbstractContextManager[Iterator[bytes]]:
        """Open a file's bytes from an offset, the provider caring for credentials; raise LinkError.

        Args:
            file: Which file.
            offset: Where to start, in bytes.
        """
        ...


class Progress(Protocol):
    """Who is told of progress; every method may be called from any thread."""

    def start(self, model: str, total_bytes: int) -> None:
        """A model begins; total_bytes are still to come."""

    def advance(self, model: str, received_bytes: int) -> None:
        """So many more bytes came; negative when bytes had to be thrown away."""

    def verify(self, model: str, hashed_bytes: int) -> None:
        """So many more bytes were hashed."""

    def note(self, model: str, text: str) -> None:
        """Something that a person would like to know, in one line."""

    def finish(self, model: str) -> None:
        """A model is complete and verified, or was given up."""


class NullProgress:
    """Tells no one."""

    def start(self, model: str, total_bytes: int) -> None:
        """Ignore it."""

    def advance(self, model: str, received_bytes: int) -> None:
        """Ignore it."""

    def verify(self, model: str, hashed_bytes: int) -> None:
        """Ignore it."""

    def note(self, model: str, text: str) -> None:
        """Ignore it."""

    def finish(self, model: str) -> None:
        """Ignore it."""
