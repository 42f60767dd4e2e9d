"""Words: lists of them that callers give, and sizes for people."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_KIBI: Final = 1024
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def several(words: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the words as a tuple; a text is one word, not its letters."""
    return (words,) if isinstance(words, str) else tuple(words or ())


def commit_command(root: Path, *files: str) -> str:
    """Return what to type so that files of a registry count, as they are now."""
    git, named = f"git -C {shlex.quote(str(root))}", shlex.join(files)
    return f"{git} add {named} && {git} commit -m 'Change the registry' {named}"


def human_bytes(count: float, *, digits: int = 1) -> str:
    """Return a size in binary units, as ``1.4 GiB``."""
    size = float(abs(count))
    for unit in _UNITS:
        if size < _KIBI or unit == _UNITS[-1]:
            shown = f"{size:.0f}" if unit == "B" else f"{size:.{digits}f}"
            return f"{'-' if count < 0 else ''}{shown} {unit}"
        size /= _KIBI
    raise AssertionError(count)
