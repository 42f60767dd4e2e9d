"""Commit messages: writing and reading the trailers at their end."""

import re
from collections.abc import Mapping
from typing import Final

RECONCILED_REVISION: Final = "Reconciled-Revision"
HOST: Final = "Host"
MIGRATED: Final = "Migrated-From"
_TRAILER: Final = re.compile(r"^([A-Za-z][A-Za-z0-9-]*): ?(.*)$")


def with_trailers(message: str, trailers: Mapping[str, str]) -> str:
    """Return a message with trailers as its last paragraph, ending in one newline."""
    text = message.replace("\0", "").strip("\n")
    lines = [f"{key}: {' '.join(value.split())}" for key, value in trailers.items()]
    return "\n\n".join(filter(None, [text, "\n".join(lines)])) + "\n"


def read_trailers(message: str) -> dict[str, str]:
    """Return the trailers of a message; the last of a key wins, and a first paragraph is never one of trailers."""
    paragraphs = message.strip().split("\n\n")
    if len(paragraphs) < 2:  # noqa: PLR2004 # a subject and something after it
        return {}
    lines = paragraphs[-1].strip().split("\n")
    matches = [_TRAILER.match(line) for line in lines]
    if not all(matches):
        return {}
    return {match[1]: match[2].strip() for match in matches if match is not None}
