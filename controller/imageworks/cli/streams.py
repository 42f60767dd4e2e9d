"""stdout and stderr that take every text: what an encoding lacks becomes a plain sign, or an escape."""

import codecs
import io
import os
import select
import sys
from typing import Final

PLAIN: Final = "imageworks-plain"
ESCAPED: Final = "imageworks-escaped"
_SIGNS: Final = {
    "✅": "[ok]",
    "❌": "[failed]",
    "⚠": "[!]",
    "✓": "y",
    "✗": "n",
    "→": "->",
    "…": "...",
    "¦": "|",
    "•": "*",
    "━": "-",
    "─": "-",
    "\ufe0f": "",
    **dict.fromkeys("📁🗂🔧💾📄🧩💬", "-"),
}
"""The signs of our own, and what stands for them."""


def open_closed_streams() -> None:
    """Let a standard stream that was closed for us (`>&-`, some launchers) be one to nowhere.

    Else the next file of ours gets its number, and what a child prints there goes into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which gets the lowest free number, and children get it too
            os.set_inheritable(number, True)  # noqa: FBT003 # what it is
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def reader_left() -> bool:
    """Return whether nobody reads what is printed any more."""
    watched = select.poll()
    for number in (1, 2):
        watched.register(number, 0)
    return any(told & (select.POLLERR | select.POLLHUP) for _, told in watched.poll(0))


def prepare_streams() -> None:
    """Let nothing that is printed end a command for its encoding: a terminal may be of any, a file's name of none."""
    codecs.register_error(PLAIN, lambda error: _replaced(error, _SIGNS))
    codecs.register_error(ESCAPED, lambda error: _replaced(error, {}))
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, PLAIN), (sys.stderr, PLAIN)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def escaped(document: str) -> str:
    """Return a JSON document that stdout's encoding can hold; escapes leave it the same document."""
    if document.isascii() or not isinstance(sys.stdout, io.TextIOWrapper) or sys.stdout.errors != PLAIN:
        return document
    encoding = sys.stdout.encoding
    return document.encode(encoding, ESCAPED).decode(encoding)


def _replaced(error: UnicodeError, signs: dict[str, str]) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(signs.get(one, _escape(one)) for one in lacking), error.end


def _escape(character: str) -> str:
    """Return a character as JSON writes it, which people read as well."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
