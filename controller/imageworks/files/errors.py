"""What can go wrong between a hub and the disk; each error carries its reason as a kebab-case word for reports."""

import errno
from pathlib import Path
from typing import ClassVar

from imageworks.foundation.errors import ImageworksError


class TransferError(ImageworksError):
    """A file could not be brought here, or could not be put where it belongs; other models go on."""

    usual_reason: ClassVar[str] = "transfer-failed"

    def __init__(self, message: str, *, remedy: str | None = None, reason: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason or self.usual_reason


class Aria2NotFoundError(TransferError):
    """The aria2c program is not installed; said as the earlier tool said it."""

    verbatim = True
    usual_reason = "aria2c-not-found"

    def __init__(self) -> None:
        super().__init__(
            "aria2c not found. Please install aria2c for optimal download performance.\n"
            "Ubuntu/Debian: sudo apt install aria2\n"
            "macOS: brew install aria2",
        )


class Aria2Error(TransferError):
    """The aria2c child does not start, does not answer, or died."""

    usual_reason = "aria2c-failed"


class DigestMismatchError(TransferError):
    """The bytes received are not the bytes announced."""

    usual_reason = "digest-mismatch"

    def __init__(self, path: str, expected: str, received: str) -> None:
        super().__init__(
            f"{path}: digest is {received}, expected {expected}",
            remedy="the hub or something between sends wrong bytes; nothing was published, try again later",
        )
        self.path = path
        self.expected = expected
        self.received = received


class SizeMismatchError(TransferError):
    """The length received is not the length announced."""

    usual_reason = "size-mismatch"

    def __init__(self, path: str, expected: int, received: int) -> None:
        super().__init__(
            f"{path}: {received} bytes came, expected {expected}",
            remedy="the hub or something between cuts or swaps the file; nothing was published, try again later",
        )
        self.expected = expected
        self.received = received


class DiskFullError(TransferError):
    """The filesystem of the staging area has no room left."""

    usual_reason = "disk-full"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place}: no space left on the device",
            remedy="free some space and run again; the files that are complete are kept",
        )


class StalledError(TransferError):
    """Not one byte came for too long, again and again."""

    usual_reason = "stalled"

    def __init__(self, path: str, seconds: float, attempts: int) -> None:
        super().__init__(
            f"{path}: no byte came for {seconds:g} s, {attempts} times",
            remedy="check the network or the mirror and run again; what came so far is kept and resumes",
        )


class StagingError(TransferError):
    """The staging area cannot be made, or would be on another filesystem than its target."""

    usual_reason = "staging-unusable"


class PublishError(TransferError):
    """A verified tree cannot be put in its place; the place is as it was."""

    usual_reason = "publish-failed"


class TransferCancelledError(TransferError):
    """The transfer was called off, because another file of the model failed or the program ends."""

    usual_reason = "cancelled"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: called off")


def disk_refusal(
    error: OSError, place: Path, kind: type[TransferError], *, reason: str, subject: str = ""
) -> TransferError:
    """Return what a disk refused, in our words."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFullError(str(error.filename or place))
    read_only = error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}
    return kind(
        f"{subject}{error.filename or place}: {error.strerror or error}",
        remedy="make the location writable, or choose another" if read_only else None,
        reason="read-only" if read_only else reason,
    )
