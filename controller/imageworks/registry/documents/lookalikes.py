"""Letters of other scripts that look like Latin ones: a name that holds one is not the name that people read."""

import unicodedata
from typing import Final

_LOOK: Final = dict(
    zip(
        "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0458\u0455\u0501\u051b\u051d\u04bb\u043a\u043c\u0442\u0432\u043d"
        "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0423\u0406\u0408\u0405"
        "\u03b1\u03bf\u03bd\u03b9\u03ba\u03c1\u03c4\u03c5\u03c7"
        "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
        "aeopcxyijsdqwhkmtbhABEKMHOPCTXYIJSaovikptuxABEZHIKMNOPTYX",
        strict=True,
    )
)
"""Cyrillic and Greek letters, by what they look like; full-width ones and ligatures Unicode knows by itself."""


def plain(text: str) -> str:
    """Return a text with letters that look like Latin ones, and digits of other scripts, as Latin ones."""
    known = "".join(_LOOK.get(character, character) for character in unicodedata.normalize("NFKC", text))
    return "".join(str(unicodedata.digit(c)) if not c.isascii() and c.isdigit() else c for c in known)


def odd_characters(text: str) -> str:
    """Return which characters of a text are not what they look like, such as ``U+0435 for e``; empty without any."""
    found = [(one, plain(one)) for one in dict.fromkeys(text) if not one.isascii() and plain(one).isascii()]
    return ", ".join(f"U+{ord(one):04X} for {looks}" for one, looks in found[:3])
