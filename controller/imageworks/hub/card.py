"""The front matter of a model card: its well-known text fields, read without a YAML library."""

import re
from typing import Final

from imageworks.hub.content import Snapshot

FRONT_MATTER: Final = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
TOP_LEVEL: Final = re.compile(r"([A-Za-z_][\w-]*):(?:[ \t]+(.*?))?[ \t]*")
ITEM: Final = re.compile(r"[ \t]*-[ \t]+(.*?)[ \t]*")
TEXT_FIELDS: Final = frozenset(
    {
        "base_model",
        "datasets",
        "language",
        "library_name",
        "license",
        "license_link",
        "license_name",
        "metrics",
        "pipeline_tag",
        "tags",
    }
)
CARD_BYTES: Final = 1024 * 1024

Card = dict[str, str | list[str]]


def read_card(snapshot: Snapshot) -> Card:
    """Return the well-known fields of README.md's front matter."""
    readme = snapshot.files.get("README.md")
    if readme is None or readme.size > CARD_BYTES:
        return {}
    return parse_card(readme.content.read().decode(errors="replace"))


def parse_card(text: str) -> Card:
    """Return those of the front matter's well-known fields that are texts or lists of texts.

    Args:
        text: The whole README.
    """
    found = FRONT_MATTER.match(text)
    card: Card = {}
    key = ""
    for line in found.group(1).splitlines() if found else ():
        if (item := ITEM.fullmatch(line)) is not None and key:
            values = card.setdefault(key, [])
            if isinstance(values, list):
                values.append(_plain(item.group(1)))
        elif (field := TOP_LEVEL.fullmatch(line)) is not None:
            key, value = field.group(1), field.group(2) or ""
            if value.startswith("[") and value.endswith("]"):
                card[key] = [_plain(part.strip()) for part in value[1:-1].split(",") if part.strip()]
            elif value and value[0] not in "{|>&*!":
                card[key] = _plain(value)
        elif line.strip():
            key = ""  # a nested value: its list items are not ours
    return {key: value for key, value in card.items() if key in TEXT_FIELDS}


def text_of(card: Card, key: str) -> str | None:
    """Return a field that is one text, or the first of a list."""
    value = card.get(key)
    if isinstance(value, list):
        return value[0] if value else None
    return value


def texts_of(card: Card, key: str) -> list[str]:
    """Return a field that is a list of texts; one text counts as a list of one."""
    value = card.get(key, [])
    return value if isinstance(value, list) else [value]


def _plain(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value.partition(" #")[0].rstrip()
