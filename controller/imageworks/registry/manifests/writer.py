"""How a new manifest is written: one value a line, and behind each a comment that says what it is for."""

import json
import re
from dataclasses import dataclass
from typing import Final

from imageworks.registry.documents.schema import load_schema

SCHEMA_COPY: Final = ".schemas/manifest.schema.json"
COMMENTS_AT: Final = 40  # columns
SHOWN: Final = 160  # characters of a value in a comment
_BLANK_LETTERS: Final = "\u115f\u1160\u3164\uffa0"  # letters by their class, and nothing to the eye
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Line:
    """A field of a manifest: its text, its value, and what it is for.

    Args:
        key: The field.
        value: What it holds, in JSON's data model.
        comment: What it is for; empty where the line needs none.
        inside: Whether it belongs to the mapping above it.
    """

    key: str
    value: object
    comment: str = ""
    inside: bool = False

    def render(self) -> str:
        """Return the line."""
        key = self.key if _PLAIN_KEY.fullmatch(self.key) else json.dumps(self.key, ensure_ascii=False)
        text = f"{'  ' if self.inside else ''}{key}: {json.dumps(self.value, ensure_ascii=False)}"
        return f"{text:<{COMMENTS_AT - 1}} # {self.comment}" if self.comment else text


def modeline(*, copied: bool) -> str:
    """Return the first line of a manifest, by which editors check it."""
    schema = f"../{SCHEMA_COPY}" if copied else str(load_schema("manifest")["$id"])
    return f"# yaml-language-server: $schema={schema}"


def comment(text: str) -> str:
    """Return a text as a comment: on one line, with nothing in it that a reader cannot see, and not too long."""
    seen = "".join(c if c.isprintable() and c not in _BLANK_LETTERS else " " if c.isspace() else "?" for c in text)
    return f"# {seen if len(seen) <= SHOWN else seen[: SHOWN - 1] + '…'}"


def suggestion(text: str, why: str) -> str:
    """Return a line that a person may take the comment sign away from."""
    return f"{'# ' + text:<{COMMENTS_AT - 1}} # {why}"
