"""How models stand on hosts by what is declared and what is recorded; nothing else is looked at."""

from collections.abc import Iterable, Iterator, Mapping

from imageworks.detection.problems import condition_of
from imageworks.fleet.status import ModelOnHost, Standing
from imageworks.operations.fleet.host_entries import EntryContent
from imageworks.plan.facts import DeclaredModel
from imageworks.plan.plan import Reason
from imageworks.providers.dispatch import store_provider
from imageworks.providers.folder.decide import staleness
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import STORE_PROVIDERS, Entry, InvalidEntryError, is_in_store, read_entry
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import Manifest, RepositorySource, State


class Standings:
    """Says how models stand on hosts; what is the same on many of them is read and judged once."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        ordered = sorted(manifests, key=lambda one: one.name)
        self._declared = [(manifest, (manifest.name, *manifest.previously)) for manifest in ordered]
        self._known: dict[tuple[str, str, bytes], ModelOnHost] = {}

    def of(self, state: RegistryState, entries: Mapping[str, EntryContent | str]) -> Iterator[ModelOnHost]:
        """Yield how each model stands that a host has, or is to have.

        Args:
            state: What is declared for the host.
            entries: The content of its entries by their names; of one that is not to be read, what is wrong with it.
        """
        taken: set[str] = set()
        for manifest, names in self._declared:
            if not state.applies(manifest):
                continue
            name = next((name for name in names if name in entries), None)
            if name is None:
                yield _declared(manifest, None)
            else:
                taken.add(name)
                yield self._judged(state.host, manifest, name, entries[name])
        for name, problems in sorted(state.blocked.items()):
            if name not in state.manifests and name not in taken:
                taken.add(name)
                entry = _entry(state.host, name, entries.get(name, "not there"))
                found = entry if isinstance(entry, Entry) else None
                yield _on_host(name, Standing.BLOCKED, found, f"invalid-manifest: {problems[0].render()}")
        for name in sorted(entries.keys() - taken):
            undeclared = _entry(state.host, name, entries[name])
            if isinstance(undeclared, str):
                yield ModelOnHost(name, Standing.BLOCKED, reason=f"invalid-entry: {undeclared}")
            elif undeclared.files or undeclared.text("download_path"):
                yield _on_host(name, Standing.UNDECLARED, undeclared, _lacks(undeclared))

    def _judged(self, host: str, manifest: Manifest, name: str, content: EntryContent | str) -> ModelOnHost:
        if isinstance(content, str):
            return _declared(manifest, content)
        alike = content.alike if isinstance(manifest.source, RepositorySource) else content.data
        found = self._known.get(at := (manifest.name, name, alike))
        if found is None:
            entry = _entry(host, name, content)
            found = _declared(manifest, entry)
            if isinstance(entry, Entry):  # what is wrong with one names its file
                self._known[at] = found
        return found


def _entry(host: str, name: str, content: EntryContent | str) -> Entry | str:
    """Return an entry, or what is wrong with it."""
    if isinstance(content, str):
        return content
    try:
        return read_entry(f"{ENTRIES}/{host}/{name}.json", content.data)
    except InvalidEntryError as error:
        return error.message


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
