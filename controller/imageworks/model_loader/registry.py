"""Read the registry's models, and change what is recorded of those that no manifest declares.

What is read is what manifests and entries give, as they were committed. What is written becomes one commit, made under
the registry's lock: several processes may do it at once, and each waits for its turn.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from imageworks.foundation.tables import ResultTable
from imageworks.foundation.texts import human_bytes
from imageworks.host.settings import ARGUMENT, HostSettings, find_registry, load_host_settings
from imageworks.model_loader.entries import RegistryEntry, changes_of, read_registry_entry
from imageworks.reconcile.current_models import CurrentModels, current_registry, each_model
from imageworks.registry.entries import queries
from imageworks.registry.entries.lookup import Named, UnknownModelError, find_name, named
from imageworks.registry.snapshot import each_whole
from imageworks.serving.availability import with_availability
from imageworks.serving.last_used import last_accessed

if TYPE_CHECKING:
    from imageworks.operations.amend_entry import Changes

__all__ = [
    "DEFAULT_WAIT_SECONDS",
    "RegistryEntry",
    "UnknownModelError",
    "find_by_role",
    "get_entry",
    "list_models",
    "load_registry",
    "save_registry",
    "update_entries",
]

DEFAULT_WAIT_SECONDS: Final = 600.0
"""How long a change waits for another process that holds the registry before it says which one that is."""

_Key = tuple[Path, str]


@dataclass(slots=True)
class _Session:
    """What this process read and has not saved yet, by registry and host.

    Args:
        current: What reads the models, by registry and host's settings.
        read: The models as they were read, and as they are shown.
        unsaved: Changes that wait for ``save_registry``.
        lock: Held while either is touched.
    """

    current: dict[tuple[Path, HostSettings], CurrentModels] = field(default_factory=dict)
    read: dict[_Key, tuple[object, Mapping[str, RegistryEntry]]] = field(default_factory=dict)
    unsaved: "dict[_Key, dict[str, Changes]]" = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


_SESSION: Final = _Session()
_COLUMNS: Final[Mapping[str, Callable[[RegistryEntry], object]]] = {
    "model": lambda one: one.name,
    "backend": lambda one: one.backend,
    "format": lambda one: " ".join(filter(None, (one.download_format, one.quantization))),
    "size": lambda one: human_bytes(one.download_size_bytes) if one.download_size_bytes else "",
    "roles": lambda one: ", ".join(one.roles),
    "where": lambda one: one.download_path if one.installed else one.unavailable or "not here",
}


class ModelTable(dict[str, RegistryEntry]):
    """Models by name, which print as a table."""

    def __repr__(self) -> str:
        return repr(model_table(self.values()))

    def _repr_html_(self) -> str:
        return model_table(self.values())._repr_html_()


def model_table(models: Iterable[RegistryEntry]) -> ResultTable[RegistryEntry]:
    """Return models as a table of what tells them apart."""
    return ResultTable(models, _COLUMNS, "models")


def load_registry(*, force: bool = False, registry: Path | None = None) -> dict[str, RegistryEntry]:
    """Return all models of this host by name, with changes that are not saved yet.

    They are read again whenever a commit has moved.

    Args:
        force: Whether it is read again in any case, and unsaved changes are forgotten.
        registry: The registry; found as every command finds it when absent.

    Raises:
        RegistryNotFoundError: There is no registry.
        UntrustedRegistryError: It must be signed and is not.
        SnapshotError: The snapshot is not what manifests and entries give.
    """
    key, host = _where(registry)
    with _SESSION.lock:
        if force:
            _SESSION.unsaved.pop(key, None)
            _SESSION.current.pop((key[0], host), None)
        models = _SESSION.current.setdefault((key[0], host), CurrentModels(key[0], host, whole=True)).models()
        known = _SESSION.read.get(key)
        if known is None or known[0] is not models:
            read = partial(read_registry_entry, registry=key[0], allows=host.allows)
            known = _SESSION.read[key] = (models, {model.name: model for model in map(read, models)})
        shown = _with_unsaved(known[1], _SESSION.unsaved.get(key, {}))
    for model in with_availability((entry.fields for entry in shown.values()), host.state_dir):
        if (away := queries.text(model, "unavailable")) and queries.text(model, "name") in shown:
            name = queries.text(model, "name")
            shown[name] = replace(shown[name], unavailable=away)
    used = last_accessed(host.state_dir)
    shown |= {name: replace(shown[name], last_accessed=when) for name, when in used.items() if name in shown}
    return ModelTable(shown)


def each_entry(*, registry: Path | None = None) -> Iterator[RegistryEntry]:
    """Yield the same models one by one, as they were committed, for who only shows them.

    Args:
        registry: The registry; found as every command finds it when absent.

    Raises:
        RegistryNotFoundError: There is no registry.
        UntrustedRegistryError: It must be signed and is not.
        SnapshotError: The snapshot is not what manifests and entries give.
    """
    (root, _), host = _where(registry)
    yield from _each(root, host, each_model(root, host, whole=True))


def _each(root: Path, host: HostSettings, models: Iterable[queries.Model]) -> Iterator[RegistryEntry]:
    """Yield merged models as values, with what this host knows of each today."""
    used = last_accessed(host.state_dir)
    for model in with_availability(models, host.state_dir):
        fields = {name: value for name, value in model.items() if name != "unavailable"}
        entry = read_registry_entry(fields, registry=root, allows=host.allows)
        away = queries.text(model, "unavailable") or None
        yield replace(entry, unavailable=away, last_accessed=used.get(entry.name))


def get_entry(name: str, *, registry: Path | None = None) -> RegistryEntry:
    """Return one model.

    Args:
        name: The variant name, or anything else that only one model is called: what ``list`` prints, a repository.
        registry: The registry; found as every command finds it when absent.

    Raises:
        UnknownModelError: None or several are called so; it is a ``KeyError``.
    """
    models = load_registry(registry=registry)
    return models[name] if name in models else models[find_name(name, (named(m.fields) for m in models.values()))]


def show_entry(name: str, *, registry: Path | None = None) -> RegistryEntry:
    """Return the same model as it was committed, for who asks once: of ten thousand, only what they are called is kept.

    Args:
        name: The variant name, or anything else that only one model is called.
        registry: The registry; found as every command finds it when absent.

    Raises:
        UnknownModelError: None or several are called so; it is a ``KeyError``.
    """
    (root, _), host = _where(registry)
    current = current_registry(root, host)
    names: list[Named] = []
    for entry in _each(root, host, each_whole(current)):
        if entry.name == name:
            return entry
        names.append(named(entry.fields))
    found = find_name(name, names)
    return next(entry for entry in _each(root, host, each_whole(current)) if entry.name == found)


def list_models(*, registry: Path | None = None) -> list[str]:
    """Return the variant names of all models of this host, sorted.

    Args:
        registry: The registry; found as every command finds it when absent.
    """
    return sorted(load_registry(registry=registry))


def find_by_role(
    role: str, *, include_deprecated: bool = False, include_testing: bool = False, registry: Path | None = None
) -> list[RegistryEntry]:
    """Return the models that have a role, the one that the role would choose first.

    Args:
        role: Such as ``caption``.
        include_deprecated: Whether models that are kept for going back count.
        include_testing: Whether models made by tests and demos do.
        registry: The registry; found as every command finds it when absent.
    """
    models = load_registry(registry=registry)
    wanted = queries.ModelFilter(
        deprecated=include_deprecated,
        logical=True,
        testing=include_testing,
        patterns=os.environ.get(queries.TESTING_VARIABLE),
    )
    rows = queries.role_rows(wanted.choose(model.fields for model in models.values()))
    return [models[queries.text(row.model, "name")] for row in rows if row.role == role]


def update_entries(
    entries: Iterable[RegistryEntry],
    save: bool = True,  # noqa: FBT001, FBT002 # the documented signature
    *,
    registry: Path | None = None,
    wait: float = DEFAULT_WAIT_SECONDS,
) -> str | None:
    """Record changed models, each made with ``dataclasses.replace`` from one that was read; or a new one.

    Only attributes that differ from what was read are written, so what another process changed meanwhile stays.

    Args:
        entries: The models as they should be.
        save: Whether they are committed now; else ``save_registry`` does it, and ``load_registry`` shows them already.
        registry: The registry; found as every command finds it when absent.
        wait: Seconds to wait for another process that holds the registry.

    Returns:
        The commit; ``None`` where nothing differed, or nothing is saved yet.

    Raises:
        AmendError: A manifest declares a model, or a field is not the caller's to write; nothing is changed then.
        LockHeldError: Another process still holds the registry after waiting.
    """
    key, host = _where(registry)
    wanted = {entry.name: changes for entry in entries if (changes := changes_of(entry))}
    if not save:
        _check(key, host, wanted)
        with _SESSION.lock:
            _SESSION.unsaved[key] = _merged(_SESSION.unsaved.get(key, {}), wanted)
        return None
    return _commit(key, host, wanted, wait)


def save_registry(*, registry: Path | None = None, wait: float = DEFAULT_WAIT_SECONDS) -> str | None:
    """Commit what ``update_entries(…, save=False)`` left to be saved.

    Args:
        registry: The registry; found as every command finds it when absent.
        wait: Seconds to wait for another process that holds the registry.

    Returns:
        The commit; ``None`` where nothing was to be saved.

    Raises:
        AmendError: A model was declared meanwhile; nothing is saved then.
        LockHeldError: Another process still holds the registry after waiting.
    """
    key, host = _where(registry)
    return _commit(key, host, {}, wait)


def _where(registry: Path | None) -> tuple[_Key, HostSettings]:
    root = find_registry(registry, named_by=ARGUMENT)
    host = load_host_settings(registry=root)
    return (root, host.host), host


def _with_unsaved(models: Mapping[str, RegistryEntry], unsaved: "Mapping[str, Changes]") -> dict[str, RegistryEntry]:
    shown = dict(models)
    for name, changes in unsaved.items():
        before = models[name].fields if name in models else {"name": name}
        shown[name] = read_registry_entry({key: v for key, v in {**before, **changes}.items() if v is not None})
    return shown


def _merged(before: "Mapping[str, Changes]", more: "Mapping[str, Changes]") -> "dict[str, Changes]":
    return {name: {**before.get(name, {}), **more.get(name, {})} for name in {**before, **more}}


def _check(key: _Key, host: HostSettings, wanted: "Mapping[str, Changes]") -> None:
    from imageworks.operations.amend_entry import amend_entries

    amend_entries(key[0], host, wanted, read_only=True)


def _commit(key: _Key, host: HostSettings, wanted: "Mapping[str, Changes]", wait: float) -> str | None:
    from imageworks.operations.amend_entry import amend_entries

    with _SESSION.lock:
        unsaved = _SESSION.unsaved.get(key, {})
        everything = _merged(unsaved, wanted)
    if not everything:
        return None
    commit = amend_entries(key[0], host, everything, read_only=False, wait=wait)
    with _SESSION.lock:
        if _SESSION.unsaved.get(key) == unsaved:
            _SESSION.unsaved.pop(key, None)
    return commit
