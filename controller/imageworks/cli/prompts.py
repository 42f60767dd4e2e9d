"""Who is asked before something is done: whoever sits at a terminal on stdin, by questions on stderr.

Where stdin is no terminal nobody is asked, and what nobody agreed to is not done (decision 19).
"""

import sys

from imageworks.cli.output import printable
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.terminal import at_terminal

__all__ = ["NotConfirmedError", "agrees", "ask", "at_terminal", "refuse_unasked"]


class NotConfirmedError(ImageworksError):
    """Nobody agreed to what would be done."""


def ask(question: str) -> str:
    """Return what somebody types behind a question; nothing where they end the input."""
    sys.stdout.flush()  # what the question is about comes before it, also where both go to one terminal
    sys.stderr.write(printable(question) + " ")
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def agrees(question: str) -> bool:
    """Return whether somebody says yes."""
    while (answer := ask(f"{question} [y/N]:").lower()) not in {"", "n", "no", "y", "yes"}:
        pass
    return answer in {"y", "yes"}


def refuse_unasked(what: str) -> None:
    """Raise where nobody can be asked."""
    if not at_terminal():
        raise NotConfirmedError(
            f"{what}: stdin is no terminal, so nobody can be asked",
            remedy="Nothing was changed. Run it again with --yes to do it without being asked.",
        )
