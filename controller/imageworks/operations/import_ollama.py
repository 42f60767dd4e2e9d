"""Import what Ollama has: values in, changes of entries out. What a manifest declares is left to `reconcile`."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from imageworks.files.content_index import ollama_stores
from imageworks.foundation.isolation import InternalError, isolated
from imageworks.naming.model_names import LONGEST_NAME, compile_testing_patterns, is_testing_name, ollama_name
from imageworks.operations.maintenance.entry_changes import ABSENT, EntryAction, EntryChange
from imageworks.operations.maintenance.entry_changes import Kept as Stays
from imageworks.operations.maintenance.purge import purge_imported
from imageworks.providers.at_once import at_once
from imageworks.providers.ollama.address import WrittenAddress, written_address
from imageworks.providers.ollama.errors import OllamaError, OllamaUnreachableError
from imageworks.providers.ollama.facts import KEPT, PROVIDER, SCHEME, offered, recorded_name, section
from imageworks.providers.ollama.model import OllamaModel, OllamaObservation, ShownModel
from imageworks.providers.ollama.names import parse_name, stored_name
from imageworks.providers.ollama.provider import OLLAMA
from imageworks.providers.ollama.record import InstalledOllamaModel, compose_ollama
from imageworks.providers.ollama.service import OllamaService
from imageworks.registry.entries.entry import Entry, as_packed
from imageworks.registry.entries.queries import PLACEHOLDER, TESTING_VARIABLE, display_after
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import OllamaSource

ASKING_THREADS: Final = 4
DEFAULT_LOCATION: Final = "linux_wsl"
_DIGITS: Final = 8
_SHOWN: Final = (
    "served_model_id",
    "download_path",
    "download_size_bytes",
    "quantization",
    "backend",
    "download_location",
    "display_name",
    "downloaded_at",
)
_EMPTIED: Final = ("Removed", "DeclaredAbsent")


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What one import is asked to do.

    Args:
        host: The host that entries name for those who will talk to Ollama.
        port: The port that they name; ``None`` for Ollama's own.
        backend: What serves the models.
        location: The location that is recorded; that of the entry stays where none is given.
        deprecate_placeholders: Whether what older importers left is marked as deprecated.
        include_testing: Whether testing and demo models are recorded too.
        patterns: More patterns of testing names, separated by commas.
    """

    host: str
    backend: str = PROVIDER
    location: str | None = None
    deprecate_placeholders: bool = False
    include_testing: bool = False
    patterns: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class OllamaInventory:
    """What Ollama has, and what its daemon says of each model.

    Args:
        models: What there is.
        shown: What the daemon says besides, by the model's name; nothing when none answers.
        stores: The stores on this machine that hold manifests.
    """

    models: OllamaObservation
    shown: Mapping[str, ShownModel] = field(default_factory=dict)
    stores: frozenset[str] = frozenset()


def look(provider: OllamaService, stores: Iterable[Path], recorded: Iterable[Entry] = ()) -> OllamaInventory:
    """Return what Ollama has; only asks."""
    seen = provider.observe()
    if seen.origin == "nothing":
        raise OllamaUnreachableError(
            f"nothing can be said of Ollama's models: {seen.problem or 'no daemon answers, and there is no store'}",
            remedy=seen.remedy or "Start it with `ollama serve`, or name it in OLLAMA_HOST.",
        )
    if not seen.daemon_answers:
        return OllamaInventory(seen, stores=frozenset(str(store) for store in stores if (store / "manifests").is_dir()))

    def show(model: OllamaModel) -> ShownModel | None:
        try:
            return provider.show(model.name)
        except OllamaError:
            return None  # it went between two questions, or its blobs are broken: the list tells enough

    known = {section(entry).get("digest") for entry in recorded if "chat_template" in entry.fields}
    asked = [model for model in seen.models if model.digest not in known]
    shown = at_once(show, asked, threads=ASKING_THREADS)
    return OllamaInventory(seen, {model.name: one for model, one in zip(asked, shown, strict=True) if one is not None})


def look_here(told: Callable[[str], None], recorded: Iterable[Entry] = ()) -> OllamaInventory:
    """Return what this machine's Ollama has, and tell where that is not the whole truth."""
    with OllamaService.from_environment(os.environ) as provider:
        seen = look(provider, ollama_stores(os.environ), recorded)
    if seen.models.problem is not None:
        told(f"note: what the store on disk says counts: {seen.models.problem}")
    for path, why in seen.models.damaged:
        told(f"note: {path}: {why}")
    return seen


def import_options(
    *,
    backend: str = "ollama",
    location: str | None = None,
    deprecate_placeholders: bool = False,
    include_testing: bool = False,
) -> ImportOptions:
    """Return what an import is asked to do, with what the environment says besides."""
    written = written_address(os.environ)
    return ImportOptions(
        host=written.host,
        port=written.port,
        backend=backend,
        location=location,
        deprecate_placeholders=deprecate_placeholders,
        include_testing=include_testing,
        patterns=os.environ.get(TESTING_VARIABLE),
    )


def plan_import(registry: RegistryState, seen: OllamaInventory, options: ImportOptions) -> list[EntryChange | Stays]:
    """Return what an import changes: models that are new or not as recorded, and entries of models that are gone."""
    return _Importer(registry, seen, options).plan()


def plan_found(
    registry: RegistryState, said: Callable[[str], None], options: ImportOptions
) -> list[EntryChange | Stays]:
    """Return what an import of what is here would change; where Ollama tells nothing, that is said."""
    try:
        return plan_import(registry, look_here(said, registry.entries.values()), options)
    except OllamaError as error:
        said(f"note: {error.render()}")
        return []


def plan_rebuild(registry: RegistryState, seen: OllamaInventory, options: ImportOptions) -> list[EntryChange | Stays]:
    """Return what is left to change when Ollama's entries are forgotten and what it has is imported anew."""
    declared = {*registry.manifests, *registry.blocked}
    forgotten = purge_imported(registry.entries.values(), declared, providers=(PROVIDER,))
    gone = {one.name: one for one in forgotten if isinstance(one, EntryChange)}
    left = {name: entry for name, entry in registry.entries.items() if name not in gone}
    imported = plan_import(replace(registry, entries=left), seen, options)
    anew = {one.name: _again(one, registry) for one in imported if isinstance(one, EntryChange)}
    told = {one.name: one for one in (*forgotten, *imported) if isinstance(one, Stays)}
    changes = [*(one for one in anew.values() if one), *(one for name, one in gone.items() if name not in anew)]
    return sorted([*changes, *told.values()], key=lambda one: one.name)


def _again(change: EntryChange, registry: RegistryState) -> EntryChange | None:
    """Return a new entry as a change of the one of its name, ``None`` when it says the same."""
    old, new = registry.entries.get(change.name), change.entry
    if old is None or new is None:
        return change
    differences = _differences(old.fields, new.fields)
    changed = replace(change, deed=EntryAction.CHANGE, why="recorded anew", differences=differences)
    return None if dict(old.fields) == dict(new.fields) else changed


@dataclass
class _Importer:
    """Decides one model after the other; the names that it gives are taken for the next."""

    registry: RegistryState
    seen: OllamaInventory
    options: ImportOptions
    found: list[EntryChange | Stays] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._filters = compile_testing_patterns(self.options.patterns)
        self._taken = {
            name.lower() for name in (*self.registry.entries, *self.registry.manifests, *self.registry.blocked)
        }
        self._declared: dict[tuple[str, ...], str] = {}
        for manifest in self.registry.applied:
            if isinstance(manifest.source, OllamaSource):
                self._claim(manifest.source.name, manifest.file)
        self._own: dict[str, Entry] = {}
        for name, entry in self.registry.entries.items():
            theirs = entry.managed or name in self.registry.manifests or name in self.registry.blocked
            if OLLAMA.keeps(entry) and not theirs:
                self._own[name] = entry
            elif (given := recorded_name(entry) if OLLAMA.keeps(entry) else offered(entry)) is not None:
                self._claim(given, f"the entry {name}")
        self._by_key: dict[tuple[str, ...] | None, list[Entry]] = {}
        for entry in self._own.values():
            if not PLACEHOLDER.fullmatch(entry.name):
                self._by_key.setdefault(_key(_served(entry)), []).append(entry)

    def _claim(self, name: str, by: str) -> None:
        key = _key(name)
        if key is not None:
            self._declared.setdefault(key, by)

    def plan(self) -> list[EntryChange | Stays]:
        """Return all changes, by name."""
        used: set[str] = set()
        for model in sorted(self.seen.models.models, key=lambda model: model.name):
            old = self._old(model, used)
            if old is not None:
                used.add(old.name)
            try:
                with isolated(model.name):
                    self._decide(model, old)
            except InternalError as error:
                self.found.append(Stays(model.name, error.render()))
        for entry in self._own.values():
            if entry.name not in used:
                self._left(entry)
        self._missing()
        return sorted(self.found, key=lambda one: one.name)

    def _old(self, model: OllamaModel, used: set[str]) -> Entry | None:
        """Return what is recorded of a model: by its name in Ollama, else by the name that it had without a quant."""
        named = ollama_name(model.name)
        before = self._own.get(_unsuffixed(named.family))
        unnamed = [before] if before is not None and named.quantization and _served(before) is None else []
        choice = [*self._by_key.get(_key(model.name), ()), *unnamed]
        free = [entry for entry in choice if entry.name not in used]
        return max(free, key=lambda entry: (entry.name == named.variant, _served(entry) is not None), default=None)

    def _decide(self, model: OllamaModel, old: Entry | None) -> None:
        name = parse_name(model.name)
        declared = self._declared.get(name.key)
        if name.namespace == KEPT:
            return  # a reconcile that was killed keeps it there, and the next one sees to it
        if declared is not None:
            self.found.append(Stays(model.name, f"{declared} stands for it; `reconcile` records it"))
        elif not model.complete:
            self.found.append(Stays(model.name, f"blobs are missing in Ollama's store; `ollama pull {model.name}`"))
        elif not self.options.include_testing and old is None and self._is_testing(model):
            self.found.append(Stays(model.name, "made by a test or a demo; --include-testing records it"))
        elif old is not None and _is_locked(old) and section(old).get("digest") not in {None, model.digest}:
            self.found.append(Stays(old.name, "its version is locked, and Ollama has another now"))
        else:
            self._record(model, old)

    def _is_testing(self, model: OllamaModel) -> bool:
        names = (ollama_name(model.name).variant, parse_name(model.name).model)
        return any(is_testing_name(name, filters=self._filters) for name in names)

    def _record(self, model: OllamaModel, old: Entry | None) -> None:
        shown = self.seen.shown.get(model.name)
        name = self._name(model, old)
        self._taken.add(name.lower())
        entry = _entry(name, model, shown, old, self.options, testing=self._is_testing(model))
        if old is None:
            told = f"{model.name} in Ollama"
            self.found.append(
                EntryChange(name, EntryAction.ADD, told, _differences({}, entry.fields), as_packed(entry))
            )
        elif dict(old.fields) != dict(entry.fields):
            differences = _differences(old.fields, entry.fields)
            deed, why = (EntryAction.CHANGE, "looked at again")
            if name != old.name:
                deed, why = (EntryAction.RENAME, f"becomes {name}: its tag says the quantization")
            self.found.append(EntryChange(old.name, deed, why, differences, as_packed(entry)))

    def _name(self, model: OllamaModel, old: Entry | None) -> str:
        named = ollama_name(model.name)
        if old is not None and (named.quantization is None or old.name != _unsuffixed(named.family)):
            return old.name  # perhaps a name that somebody gave it
        if named.variant.lower() not in self._taken:
            return named.variant
        digits = hashlib.sha256(model.name.encode()).hexdigest()[:_DIGITS]
        return f"{named.variant[: LONGEST_NAME - _DIGITS - 1].rstrip('-._')}-{digits}"

    def _left(self, entry: Entry) -> None:
        """Decide what becomes of an entry that no model stands behind."""
        served = _served(entry)
        placeholder = PLACEHOLDER.fullmatch(entry.name) is not None
        if placeholder and self.options.deprecate_placeholders:
            if entry.fields.get("deprecated") is not True:
                fields = {**entry.fields, "deprecated": True}
                why = "left by an older importer; marked as deprecated"
                self.found.append(
                    EntryChange(entry.name, EntryAction.DEPRECATE, why, entry=replace(entry, fields=fields))
                )
        elif served is not None and not _is_locked(entry) and self._is_superseded(entry, served):
            why = f"the name that an older importer gave {served}; another entry stands for it"
            self.found.append(EntryChange(entry.name, EntryAction.REMOVE, why))
        elif served is None:
            self.found.append(Stays(entry.name, "nothing says what Ollama calls it"))
        elif self.seen.models.find(served) is not None:
            how = "--deprecate-placeholders marks it" if placeholder else "`prune-duplicates` removes it"
            self.found.append(Stays(entry.name, f"another entry stands for {served}; {how}"))
        elif _key(served) in self._damaged():
            self.found.append(Stays(entry.name, f"the manifest of {served} cannot be read"))
        elif _was(entry, *_EMPTIED):
            self.found.append(
                Stays(entry.name, "its model was removed and its entry kept; `remove --purge` removes it")
            )
        elif not self._would_be_seen(entry):
            self.found.append(Stays(entry.name, f"only Ollama's daemon can say whether it has {served}"))
        elif _is_locked(entry):
            self.found.append(Stays(entry.name, f"its version is locked; {served} is not in Ollama"))
        else:
            self.found.append(EntryChange(entry.name, EntryAction.REMOVE, f"{served} is not in Ollama any more"))

    def _is_superseded(self, entry: Entry, served: str) -> bool:
        model = self.seen.models.find(served)
        named = ollama_name(model.name) if model is not None else None
        return named is not None and named.quantization is not None and entry.name == _unsuffixed(named.family)

    def _would_be_seen(self, entry: Entry) -> bool:
        """Return whether what was looked at would show an entry's model: an empty mount point shows nothing."""
        return self.seen.models.daemon_answers or entry.text("download_path") in self.seen.stores

    def _damaged(self) -> set[tuple[str, ...] | None]:
        names = (stored_name(path.parts[-4:]) for path, _ in self.seen.models.damaged)
        return {name.key for name in names if name is not None}

    def _missing(self) -> None:
        """Tell of declared models that Ollama has not got; they stay."""
        for manifest in self.registry.applied:
            source = manifest.source
            recorded = isinstance(source, OllamaSource) and manifest.name in self.registry.entries
            if isinstance(source, OllamaSource) and recorded and self.seen.models.find(source.name) is None:
                why = f"{source.name} is not in Ollama; `reconcile` brings what {manifest.file} declares"
                self.found.append(Stays(manifest.name, why))


def _entry(
    name: str,
    model: OllamaModel,
    shown: ShownModel | None,
    old: Entry | None,
    options: ImportOptions,
    *,
    testing: bool,
) -> Entry:
    same = old is not None and section(old).get("digest") == model.digest
    ours = old is not None and old.installed_by_us and same
    location = options.location or (old.text("download_location") if old is not None else None) or DEFAULT_LOCATION
    asked: dict[str, object] = {"backend": options.backend, "download_location": location}
    if old is not None and shown is None and _knows_as_much(old, model):
        rest = {key: value for key, value in old.part("backend_config").items() if key != "port"}
        config = {**rest, **WrittenAddress(options.host, options.port).fields}
        return Entry(name, {**old.fields, "name": name, **asked, "backend_config": config}, old.files)
    acquisition = "installed" if ours else "adopted"
    entry = compose_ollama(
        name,
        InstalledOllamaModel(model, shown),
        host=options.host,
        port=options.port,
        acquisition=acquisition,
        before=old,
    )
    fields: dict[str, object] = {
        # Deprecated only because it was gone: it is there again.
        **{key: value for key, value in entry.fields.items() if key != "deprecated" or not _was(old, "Missing")},
        **asked,
        "managed": False,
        "display_name": display_after(entry.fields, old.fields if old is not None else None),
    }
    recorded = old.text("downloaded_at") if old is not None and same else None
    if recorded or model.modified_at:
        fields["downloaded_at"] = recorded or model.modified_at
    if testing:
        fields["metadata"] = {**entry.part("metadata"), "testing": True}
    return replace(entry, fields=fields)


def _differences(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[str, ...]:
    changed = (key for key in _SHOWN if old.get(key) != new.get(key))
    if not old:
        return tuple(f"{key}: {new[key]}" for key in ("download_path", "download_size_bytes") if key in new)
    return tuple(f"{key}:{old.get(key, ABSENT)}→{new.get(key, ABSENT)}" for key in changed)


def _served(entry: Entry) -> str | None:
    name = recorded_name(entry)
    if name:
        return name
    path = entry.text("download_path") or ""
    return path.removeprefix(SCHEME) if path.startswith(SCHEME) else None


def _key(name: str | None) -> tuple[str, ...] | None:
    try:
        return parse_name(name).key if name else None
    except OllamaError:
        return None


def _unsuffixed(family: str) -> str:
    return f"{family}-ollama-gguf"


def _was(entry: Entry | None, *reasons: str) -> bool:
    """Return whether a condition of an entry has one of some reasons."""
    conditions = entry.fields.get("conditions") if entry is not None else None
    listed = conditions if isinstance(conditions, list) else []
    return any(isinstance(one, Mapping) and one.get("reason") in reasons for one in listed)


def _is_locked(entry: Entry) -> bool:
    return entry.part("version_lock").get("locked") is True


def _knows_as_much(old: Entry, model: OllamaModel) -> bool:
    """Return whether an entry says all of a model that can be said without asking the daemon for it."""
    path = str(model.store) if model.store is not None else f"{SCHEME}{model.name}"
    return section(old).get("digest") == model.digest and old.text("download_path") == path
