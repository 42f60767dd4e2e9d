"""What somebody probably meant by a word that is none of those that there are."""

from collections.abc import Iterable
from typing import Final

NEAR_ENOUGH: Final = 0.6
LONGEST: Final = 200  # characters that are compared


def near_words(word: str, known: Iterable[str], *, count: int = 1, cutoff: float = NEAR_ENOUGH) -> list[str]:
    """Return the known words that come nearest, best first; case makes no difference."""
    from difflib import get_close_matches  # only where something is misspelt

    by_lower = {one.lower(): one for one in known}
    return [by_lower[one] for one in get_close_matches(word.lower()[:LONGEST], by_lower, n=count, cutoff=cutoff)]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, if one is near enough."""
    return next(iter(near_words(word, known)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the question that a message ends with, if a known word is near enough."""
    near = nearest(word, known)
    return None if near is None else f"Did you mean {near!r}?"
