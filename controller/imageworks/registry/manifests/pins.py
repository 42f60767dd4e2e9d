"""Move the pin of a manifest that people wrote: the commit, and the note of where it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from imageworks.registry.documents.document import JsonValue, Pointer
from imageworks.registry.documents.yaml_edit import NOTE, comment_behind
from imageworks.registry.documents.yaml_spans import parse_spans
from imageworks.registry.manifests.edit import Keys, edit_manifest

MAIN: Final = "main"
SOURCE: Final = "source"
KEYS: Final[Mapping[str, str]] = {"huggingface": "revision", "ollama": "digest"}
"""The key of a pin, by the key of what is pinned."""
_REVISION: Final[Pointer] = ("source", "revision")


@dataclass(frozen=True, slots=True)
class Pin:
    """What a pin becomes.

    Args:
        commit: 40 hexadecimal digits; for Ollama ``sha256:`` and 64.
        ref: The branch or tag that it is taken from; empty where the name that is pinned says it.
        day: When it is taken.
        branch: Whether the manifest says the ref as ``branch`` too, for the name of the model's folder.
    """

    commit: str
    ref: str
    day: date
    branch: bool = False

    @property
    def note(self) -> str:
        """The comment behind the commit."""
        return f"{self.ref}, {self.day.isoformat()}" if self.ref else self.day.isoformat()


def noted_ref(file: str, data: bytes) -> str | None:
    """Return the branch or tag that the comment behind a pin names; ``None`` without such a comment."""
    span = parse_spans(data, file).values.get(_REVISION)
    if span is None:
        return None
    comment, _ = comment_behind(data.decode(), span)
    match = NOTE.match(comment)
    return match["ref"] if match else None


def repin(file: str, data: bytes, pin: Pin) -> bytes:
    """Return a manifest's bytes with another pin."""
    values = parse_spans(data, file).values
    kind = next((kind for kind in KEYS if (SOURCE, kind) in values), "huggingface")
    place, branch = (SOURCE, KEYS[kind]), (SOURCE, "branch")
    changes: dict[Keys, JsonValue] = {place: pin.commit}
    if pin.branch:
        changes[branch] = pin.ref
    behind: dict[Keys, Pointer] = {place: (SOURCE, kind), branch: place}
    return edit_manifest(file, data, changes, comments={place: pin.note}, behind=behind)
