"""The one error base of the project: subclasses carry data, the command line renders them once, at the top."""

import re
from enum import IntEnum
from typing import ClassVar, Final

_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


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
    """Something a user can act on, said in one line with its remedy."""

    verbatim: ClassVar = False
    """Whether it has several lines, all of them our own words."""

    def __init__(self, message: str, *, remedy: str | None = None, exit_code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.render()

    @property
    def help_code(self) -> str:
        """The word under which the documentation explains it; empty for one of no kind of its own."""
        kind = next(one for one in type(self).__mro__ if not one.__name__.startswith("_"))
        return "" if kind is ImageworksError else _WORDS.sub("-", kind.__name__.removesuffix("Error")).lower()

    def render(self) -> str:
        """Return the text a person reads: the message, and the remedy on a line of its own."""
        return self.message if self.remedy is None else f"{self.message}\n  {self.remedy}"


class UsageError(ImageworksError):
    """The command line itself is wrong; exits with 64."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy, exit_code=ExitCode.USAGE)
