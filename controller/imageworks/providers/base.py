"""What a provider is: a kind of source for models, or a place where models are kept."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from imageworks.files.artifact import LinkError
from imageworks.files.content_index import ContentIndex
from imageworks.files.progress import Progress
from imageworks.files.state import StateDatabase
from imageworks.host.settings import HostSettings
from imageworks.plan.facts import DeclaredModel, Observation, UndeclaredModel
from imageworks.plan.plan import Change
from imageworks.plan.updates import Age, Followed, ModelUpdate
from imageworks.plan.verification import Fault
from imageworks.providers.disk import DiskObserver
from imageworks.providers.failures import Failures
from imageworks.providers.locations import HostLocations
from imageworks.providers.named_source import NamedSource
from imageworks.providers.publish_intents import PublishJournal
from imageworks.providers.upstream import SourceResolver
from imageworks.registry.entries.entry import Entry
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import Manifest
from imageworks.registry.manifests.writer import Line

Decided = Sequence[tuple[DeclaredModel, Change | None]]
"""Each declared model with what it needs."""


class Provider(Protocol):
    """How plans are made of one kind of source. Pure: nothing here touches the world.

    A provider decides about the models whose manifest names it as their source, and about those that only it can
    remove. It may complete what another decides, where a model of that is to be known to it too.
    """

    name: str
    """The key under ``source:`` in manifests, and what entries call it."""

    def named(self, text: str, sha256: str | None) -> NamedSource | None:
        """Return the source that somebody names by a text, ``None`` where it is none of this provider's.

        Args:
            text: What was written or pasted.
            sha256: The digest that was given with it.

        Raises:
            ImageworksError: It is one, and lacks something.
        """
        del text, sha256
        return None

    def taken_over(self, wanted: Sequence[Manifest], free: Mapping[str, Entry]) -> Mapping[str, str]:
        """Return declared models that stand recorded under another name, with that name.

        Args:
            wanted: Declared models that nothing is recorded of under their own names.
            free: Recorded models that no manifest names.
        """
        del wanted, free
        return {}

    def decide(self, case: DeclaredModel) -> Change | None:
        """Return what a declared model needs, or ``None`` when it is as declared.

        Args:
            case: Everything known of it.
        """
        ...

    def complete(self, case: DeclaredModel, change: Change | None) -> Change | None:
        """Return what another provider decided, with what follows from it for this one.

        Args:
            case: Everything known of the model.
            change: What it needs.
        """
        del case
        return change

    def adjust(self, decided: Decided) -> Decided:
        """Return what was decided, with what several models together make of it.

        Args:
            decided: Each declared model with what it needs.
        """
        return decided

    def notes(self, cases: Sequence[DeclaredModel]) -> Sequence[str]:
        """Return what a person should know of the declared models, a line each.

        Args:
            cases: Everything known of them.
        """
        del cases
        return ()

    def removal(self, orphan: UndeclaredModel, reason: StrEnum, message: str, shared: frozenset[str]) -> Change:
        """Return the removal of a model that no manifest declares any more.

        Args:
            orphan: What is known of it.
            reason: Why it goes.
            message: Why, as a sentence.
            shared: Its files that stay, because others own them too.
        """
        ...

    def complete_removal(self, orphan: UndeclaredModel, change: Change) -> Change:
        """Return the removal that another provider decided, with what leaves this one too.

        Args:
            orphan: What is known of the model.
            change: Its removal.
        """
        del orphan
        return change

    def follows(self, manifest: Manifest, entry: Entry | None, committed: Callable[[], bytes]) -> Followed | str:
        """Return the name that a declared model follows upstream, or what is said of one that follows nothing.

        Args:
            manifest: What is declared.
            entry: What is recorded.
            committed: Gives the manifest's bytes, with people's comments.
        """
        del entry, committed
        return f"{manifest.source.label if manifest.source is not None else 'no source'} has no pin"

    def newest(self, followed: Followed, sources: SourceResolver) -> str:
        """Return the commit or digest that a followed name leads to now.

        Args:
            followed: What `follows` returned.
            sources: Reaches what answers for it.

        Raises:
            LinkError: It cannot be asked.
        """
        del sources
        raise LinkError(f"{followed.repo} is followed nowhere", reason="not-followed")

    def update(self, followed: Followed, age: Age, sources: SourceResolver) -> ModelUpdate:
        """Return how a model that follows a name stands against it.

        Args:
            followed: What `follows` returned.
            age: How old what it moves to must be.
            sources: Reaches what answers for it.

        Raises:
            LinkError: It cannot be asked.
        """
        del age, sources
        return followed.unknown()

    def source_lines(self, entry: Entry) -> Sequence[Line]:
        """Return how a manifest names where a recorded model came from; nothing where that is not known.

        Args:
            entry: What is recorded.
        """
        del entry
        return ()

    def judged_elsewhere(self, change: Change, manifest: Manifest, entry: Entry | None) -> Change | str | None:
        """Return a blocked change of another host as far as records alone can judge it.

        Args:
            change: Why the model is blocked when it is looked at from here.
            manifest: What is declared.
            entry: What that host recorded.

        Returns:
            What that host would do, ``None`` for nothing; or the words for what only it can look at.
        """
        del manifest, entry
        return change

    def damage(self, entry: Entry, observation: Observation) -> tuple[StrEnum, str]:
        """Return what is said of a recorded model that nobody declared and that is not as recorded.

        Args:
            entry: What is recorded.
            observation: How it stands.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoreContext:
    """What a store is reached and looked at with.

    Args:
        host: This host's settings.
        state: What this host remembers.
        disk: Files on this host.
        places: Locations on this host.
        content: Bytes that are already here.
        intents: What is about to be brought.
        progress: Who is told how far it is.
        told: Hears what a person should know of the plan.
        closing: Closes what was opened, when the run ends.
        offline: Whether the network may not be used.
        read_only: Whether nothing may be written, anywhere.
    """

    host: HostSettings
    state: StateDatabase
    disk: DiskObserver
    places: HostLocations
    content: ContentIndex
    intents: PublishJournal
    progress: Progress
    told: Callable[[str], None]
    closing: ExitStack
    offline: bool
    read_only: bool


class Store(Protocol):
    """A store of another program on this host, which brings and removes what is in it; used from several threads."""

    def observe(
        self,
        cases: list[DeclaredModel],
        speaking: Collection[str],
        registry: RegistryState,
        announced: Mapping[str, Path],
        failed: Failures,
    ) -> list[DeclaredModel]:
        """Return all cases in their order, those that speak of the store with what it has of them.

        Args:
            cases: Declared models.
            speaking: The names of those that speak of it.
            registry: What is declared and recorded.
            announced: What was about to be brought when a run was killed.
            failed: Takes those that cannot be looked at, which are left out.
        """
        ...

    def observe_entry(self, entry: Entry) -> Observation | None:
        """Return how a recorded model stands in the store; ``None`` when that cannot be said."""
        ...

    def orphan(self, orphan: UndeclaredModel) -> UndeclaredModel:
        """Return a recorded model that nobody declares, with what the store has of it."""
        ...

    def notes(self) -> Sequence[str]:
        """Return what a person should know of the store, a line each."""
        ...

    def distrust(self, entry: Entry) -> None:
        """Take files for damaged that somebody read, though they look unchanged.

        Args:
            entry: What is recorded, with the damaged files alone.
        """
        ...

    def expect(self, names: Iterable[str]) -> None:
        """Learn which entries go in this run: of one model, those that stay keep it.

        Args:
            names: Their variant names.
        """
        ...

    def apply(self, change: Change, case: DeclaredModel | None, entries: Mapping[str, Entry]) -> Entry | None:
        """Carry out one change and return the entry to record; ``None`` when the entry goes.

        Args:
            change: What was planned.
            case: What is known of a declared model.
            entries: What is recorded, by name.

        Raises:
            ImageworksError: It could not be done as planned; the model that stood before still does.
        """
        ...

    def complete(self, case: DeclaredModel, entry: Entry) -> Entry:
        """Take files that have just been brought, and return the entry that says so.

        Args:
            case: The declared model.
            entry: What is recorded of its files.

        Raises:
            ImageworksError: The store did not take them; its ``entry`` is what is recorded all the same.
        """
        ...

    def withdraw(self, entry: Entry) -> None:
        """Remove what the store was given of a model's files, where it still is just that."""
        ...

    def cancel(self) -> None:
        """Call off what is under way."""
        ...


class StoreLeftover(Protocol):
    """What fills a store and belongs to no model."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        ...

    @property
    def size(self) -> int:
        """Bytes that it takes on the disk."""
        ...

    @property
    def modified(self) -> float:
        """When it was last written, in seconds since 1970."""
        ...

    @property
    def kept_because(self) -> str | None:
        """Why it must not be removed now; ``None`` when it is safe to."""
        ...

    def remove(self) -> str | None:
        """Remove it and return why it is still there, ``None`` when it is gone."""
        ...


class StoreProvider(Provider, Protocol):
    """A provider that keeps the bytes of models in a store of another program."""

    title: str
    """What people call that program."""
    unreachable: StrEnum
    """The reason of what waits because the program does not answer."""

    def source_change(self, case: DeclaredModel) -> StrEnum | None:
        """Return why what is recorded is not what the source is declared to be, or ``None`` when it is.

        Args:
            case: What is declared and recorded; nothing else is known of it.
        """
        ...

    def keeps(self, entry: Entry) -> bool:
        """Return whether a recorded model's bytes are the store's to keep, whoever recorded it.

        Args:
            entry: What is recorded.
        """
        ...

    def verifier(self) -> Callable[[Entry], tuple[Fault, str] | None]:
        """Return what compares recorded models with the store's own records, and reads each store once."""
        ...

    def asked_removal(self, orphan: UndeclaredModel, reason: StrEnum) -> Change:
        """Return the removal of a model that a person asked for by name.

        Args:
            orphan: What is known of it.
            reason: Why it goes.
        """
        ...

    def how_to_free(self, entry: Entry) -> str | None:
        """Return what is said of a model whose bytes stay in the store.

        Args:
            entry: What is recorded of it.
        """
        ...

    def folder(self, environment: Mapping[str, str]) -> Path | None:
        """Return where the store is on this machine, ``None`` where it is not.

        Args:
            environment: Says where to look.
        """
        ...

    def installed(self, environment: Mapping[str, str]) -> Callable[[str], bool | None]:
        """Return what says whether the store has a model, as far as anybody can; it is asked once, at the first name.

        Args:
            environment: Says where the store is.
        """
        ...

    def leftovers(self, environment: Mapping[str, str]) -> Sequence[StoreLeftover]:
        """Return what fills the stores of this host and belongs to no model.

        Args:
            environment: Says where the stores are.
        """
        ...

    def open_store(self, context: StoreContext) -> Store:
        """Return the store on this host.

        Args:
            context: What it is reached and looked at with.
        """
        ...
