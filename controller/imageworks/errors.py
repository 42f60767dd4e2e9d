"""The one error base of the project: subclasses carry data, the command line renders them once, at the top."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a process of ours ends with.

    2 is kept for ``--detailed-exitcode`` and means changes, nothing else; 3 is ``verify``'s and means that something
    could neither be called right nor wrong.
    """

    SUCCESS = 0
    FAILURE = 1
    CHANGES = 2
    UNVERIFIED = 3
    USAGE = 64
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class ImageworksError(Exception):
    """Something a user can act on, said in one line with its remedy.

    Args:
        message: What is wrong, naming the file, line or thing; one sentence, no trailing period needed.
        remedy: What to do about it, as an instruction; ``None`` only where the message already says so.
        exit_code: What the process ends with when nothing catches this.
    """

    def __init__(self, message: str, *, remedy: str | None = None, exit_code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.exit_code = exit_code

    def render(self) -> str:
        """Return the text a person reads: the message, and the remedy on a line of its own."""
        return self.message if self.remedy is None else f"{self.message}\n  {self.remedy}"


class UsageError(ImageworksError):
    """The command line itself is wrong; exits with 64."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy, exit_code=ExitCode.USAGE)
