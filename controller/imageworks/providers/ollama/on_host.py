"""Ollama's store on this host: what a run looks at it with, and what carries changes out through its daemon."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from imageworks.files.content_index import ollama_stores
from imageworks.foundation.isolation import InternalError, isolated
from imageworks.plan.facts import DeclaredModel, Observation, UndeclaredModel
from imageworks.plan.plan import Change
from imageworks.providers.base import Store, StoreContext
from imageworks.providers.failures import Failures
from imageworks.providers.ollama.address import written_address
from imageworks.providers.ollama.apply import OllamaApplier
from imageworks.providers.ollama.observe import OllamaObserver
from imageworks.providers.ollama.service import OllamaService
from imageworks.registry.entries.entry import Entry
from imageworks.registry.load import RegistryState


class OllamaStore(Store):
    """The store, opened when something is first asked of it."""

    def __init__(self, context: StoreContext) -> None:
        self._context = context

    @cached_property
    def look(self) -> OllamaObserver:
        """What looks at it."""
        context, environment = self._context, self._context.host.environment()

        def open_service() -> OllamaService:
            service = OllamaService.from_environment(environment, offline=context.offline)
            context.closing.callback(service.close)
            return service

        return OllamaObserver(
            open_service,
            state=context.state,
            disk=context.disk,
            places=context.places,
            content=context.content,
            stores=ollama_stores(environment),
            offline=context.offline,
            writable=not context.read_only,
            told=context.told,
        )

    @cached_property
    def hands(self) -> OllamaApplier:
        """What changes it."""
        context = self._context
        return OllamaApplier(
            self.look.provider,
            state=context.state,
            intents=context.intents,
            progress=context.progress,
            written=written_address(context.host.environment()),
        )

    def observe(
        self,
        cases: list[DeclaredModel],
        speaking: Collection[str],
        registry: RegistryState,
        announced: Mapping[str, Path],
        failed: Failures,
    ) -> list[DeclaredModel]:
        """Return all cases in their order, those that speak of Ollama with what it has of them."""
        look = self.look
        look.begin(registry.applied, registry.entries.values(), announced)
        seen = failed.without(cases, lambda case: look.case(case) if case.manifest.name in speaking else case)
        try:
            with isolated("Ollama"):
                return look.ask(seen)
        except InternalError:  # one after the other, then, so that only those fail with which it happens
            return failed.without(seen, lambda case: look.ask([case])[0])

    def observe_entry(self, entry: Entry) -> Observation | None:
        """Return how a recorded model stands in Ollama; ``None`` when that cannot be said."""
        return self.look.observe(entry)

    def orphan(self, orphan: UndeclaredModel) -> UndeclaredModel:
        """Return a recorded model that nobody declares, with what Ollama has of it."""
        return self.look.orphan(orphan)

    def notes(self) -> Sequence[str]:
        """Return what fills the stores of this host and belongs to no model, a line for each."""
        return self.look.leftovers

    def distrust(self, entry: Entry) -> None:
        """Take blobs for damaged that somebody read."""
        self.look.distrust(entry)

    def expect(self, names: Iterable[str]) -> None:
        """Learn which entries go in this run."""
        self.hands.expect(names)

    def apply(self, change: Change, case: DeclaredModel | None, entries: Mapping[str, Entry]) -> Entry | None:
        """Carry out one change and return the entry to record; ``None`` when the entry goes."""
        return self.hands.carry_out(change, case, entries)

    def complete(self, case: DeclaredModel, entry: Entry) -> Entry:
        """Give files that have just been brought to Ollama, and return the entry that says so."""
        return self.hands.offer_brought(case, entry)

    def withdraw(self, entry: Entry) -> None:
        """Remove from Ollama what it was given of a model's files."""
        self.hands.withdraw(entry)

    def cancel(self) -> None:
        """Call off what is under way; what came of a pull so far serves the next."""
        if "hands" in self.__dict__:
            self.hands.cancel()
