"""Which entries go so that they can be recorded anew, and what is put right of those without files: pure functions.

As all maintenance: entries become changes, no file of a model is touched, and what a manifest stands behind stays, save
where people ask for just that.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from imageworks.registry.entry import Entry
from imageworks.registry.maintenance import Deed, EntryChange, Kept, ManifestEdit, why_kept
from imageworks.registry.manifest import Manifest
from imageworks.registry.views import OLLAMA, SYNTHETIC, is_installed

EVERY_BACKEND: Final = "all"
GGUF: Final = "gguf"
_LOCKED: Final = "its version is locked, and only its entry says so"


def reset_discovered(entries: Iterable[Entry], declared: Iterable[str], *, backend: str) -> list[EntryChange | Kept]:
    """Remove the entries of a backend, so that they can be recorded anew.

    Args:
        entries: The host's entries.
        declared: Names that a manifest stands behind.
        backend: The backend, or ``all``.
    """
    chosen = [entry for entry in entries if backend in {EVERY_BACKEND, entry.text("backend")}]
    return _removed(chosen, declared, lambda entry: f"found, served by {entry.text('backend') or 'nothing yet'}")


def purge_hf(
    entries: Iterable[Entry], declared: Iterable[str], *, root: Path, backend: str | None = None
) -> list[EntryChange | Kept]:
    """Remove the entries of models that stand below a folder.

    Args:
        entries: The host's entries.
        declared: Names that a manifest stands behind.
        root: The folder.
        backend: Only entries of this one.
    """
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
    """Remove the entries that a scan, an import or a download without a manifest recorded.

    Args:
        entries: The host's entries.
        declared: Names that a manifest stands behind.
        providers: ``hf`` for models in folders, ``ollama`` for those in Ollama's store.
    """
    wanted = frozenset(providers)
    chosen = [entry for entry in entries if (OLLAMA if is_of_ollama(entry) else "hf") in wanted]
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
            found.append(EntryChange(entry.name, Deed.REMOVE, why(entry)))
    return found


def is_of_ollama(entry: Entry) -> bool:
    """Return whether a model's bytes are Ollama's to keep."""
    path = entry.text("download_path") or ""
    return (
        entry.text("source_provider") == OLLAMA
        or path.startswith(SYNTHETIC)
        or (entry.text("backend") == OLLAMA and not entry.files)
    )


def purge_logical_only(
    entries: Mapping[str, Entry],
    manifests: Mapping[str, Manifest],
    *,
    curated: bool,
    installed: Callable[[str], bool | None],
    elsewhere: Callable[[str], tuple[str, ...]],
) -> list[EntryChange | Kept]:
    """Remove what has no bytes of its own: no path, or one that only stands for a model that Ollama has not got.

    Args:
        entries: The host's entries by name.
        manifests: The manifests that are meant for this host, by name.
        curated: Whether manifests that name no source go too.
        installed: Whether Ollama has a model, by the name that it serves it under; ``None`` when nobody can say.
        elsewhere: Which other hosts record files of a model, by its name.
    """
    found: list[EntryChange | Kept] = []
    for name in sorted({*entries, *manifests}):
        entry, manifest = entries.get(name), manifests.get(name)
        if entry is not None and not _is_logical(entry, installed):
            continue
        if manifest is None and (entry is None or not entry.managed):
            found.append(EntryChange(name, Deed.REMOVE, "no files of its own"))
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
            found.append(EntryChange(name, Deed.REMOVE, f"no files of its own; {manifest.file} too", manifest=edit))
    return found


def _is_logical(entry: Entry, installed: Callable[[str], bool | None]) -> bool:
    path = entry.text("download_path")
    if not path:
        return True
    if entry.files or not is_of_ollama(entry):
        return False
    served = entry.text("served_model_id") or path.removeprefix(SYNTHETIC)
    there = installed(served)
    return not (is_installed(entry.fields) if there is None else there)


def backfill_ollama_paths(
    entries: Iterable[Entry], *, store: Path | None, location: str, set_format: bool
) -> list[EntryChange | Kept]:
    """Give Ollama's entries that have none a path, so that lists show them.

    Args:
        entries: The host's entries.
        store: Ollama's models folder; ``None`` when it is not on this machine.
        location: The location that is recorded where there is none.
        set_format: Whether a missing format is recorded too.
    """
    found: list[EntryChange | Kept] = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.text("backend") != OLLAMA:
            continue
        served = entry.text("served_model_id")
        if entry.text("download_path"):
            found.append(Kept(entry.name, f"is at {entry.text('download_path')}"))
        elif not served:
            found.append(Kept(entry.name, "no served_model_id says what Ollama calls it"))
        else:
            missing = {"download_path": _path(store, served), "download_location": location}
            if set_format:
                missing["download_format"] = GGUF
            told = {key: value for key, value in missing.items() if not entry.text(key)}
            differences = tuple(f"{key}:none→{value}" for key, value in told.items())
            changed = replace(entry, fields={**entry.fields, **told})
            found.append(EntryChange(entry.name, Deed.CHANGE, "had no path", differences, changed))
    return found


def _path(store: Path | None, served: str) -> str:
    parts = served.split("/")
    plain = PurePosixPath(served).parts == tuple(parts) and not {".", "..", ""} & set(parts)
    return f"{store}/{served}" if store is not None and plain else f"{SYNTHETIC}{served}"
