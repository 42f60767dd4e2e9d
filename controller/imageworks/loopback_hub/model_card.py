"""What a model card's front matter says, in the form in which a hub tells it with a model."""

from imageworks.detection.formats.readme import front_matter
from imageworks.loopback_hub.content import Snapshot

CARD_BYTES = 1024 * 1024
Card = dict[str, str | list[str]]


def read_card(snapshot: Snapshot) -> Card:
    """Return the well-known fields of README.md's front matter."""
    readme = snapshot.files.get("README.md")
    if readme is None or readme.size > CARD_BYTES:
        return {}
    return parse_card(readme.content.read().decode(errors="replace"))


def parse_card(text: str) -> Card:
    """Return the well-known fields that say something; tags are a list, and so is what is many."""
    found = {key: list(values) for key, values in front_matter(text).items() if values}
    return {key: values if key == "tags" or len(values) > 1 else values[0] for key, values in found.items()}


def text_of(card: Card, key: str) -> str | None:
    """Return a field that is one text, or the first of a list."""
    return next(iter(texts_of(card, key)), None)


def texts_of(card: Card, key: str) -> list[str]:
    """Return a field that is a list of texts; one text counts as a list of one."""
    value = card.get(key, [])
    return value if isinstance(value, list) else [value]
