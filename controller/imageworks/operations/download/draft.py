"""What a person asks a download for, and what would be declared for it."""

import re
from dataclasses import dataclass
from typing import Final

from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.naming.hub_identifiers import HubIdentifier
from imageworks.operations.download.analyze import Analysis
from imageworks.providers.named_source import NamedSource
from imageworks.providers.selection.model import LeftOut
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import FOLDER
from imageworks.registry.validate import name_problem

ROLE: Final = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,62}")  # as the schema has it


class DeclareError(ImageworksError):
    """A model cannot be declared as asked."""


def check_name(name: str) -> None:
    """Refuse a name that no manifest can have."""
    problem = name_problem(f"{FOLDER}/{name.replace('/', ' ')}.yaml")
    if problem is not None:
        raise UsageError(f"--name {name}: no model can be called so", remedy=problem.remedy)


def called_otherwise(known: str, asked: str, *, declared: bool) -> DeclareError:
    """Return why a model that has a name here gets no second one."""
    how = "declared" if declared else "recorded"
    rename = f"give models/{known}.yaml the new name, with `previously: [{known}]` in it" if declared else "promote it"
    return DeclareError(f"this model is {how} as {known} already", remedy=f"Leave --name {asked} out, or {rename}.")


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """What a person asks for.

    Args:
        identifier: The repository, with the revision and the quantization that were named with it; or another source.
        formats: Acceptable formats, the preferred one first; any when empty.
        quantization: Which one of several.
        backend: What is to serve it.
        roles: What it is to be used for.
        location: A location's name or a path, as a manifest has it.
        optional: Whether documents, pictures and examples are wanted too.
        force: Whether to move the pin and to read every byte again.
        preferred: Which formats this host takes first of several, where none is asked for.
        include: Globs: of weights and data exactly these.
        exclude: Globs: these do not come.
        weights: Globs over weights: exactly these, with everything that is not weights.
        name: What it is to be called; the name that follows from the repository if none.
        compare: Whether quantizations are offered with the memory that they need, which reads a header.
    """

    identifier: HubIdentifier | NamedSource
    formats: tuple[str, ...] = ()
    quantization: str | None = None
    backend: str | None = None
    roles: tuple[str, ...] = ()
    location: str | None = None
    optional: bool = False
    force: bool = False
    preferred: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    name: str | None = None
    compare: bool = False

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)
        for role in self.roles:
            if not ROLE.fullmatch(role):
                remedy = "Write it with letters, digits, - and _, such as `--role caption`."
                raise UsageError(f"--role {role}: no role can be called so", remedy=remedy)

    @property
    def hub(self) -> HubIdentifier:
        """The repository; to be asked only where one was named."""
        assert isinstance(self.identifier, HubIdentifier)  # noqa: S101 # `propose` sees to other sources
        return self.identifier


@dataclass(frozen=True, slots=True)
class DeclarationDraft:
    """What would be declared.

    Args:
        name: The variant name.
        file: The manifest's registry path.
        content: The manifest's bytes.
        analysis: What the repository is; ``None`` for a source that has no listing.
        entry: What is recorded under that name.
        installed: Whether the recorded files are there and unchanged.
        changed: Whether the manifest is new or not as it was.
        notes: What a person should know.
        beside: What to do where another model of the repository claims the same folder.
        label: The quantization that was chosen of several, if there was a choice.
        left_out: The repository's files that are not chosen, with the reason.
    """

    name: str
    file: str
    content: bytes
    analysis: Analysis | None
    entry: Entry | None
    installed: bool
    changed: bool
    notes: tuple[str, ...] = ()
    beside: str | None = None
    label: str | None = None
    left_out: tuple[LeftOut, ...] = ()
