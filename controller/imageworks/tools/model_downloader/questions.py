"""What a download may ask a person, and what it does where nobody can be asked."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from imageworks.foundation.errors import ImageworksError
from imageworks.operations.download.draft import DownloadRequest
from imageworks.operations.download.request import declared_location
from imageworks.providers.selection.model import QuantChoice

USE: Final = "use"
AGAIN: Final = "again"
ELSEWHERE: Final = "elsewhere"

Told = Callable[[str], None]
"""Gets one line that a person should know."""


Lines = Callable[[Sequence[QuantChoice], str | None], Sequence[str]]
"""Lists quantizations, a line each, given them and the one that is usually taken."""


class ChoiceError(ImageworksError):
    """Something is left open, and nobody can be asked."""


class Questions(Protocol):
    """Whom a download asks: somebody at a terminal, or a program's own window."""

    def quantization(self, choices: Sequence[QuantChoice], proposed: str | None) -> str:
        """Return the label of the quantization to take.

        Args:
            choices: What there is, with sizes.
            proposed: What is usually taken, if it is among them.
        """
        ...

    def existing(self, name: str, path: Path | None) -> str:
        """Return ``use``, ``again``, or the location or path to put another copy in.

        Args:
            name: The model that is here already.
            path: Where it is.
        """
        ...


def exact_size(size: int) -> str:
    """Return a size in bytes, as ``1,234 bytes``."""
    return f"{size:,} bytes"


def take_proposed(
    choices: Sequence[QuantChoice], proposed: str | None, told: Told, *, size: Callable[[int], str] = exact_size
) -> str:
    """Return the usual quantization of several, where nobody is asked.

    Args:
        choices: What there is.
        proposed: What is usually taken, if it is among them.
        told: Gets what was decided.
        size: How a size is written.

    Raises:
        ChoiceError: None of them is the usual one.
    """
    if proposed is None:
        listed = ", ".join(f"{choice.label} ({size(choice.size)})" for choice in choices)
        raise ChoiceError(f"there are {len(choices)} quantizations", remedy=f"Choose one with --quant: {listed}.")
    told(f"of {len(choices)} quantizations {proposed} is taken; --quant chooses another")
    return proposed


class NobodyToAsk:
    """Decides as usual what is left open: a model that is here is used, of quantizations the usual one is taken.

    Args:
        told: Gets what was decided.
        why: Why nobody is asked, where the caller expected it; said before the first decision.
    """

    def __init__(self, told: Told, *, why: str | None = None) -> None:
        self._told = told
        self._why = why

    def quantization(self, choices: Sequence[QuantChoice], proposed: str | None) -> str:
        """Return the usual quantization."""
        self._explain()
        return take_proposed(choices, proposed, self._told)

    def existing(self, name: str, path: Path | None) -> str:
        """Return that the model is used as it is."""
        self._explain()
        self._told(f"{name} is used as it is at {path}")
        return USE

    def _explain(self) -> None:
        if self._why is not None:
            self._told(self._why)
        self._why = None


class TerminalQuestions:
    """Asks on the terminal: questions on stderr, answers from stdin.

    Args:
        size: How a size is written.
        lines: How quantizations are listed, numbered from 1; with their sizes when absent.
    """

    def __init__(self, *, size: Callable[[int], str] = exact_size, lines: Lines | None = None) -> None:
        self._size = size
        self._lines = lines or self._plain

    def quantization(self, choices: Sequence[QuantChoice], proposed: str | None) -> str:
        """Return the label that somebody chose from a list with sizes."""
        _write(f"There are {len(choices)} quantizations:\n")
        for line in self._lines(choices, proposed):
            _write(f"  {line}\n")
        labels = {choice.label: choice.label for choice in choices}
        labels |= {str(number): choice.label for number, choice in enumerate(choices, 1)}
        return _choose("Which one", labels, default=proposed)

    def _plain(self, choices: Sequence[QuantChoice], proposed: str | None) -> list[str]:
        return [
            f"{number:>2}  {choice.label:<10} {self._size(choice.size):>10}"
            + ("  (proposed)" if choice.label == proposed else "")
            for number, choice in enumerate(choices, 1)
        ]

    def existing(self, name: str, path: Path | None) -> str:
        """Return what somebody wants to become of a model that is here already."""
        _write(f"{name} is already here: {path or ''}\n")
        words = {"u": USE, "use": USE, "r": AGAIN, "e": ELSEWHERE}
        answer = _choose("[u]se it, [r]e-download it, or keep it [e]lsewhere", words, default="u")
        return _read("Location or path: ") if answer == ELSEWHERE else answer


def answered(wish: DownloadRequest, answer: str, label: str | None) -> DownloadRequest:
    """Return what is wished once somebody said what is to become of a model that is here already.

    Args:
        wish: What was asked for.
        answer: What ``existing`` returned.
        label: The quantization that was chosen before; nobody is asked for it again.
    """
    if answer == USE:
        return wish
    wish = replace(wish, quantization=label or wish.quantization)
    return replace(wish, force=True) if answer == AGAIN else replace(wish, location=declared_location(answer))


def _choose(question: str, answers: Mapping[str, str], *, default: str | None) -> str:
    while True:
        given = _read(f"{question}{f' [{default}]' if default else ''}: ").lower() or default or ""
        if given in answers:
            return answers[given]
        _write(f"one of: {', '.join(answers)}\n")


def _read(question: str) -> str:
    _write(question)
    line = sys.stdin.readline()
    if not line:
        raise ChoiceError("nobody answered", remedy="Name what you want, or run it without questions.")
    return line.strip()


def _write(text: str) -> None:
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    sys.stderr.write(shown)
    sys.stderr.flush()
