"""What the page shows, as values; whoever gathers them has read everything that is needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imageworks.detection.sizes.memory import Demand
    from imageworks.plan.compare import HostPlan
    from imageworks.registry.entries.entry import ArtifactFile


@dataclass(frozen=True, slots=True)
class SourcePart:
    """Some lines of a manifest, and which commit made the last of them what it is.

    Args:
        text: The lines as written.
        commit: The commit's id; empty where none of those that were read did.
        when: When it was made.
        author: Who made it.
    """

    text: str
    commit: str = ""
    when: datetime | None = None
    author: str = ""


@dataclass(frozen=True, slots=True)
class PageModel:
    """One model of the host that is shown, as the views of all models need it.

    Args:
        name: The variant name.
        owner: Who made it.
        sync: Whether it is as declared, in one word.
        health: Whether its bytes are good, in one word.
        reason: Why not, or empty.
        wrong: Whether a person should do something about it.
        size: Bytes of its files.
        format: Container.
        backend: What serves it.
        quantization: Its label, or empty.
        parameters: How many, as people write it, or empty.
        location: The named place where it is, or its folder.
        changed: When it came here.
        roles: What it is used for.
        files: Path and size of each verified file.
        memory: What it needs, where that is known.
    """

    name: str
    owner: str
    sync: str
    health: str
    reason: str
    wrong: bool
    size: int
    format: str = ""
    backend: str = ""
    quantization: str = ""
    parameters: str = ""
    location: str = ""
    changed: datetime | None = None
    roles: tuple[str, ...] = ()
    files: tuple[tuple[str, int], ...] = ()
    memory: "Demand | None" = None


@dataclass(frozen=True, slots=True)
class PageDetails:
    """What a model's own page says besides.

    Args:
        title: The name for people.
        facts: What is known of it, by label, in the order in which it is shown.
        manifest: Its manifest, in parts; empty where it has none.
        commands: What serves it, as lines for a shell.
        notes: What is to be known before it is served.
        files: Its verified files.
        readme: Its model card, Markdown behind the front matter; empty where there is none.
        readme_cut: Whether that is only the card's beginning.
        evidence: What its description rests on.
    """

    title: str
    facts: Mapping[str, str]
    manifest: tuple[SourcePart, ...] = ()
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: "tuple[ArtifactFile, ...]" = ()
    readme: str = ""
    readme_cut: bool = False
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepChange:
    """What a commit made of one model.

    Args:
        name: The variant name; ``registry.yaml`` for the settings.
        kind: What became of it, in one word.
        host: Whose record changed; empty for what people declare.
        text: What changed, in model words.
        fields: Each changed field, with what it was and is.
        bytes: By how much the recorded bytes changed.
    """

    name: str
    kind: str
    host: str = ""
    text: str = ""
    fields: tuple[tuple[str, str, str], ...] = ()
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One commit.

    Args:
        commit: Its id.
        when: When it was made.
        author: Who made it.
        subject: Its first line.
        changes: What it made of the models.
        more: How many more models it changed.
    """

    commit: str
    when: datetime
    author: str
    subject: str
    changes: tuple[StepChange, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class HostColumn:
    """One host of the registry.

    Args:
        name: Its name.
        last: When it last recorded anything.
        labels: Its labels.
        models: The commit (short) or another word for what it has of each model, by name.
        bytes: What its records say together.
        current: Whether it is the host that is shown.
    """

    name: str
    last: datetime | None
    labels: tuple[str, ...]
    models: Mapping[str, str]
    bytes: int
    current: bool


RoleRow = tuple[str, int, bool]
"""Name, priority, and whether it can be used now."""


@dataclass(frozen=True, slots=True)
class RoleRows:
    """A role, with the models that can take it, the chosen one first.

    Args:
        role: Its name.
        rows: The models.
    """

    role: str
    rows: tuple[RoleRow, ...]


@dataclass(frozen=True, slots=True)
class ExceptionRow:
    """An exception from a rule.

    Args:
        name: The model.
        policy: The rule.
        reason: Why.
        expires: The last day on which it counts.
        over: Whether that day is past.
    """

    name: str
    policy: str
    reason: str
    expires: date | None
    over: bool


@dataclass(frozen=True, slots=True)
class FoundStore:
    """What another program keeps on this machine.

    Args:
        title: The program.
        path: Its folder.
        items: What is in it, by name, in bytes.
    """

    title: str
    path: str
    items: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SharedBytes:
    """Bytes that are here once under several names.

    Args:
        size: Bytes of one copy.
        names: Where they are: model and file, or store and file.
    """

    size: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PageFacts:
    """All that the page shows.

    Args:
        registry: What the registry is called.
        host: The host that is shown.
        commit: The commit of the registry that is shown.
        made: When the page was made.
        models: The models, by name.
        unfinished: Unfinished downloads: name, percent or nothing, bytes.
        steps: The newest commits, newest first.
        older: Whether there are more.
        hosts: The hosts.
        roles: The roles.
        rules: The rules of registry.yaml, by key, as people write them.
        exceptions: Exceptions from them.
        stores: What other programs keep here.
        shared: What is here once under several names, largest first.
        saved: Bytes that are not there a second time.
        reviews: What a pull request would change on each host, where that was asked for.
    """

    registry: str
    host: str
    commit: str
    made: datetime
    models: tuple[PageModel, ...] = ()
    unfinished: tuple[tuple[str, int | None, int], ...] = ()
    steps: tuple[Step, ...] = ()
    older: bool = False
    hosts: tuple[HostColumn, ...] = ()
    roles: tuple[RoleRows, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    exceptions: tuple[ExceptionRow, ...] = ()
    stores: tuple[FoundStore, ...] = ()
    shared: tuple[SharedBytes, ...] = ()
    saved: int = 0
    reviews: "tuple[HostPlan, ...]" = ()
