"""What people name that is no repository of the hub: a source as a manifest has it, and what the model is called."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A source that somebody named in a few words.

    Args:
        fields: What stands below ``source:``, the provider's key first.
        name: The variant name that the model gets.
        backend: What serves it where nobody says.
        declared: What else a manifest says of it, such as its quantization.
        comment: What a person should know of the source, behind its line in the manifest.
        placed: Whether its files go to a location of this host.
    """

    fields: Mapping[str, object]
    name: str
    backend: str
    declared: Mapping[str, object] = field(default_factory=dict)
    comment: str = ""
    placed: bool = True

    def __str__(self) -> str:
        return str(next(iter(self.fields.values())))
