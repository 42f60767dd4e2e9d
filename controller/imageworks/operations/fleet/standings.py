"""How models stand on hosts by what is declared and what is recorded; nothing else is looked at."""

from collections.abc import Iterator
from functools import cached_property, partial
from typing import NamedTuple

from imageworks.detection.problems import condition_of
from imageworks.fleet.status import ModelOnHost, Standing
from imageworks.git.repository import RegistryRepository
from imageworks.operations.fleet.host_entries import HostEntries
from imageworks.operations.fleet.known_models import EntryKind, KnownModels
from imageworks.plan.facts import DeclaredModel
from imageworks.plan.plan import Reason
from imageworks.providers.dispatch import store_provider
from imageworks.providers.folder.decide import staleness
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import STORE_PROVIDERS, Entry, InvalidEntryError, is_in_store, read_entry
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import Manifest, RepositorySource, State


class _Declared(NamedTuple):
    """A manifest as it is held against entries.

    Args:
        manifest: The manifest.
        names: The names that its entry may have, each with what names the judgement of such an entry by it.
    """

    manifest: Manifest
    names: tuple[tuple[str, str], ...]


class Standings:
    """Says how models stand on hosts; what is the same on many of them is read and judged once.

    Args:
        repository: Where manifests and entries are.
        registry: What is declared, and where it was read.
        known: What was found before; what is found is added.
    """

    def __init__(self, repository: RegistryRepository, registry: RegistryState, known: KnownModels) -> None:
        self._repository = repository
        self._registry = registry
        self._known = known
        alike: dict[str, bool] = {}
        for manifest in registry.manifests.values():
            repeats = isinstance(manifest.source, RepositorySource)
            alike |= {name: repeats and alike.get(name, True) for name in (manifest.name, *manifest.previously)}
        self._entries = HostEntries(repository, known, frozenset(name for name, holds in alike.items() if holds))
        self.look_ahead = self._entries.look_ahead

    @cached_property
    def _declared(self) -> list[_Declared]:
        """The manifests by their names; made once entries were looked at, which takes the most memory."""
        ids = self._repository.listing(self._registry.revision, MODELS)
        found = []
        for manifest in sorted(self._registry.manifests.values(), key=lambda one: one.name):
            identifier = ids.get(manifest.file.rpartition("/")[2], ("", 0))[0]
            names = (manifest.name, *manifest.previously)
            judged_by = [(name, f"{name}:{manifest.name}:{identifier}") for name in names]
            found.append(_Declared(manifest, tuple(judged_by)))
        return found

    def of(self, state: RegistryState, recorded: str | None) -> Iterator[ModelOnHost]:
        """Yield how each model stands that a host has, or is to have.

        Args:
            state: What is declared for the host.
            recorded: The commit that has its entries.
        """
        kinds = self._entries.of(state.host, recorded)
        read = partial(self._entry, state.host, recorded)
        taken: set[str] = set()
        for manifest, names in self._declared:
            if manifest.hosts and not state.applies(manifest):
                continue
            name, judged_by = next(((name, by) for name, by in names if name in kinds), names[0])
            kind = kinds.get(name)
            if kind is None:
                yield _declared(manifest, None)
                continue
            taken.add(name)
            if isinstance(kind, EntryKind) and kind.judged_by == judged_by and kind.model is not None:
                yield kind.model
            else:
                yield self._judged(manifest, kind, judged_by, read(name, kind))
        for name, problems in sorted(state.blocked.items()):
            if name not in state.manifests and name not in taken:
                taken.add(name)
                entry = read(name, kinds[name]) if name in kinds else None
                found = entry if isinstance(entry, Entry) else None
                yield _on_host(name, Standing.BLOCKED, found, f"invalid-manifest: {problems[0].render()}")
        for name in sorted(kinds.keys() - taken):
            yield from _undeclared(name, read(name, kinds[name]))

    def _judged(self, manifest: Manifest, kind: EntryKind | str, judged_by: str, entry: Entry | str) -> ModelOnHost:
        found = _declared(manifest, entry)
        if isinstance(kind, EntryKind) and isinstance(entry, Entry):  # what is wrong with one names its file
            self._known.judge(kind, judged_by, found)
        return found

    def _entry(self, host: str, recorded: str | None, name: str, kind: EntryKind | str) -> Entry | str:
        """Return an entry, or what is wrong with it."""
        if isinstance(kind, str):
            return kind
        try:
            return read_entry(f"{ENTRIES}/{host}/{name}.json", self._entries.content(host, name, recorded))
        except InvalidEntryError as error:
            return error.message


def _undeclared(name: str, entry: Entry | str) -> Iterator[ModelOnHost]:
    if isinstance(entry, str):
        yield ModelOnHost(name, Standing.BLOCKED, reason=f"invalid-entry: {entry}")
    elif entry.files or entry.text("download_path"):
        yield _on_host(name, Standing.UNDECLARED, entry, _lacks(entry))


def _declared(manifest: Manifest, entry: Entry | str | None) -> ModelOnHost:
    if isinstance(entry, str):
        return ModelOnHost(manifest.name, Standing.BLOCKED, reason=f"invalid-entry: {entry}")
    return _on_host(manifest.name, *_standing(manifest, entry))


def _standing(manifest: Manifest, entry: Entry | None) -> tuple[Standing, Entry | None, str]:
    there = entry is not None and bool(entry.files or entry.text("download_path"))
    if manifest.state is State.SUSPENDED:
        return Standing.SUSPENDED, entry, ""
    if manifest.state is State.ABSENT:
        left = there and entry is not None and entry.installed_by_us
        return (Standing.LEFT_OVER, entry, "declared absent") if left else (Standing.AS_DECLARED, entry, "")
    if manifest.source is None:
        return Standing.AS_DECLARED, entry, ""
    if entry is None or not there:
        return Standing.MISSING, None, "missing"
    if entry.name != manifest.name:
        return Standing.OUTDATED, entry, f"renamed: still {entry.name} there"
    if (stale := _stale(manifest, entry)) is not None:
        return Standing.OUTDATED, entry, stale
    why = _lacks(entry)
    return Standing.INCOMPLETE if why else Standing.AS_DECLARED, entry, why


def _stale(manifest: Manifest, entry: Entry) -> str | None:
    if manifest.source is None:
        return None
    case = DeclaredModel(manifest, entry)
    if manifest.source.provider in STORE_PROVIDERS:
        found = store_provider(manifest.source.provider).source_change(case)
    else:
        found = Reason.SOURCE_CHANGED if is_in_store(entry) else staleness(case)
    return None if found is None else found.value


def _lacks(entry: Entry) -> str:
    condition = condition_of(entry.fields)
    if condition is None or condition.get("status") != "False":
        return ""
    return f"{condition.get('reason')}: {condition.get('message')}"


def _on_host(name: str, standing: Standing, entry: Entry | None, reason: str = "") -> ModelOnHost:
    if entry is None:
        return ModelOnHost(name, standing, reason=reason)
    condition = condition_of(entry.fields)
    status = condition.get("status") if condition is not None else None
    size = entry.size or entry.fields.get("download_size_bytes")
    return ModelOnHost(
        name,
        standing,
        revision=entry.revision or "",
        size=size if isinstance(size, int) else 0,
        complete={"True": True, "False": False}.get(str(status)),
        reason=reason,
    )
