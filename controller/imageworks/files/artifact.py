"""What a transfer is given: files with their digests, and where their bytes come from."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from imageworks.files.digests import Digest
from imageworks.foundation.errors import ImageworksError


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
    """A provider cannot give a link to a file, or its bytes."""

    usual_reason: ClassVar[str] = "link-failed"

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.retryable = retryable
        self.retry_after = retry_after
        self.reason = reason or self.usual_reason


class FileSource(Protocol):
    """What a provider gives a transfer; used from several threads at once."""

    def link(self, file: RemoteFile) -> str:
        """Return a fresh URL of a large file that needs no credentials, or raise LinkError."""
        ...

    def stream(self, file: RemoteFile, offset: int = 0) -> AbstractContextManager[Iterator[bytes]]:
        """Open a file's bytes from an offset, the provider caring for credentials; raise LinkError."""
        ...


@runtime_checkable
class SwitchingSource(FileSource, Protocol):
    """A source that has more places than one for a file."""

    def moves_on(self, file: RemoteFile, error: ImageworksError) -> bool:
        """Tell that what was given of a file was of no use; return whether another place is asked from now on."""
        ...
