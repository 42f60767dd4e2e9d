"""Lists of words that callers of the public functions give."""

from collections.abc import Iterable


def several(words: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the words as a tuple; a text is one word, not its letters.

    Args:
        words: One, several, or none.
    """
    return (words,) if isinstance(words, str) else tuple(words or ())
