"""What can go wrong between a hub and the disk; each error carries its reason as a kebab-case word for reports."""

import errno
from pathlib import Path

from imageworks.errors import ImageworksError


class TransferError(ImageworksError):
    """A file could not be brought here, or could not be put where it belongs; other models go on.

    Args:
        message: What is wrong, naming the file.
        remedy: What to do about it.
        reason: One kebab-case word for reports, such as ``stalled`` or ``disk-full``.
    """

    def __init__(self, message: str, *, remedy: str | None = None, reason: str = "transfer-failed") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


class Aria2NotFoundError(TransferError):
    """The aria2c program is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "aria2c not found. Please install aria2c for optimal download performance.\n"
            "Ubuntu/Debian: sudo apt install aria2\n"
            "macOS: brew install aria2",
            reason="aria2c-not-found",
        )


class Aria2Error(TransferError):
    """The aria2c child does not start, does not answer, or died."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy, reason="aria2c-failed")


class DigestMismatchError(TransferError):
    """The bytes received are not the bytes announced.

    Args:
        path: The file's path in its repository.
        expected: The digest announced, in hexadecimal.
        received: The digest of what came, in hexadecimal.
    """

    def __init__(self, path: str, expected: str, received: str) -> None:
        super().__init__(
            f"{path}: digest is {received}, expected {expected}",
            remedy="the hub or something between sends wrong bytes; nothing was published, try again later",
            reason="digest-mismatch",
        )
        self.path = path
        self.expected = expected
        self.received = received


class SizeMismatchError(TransferError):
    """The length received is not the length announced.

    Args:
        path: The file's path in its repository.
        expected: The size announced, in bytes.
        received: The size of what came, in bytes.
    """

    def __init__(self, path: str, expected: int, received: int) -> None:
        super().__init__(
            f"{path}: {received} bytes came, expected {expected}",
            remedy="the hub or something between cuts or swaps the file; nothing was published, try again later",
            reason="size-mismatch",
        )
        self.expected = expected
        self.received = received


class DiskFullError(TransferError):
    """The filesystem of the staging area has no room left.

    Args:
        place: The file or folder being written.
    """

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place}: no space left on the device",
            remedy="free some space and run again; the files that are complete are kept",
            reason="disk-full",
        )


class StalledError(TransferError):
    """Not one byte came for too long, again and again.

    Args:
        path: The file's path in its repository.
        seconds: How long one wait was, in seconds.
        attempts: How many waits there were.
    """

    def __init__(self, path: str, seconds: float, attempts: int) -> None:
        super().__init__(
            f"{path}: no byte came for {seconds:g} s, {attempts} times",
            remedy="check the network or the mirror and run again; what came so far is kept and resumes",
            reason="stalled",
        )


class StagingError(TransferError):
    """The staging area cannot be made, or would be on another filesystem than its target."""

    def __init__(self, message: str, *, remedy: str | None = None, reason: str = "staging-unusable") -> None:
        super().__init__(message, remedy=remedy, reason=reason)


class PublishError(TransferError):
    """A verified tree cannot be put in its place; the place is as it was."""

    def __init__(self, message: str, *, remedy: str | None = None, reason: str = "publish-failed") -> None:
        super().__init__(message, remedy=remedy, reason=reason)


class TransferCancelledError(TransferError):
    """The transfer was called off, because another file of the model failed or the program ends."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: called off", reason="cancelled")


def disk_refusal(
    error: OSError, place: Path, kind: type[TransferError], *, reason: str, subject: str = ""
) -> TransferError:
    """Return what a disk refused, in our words.

    Args:
        error: What the system said.
        place: What was being written, where the system does not say.
        kind: The error's class, unless the disk is full.
        reason: The word for it, unless the disk is full or read-only.
        subject: What is said before the place.
    """
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFullError(str(error.filename or place))
    read_only = error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}
    return kind(
        f"{subject}{error.filename or place}: {error.strerror or error}",
        remedy="make the location writable, or choose another" if read_only else None,
        reason="read-only" if read_only else reason,
    )
