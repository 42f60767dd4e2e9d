"""What was found out about this machine when somebody asked whether all is well."""

from dataclasses import dataclass
from enum import StrEnum


class CheckStanding(StrEnum):
    """How one thing is."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found out of one thing.

    Args:
        code: What it is, as a word that stays the same.
        standing: How it is; a note is nothing that has to change.
        message: What was seen, in one sentence.
        remedy: What to do about it; empty where nothing is to be done.
    """

    code: str
    standing: CheckStanding
    message: str
    remedy: str = ""

    def document(self) -> dict[str, str]:
        """Return it as JSON values."""
        return {
            "check": self.code,
            "standing": self.standing.value,
            "message": self.message,
            "remedy": self.remedy,
        }


def well(code: str, message: str) -> CheckResult:
    """Return that something is as it should be."""
    return CheckResult(code, CheckStanding.OK, message)


def note(code: str, message: str, remedy: str = "") -> CheckResult:
    """Return something that a person may like to know."""
    return CheckResult(code, CheckStanding.NOTE, message, remedy)


def wrong(code: str, message: str, remedy: str) -> CheckResult:
    """Return something that has to change."""
    return CheckResult(code, CheckStanding.WRONG, message, remedy)
