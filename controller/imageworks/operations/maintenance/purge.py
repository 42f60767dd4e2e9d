"""Which entries go so that they can be recorded anew, and what is put right of those without files: pure functions.

As all maintenance: entries become changes, no file of a model is touched, and what a manifest stands behind stays, save
where people ask for just that.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from imageworks.operations.maintenance.entry_changes import EntryAction, EntryChange, Kept, ManifestEdit, why_kept
from imageworks.providers.dispatch import keeper_of, store_provider
from imageworks.registry.entries.entry import Entry
from imageworks.registry.entries.queries import SYNTHETIC, is_installed
from imageworks.registry.manifests.manifest import Manifest

EVERY_BACKEND: Final = "all"
GGUF: Final = "gguf"
_LOCKED: Final = "its version is locked, and only its entry says so"


def reset_discovered(entries: Iterable[Entry], declared: Iterable[str], *, backend: str) -> list[EntryChange | Kept]:
    """Remove the entries of a backend, so that they can be recorded anew."""
    chosen = [entry for entry in entries if backend in {EVERY_BACKEND, entry.text("backend")}]
    return _removed(chosen, declared, lambda entry: f"found, served by {entry.text('backend') or 'nothing yet'}")


def purge_hf(
    entries: Iterable[Entry], declared: Iterable[str], *, root: Path, backend: str | None = None
) -> list[EntryChange | Kept]:
    """Remove the entries of models that stand below a folder."""
    chosen = [
        entry
        for entry in entries
        if entry.path is not None
        and entry.path.is_relative_to(root)
        and backend in {None, EVERY_BACKEND, entry.text("backend")}
    ]
    return _removed(chosen, declared, lambda entry: f"at {entry.path}; its files stay")


def purge_imported(
    entries: Iterable[Entry], declared: Iterable[str], *, providers: Iterable[str]
) -> list[EntryChange | Kept]:
    """Remove the entries that a scan, an import or a download without a manifest recorded."""
    wanted = frozenset(providers)
    chosen = [entry for entry in entries if (store.name if (store := keeper_of(entry)) else "hf") in wanted]
    return _removed(chosen, declared, lambda entry: f"imported from {entry.text('source_provider') or 'somewhere'}")


def _removed(chosen: Iterable[Entry], declared: Iterable[str], why: Callable[[Entry], str]) -> list[EntryChange | Kept]:
    by_people = frozenset(declared)
    found: list[EntryChange | Kept] = []
    for entry in sorted(chosen, key=lambda entry: entry.name):
        if entry.managed or entry.name in by_people:
            found.append(Kept(entry.name, why_kept(declared=entry.name in by_people)))
        elif entry.part("version_lock").get("locked") is True:
            found.append(Kept(entry.name, _LOCKED))
        else:
            found.append(EntryChange(entry.name, EntryAction.REMOVE, why(entry)))
    return found


def purge_logical_only(
    entries: Mapping[str, Entry],
    manifests: Mapping[str, Manifest],
    *,
    curated: bool,
    installed: Callable[[str], bool | None],
    elsewhere: Callable[[str], tuple[str, ...]],
) -> list[EntryChange | Kept]:
    """Remove what has no bytes of its own: no path, or one that only stands for a model that its store has not got."""
    found: list[EntryChange | Kept] = []
    for name in sorted({*entries, *manifests}):
        entry, manifest = entries.get(name), manifests.get(name)
        if entry is not None and not _is_logical(entry, installed):
            continue
        if manifest is None and (entry is None or not entry.managed):
            found.append(EntryChange(name, EntryAction.REMOVE, "no files of its own"))
        elif manifest is None:
            found.append(Kept(name, why_kept(declared=False)))
        elif manifest.source is not None:
            if entry is not None:
                found.append(Kept(name, "declared with a source; `reconcile` brings its files"))
        elif not curated:
            found.append(Kept(name, "declared; --include-curated removes it"))
        elif others := elsewhere(name):
            found.append(Kept(name, f"{', '.join(others)} records files of it"))
        else:
            edit = ManifestEdit(manifest.file, None)
            found.append(
                EntryChange(name, EntryAction.REMOVE, f"no files of its own; {manifest.file} too", manifest=edit)
            )
    return found


def _is_logical(entry: Entry, installed: Callable[[str], bool | None]) -> bool:
    path = entry.text("download_path")
    if not path:
        return True
    if entry.files or keeper_of(entry) is None:
        return False
    served = entry.text("served_model_id") or path.removeprefix(SYNTHETIC)
    there = installed(served)
    return not (is_installed(entry.fields) if there is None else there)


def backfill_paths(
    entries: Iterable[Entry], provider: str, *, store: Path | None, location: str, set_format: bool
) -> list[EntryChange | Kept]:
    """Give the entries of a store's models that have none a path, so that lists show them."""
    found: list[EntryChange | Kept] = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.text("backend") != provider:
            continue
        served = entry.text("served_model_id")
        if entry.text("download_path"):
            found.append(Kept(entry.name, f"is at {entry.text('download_path')}"))
        elif not served:
            found.append(Kept(entry.name, f"no served_model_id says what {store_provider(provider).title} calls it"))
        else:
            missing = {"download_path": _path(store, served), "download_location": location}
            if set_format:
                missing["download_format"] = GGUF
            told = {key: value for key, value in missing.items() if not entry.text(key)}
            differences = tuple(f"{key}:none→{value}" for key, value in told.items())
            changed = replace(entry, fields={**entry.fields, **told})
            found.append(EntryChange(entry.name, EntryAction.CHANGE, "had no path", differences, changed))
    return found


def _path(store: Path | None, served: str) -> str:
    parts = served.split("/")
    plain = PurePosixPath(served).parts == tuple(parts) and not {".", "..", ""} & set(parts)
    return f"{store}/{served}" if store is not None and plain else f"{SYNTHETIC}{served}"
