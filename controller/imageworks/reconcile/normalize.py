"""Look at recorded models' files again: what they say of format and quantization and, when asked, what they are."""

from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path

from imageworks.errors import ImageworksError
from imageworks.providers.local import LocalModel, observe
from imageworks.reconcile.describe import look_at
from imageworks.reconcile.hashing import Told, hash_all
from imageworks.reconcile.ledger import Ledger
from imageworks.reconcile.scan import owners_of_files
from imageworks.reconcile.situation import Upstream
from imageworks.registry.entry import ArtifactFile, Entry
from imageworks.registry.maintenance import Kept, Seen
from imageworks.registry.purges import is_of_ollama
from imageworks.transfer.digests import Digest
from imageworks.transfer.paths import is_folder, is_there


def look_again(
    ledger: Ledger, *, rebuild: bool, missing: bool, told: Told
) -> tuple[Mapping[str, Seen], tuple[Kept, ...]]:
    """Return how the files of all entries stand, by name, with what could not be looked at.

    Only what nobody else vouches for is listed and hashed anew: of a pinned model the digests of its commit count, of a
    declared one `reconcile` decides, and a locked one is not to change.

    Args:
        ledger: What is recorded.
        rebuild: Whether files are listed and hashed.
        missing: Whether entries whose path is gone are looked at.
        told: Told how far hashing is.
    """
    seen: dict[str, Seen] = {}
    kept: list[Kept] = []
    present: list[Entry] = []
    for entry in map(ledger.places.current, ledger.registry.entries.values()):
        if entry.path is None or is_of_ollama(entry):
            continue  # Ollama's models share one folder, and `import-ollama` looks at them again
        looked = _looked_for(ledger, entry.path, entry)
        if looked.exists and (entry.files or (rebuild and _is_ours_to_rebuild(entry))):
            present.append(entry)
        elif not looked.exists and missing:
            seen[entry.name] = looked
    listed: dict[str, LocalModel | str] = {}
    if rebuild:
        owners = owners_of_files(ledger.registry.entries.values())
        listed = {entry.name: _listed(entry, owners) for entry in present if _is_ours_to_rebuild(entry)}
    models = [model for model in listed.values() if not isinstance(model, str)]
    digests = hash_all((model.root / file.path for model in models for file in model.files), ledger, told)
    for entry in present:
        try:
            model = listed.get(entry.name)
            seen[entry.name] = _seen(entry, None if model is None else _files(model, digests))
        except ImageworksError as error:
            kept.append(Kept(entry.name, error.message))
        except OSError as error:
            kept.append(Kept(entry.name, f"{error.filename or entry.path}: {error.strerror or error}"))
    return seen, tuple(kept)


def _looked_for(ledger: Ledger, path: Path, entry: Entry) -> Seen:
    """Return whether a model's path is there, or why that cannot be said."""
    away = ledger.away(entry)
    if away is not None:
        return Seen(exists=False, reachable=False, away=away)
    return Seen(exists=is_there(path), reachable=is_folder(ledger.places.root_of(path)))


def _is_ours_to_rebuild(entry: Entry) -> bool:
    locked = entry.part("version_lock").get("locked") is True
    return not entry.managed and not locked and entry.text("verification") != "pinned-digest"


def _seen(entry: Entry, files: tuple[ArtifactFile, ...] | None) -> Seen:
    present = [file for file in files or entry.files if (entry.base / file.path).is_file()]
    base = entry.base
    repo = entry.repo or f"{base.parent.name}/{base.name.partition('@')[0]}"
    facts = look_at(base, present, Upstream(files=(), repo=repo, ref=entry.ref, commit=entry.revision))
    metadata = facts.entry_fields().get("metadata")
    return Seen(
        exists=True,
        download_format=facts.download_format,
        quantization=facts.quantization,
        described=metadata if isinstance(metadata, Mapping) else None,
        files=files,
    )


def _listed(entry: Entry, owners: Container[Path]) -> LocalModel | str:
    """Return a model's files without those that another entry has in the same folder, or why they cannot be listed."""
    own = {file.path for file in entry.files}
    try:
        model = observe(entry.path or entry.base)
    except ImageworksError as error:
        return error.message
    files = tuple(file for file in model.files if file.path in own or model.root / file.path not in owners)
    return replace(model, files=files)


def _files(model: LocalModel | str, digests: Mapping[Path, str | Digest]) -> tuple[ArtifactFile, ...]:
    if isinstance(model, str):
        raise ImageworksError(model)
    files = []
    for file in model.files:
        digest = digests[model.root / file.path]
        if isinstance(digest, str):
            raise ImageworksError(digest)
        files.append(ArtifactFile(file.path, file.size, digest.value))
    return tuple(files)
