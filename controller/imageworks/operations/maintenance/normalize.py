"""Look at recorded models' files again: what they say of format and quantization and, when asked, what they are."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from imageworks.files.digests import Digest
from imageworks.files.progress import Progress
from imageworks.files.safe_paths import is_folder, is_there
from imageworks.foundation.errors import ImageworksError
from imageworks.operations.hash_files import hash_all
from imageworks.operations.maintenance.entry_changes import DetectedFormat, EntryChange, Kept, normalize
from imageworks.operations.scan.scan import FileOwners
from imageworks.plan.facts import ResolvedSource
from imageworks.providers.dispatch import keeper_of
from imageworks.providers.folder.describe import look_at
from imageworks.providers.folder.local_files import LocalModel, observe
from imageworks.reconcile.ledger import RecordSession
from imageworks.registry.entries.entry import ArtifactFile, Entry
from imageworks.registry.entries.packed import as_text


def find_changes(
    ledger: RecordSession, *, rebuild: bool, prune_missing: bool, progress: Progress
) -> tuple[list[EntryChange | Kept], tuple[Kept, ...]]:
    """Return what is detected otherwise by now, and of that what could not be looked at."""
    seen, unread = look_again(ledger, rebuild=rebuild, missing=rebuild or prune_missing, progress=progress)
    changes = normalize(ledger.registry.entries.values(), seen, prune_missing=prune_missing)
    return [*changes, *unread], unread


def look_again(
    ledger: RecordSession, *, rebuild: bool, missing: bool, progress: Progress
) -> tuple[Mapping[str, DetectedFormat], tuple[Kept, ...]]:
    """Return how the files of all entries stand, by name, with what could not be looked at.

    Only what nobody else vouches for is listed and hashed anew: of a pinned model the digests of its commit count, of a
    declared one `reconcile` decides, and a locked one is not to change.
    """
    seen: dict[str, DetectedFormat] = {}
    kept: list[Kept] = []
    present: list[Entry] = []
    for entry in map(ledger.places.current, ledger.registry.entries.values()):
        if entry.path is None or keeper_of(entry) is not None:
            continue  # the models of a store share one folder, and an import looks at them again
        looked = _looked_for(ledger, entry.path, entry)
        if looked.exists and (entry.files or (rebuild and _is_ours_to_rebuild(entry))):
            present.append(entry)
        elif not looked.exists and missing:
            seen[entry.name] = looked
    listed: dict[str, LocalModel | str] = {}
    if rebuild:
        owners = FileOwners(ledger.registry.entries.values())
        listed = {entry.name: _listed(entry, owners) for entry in present if _is_ours_to_rebuild(entry)}
    models = [model for model in listed.values() if not isinstance(model, str)]
    digests = hash_all((model.root / file.path for model in models for file in model.files), ledger, progress)
    for entry in present:
        try:
            model = listed.get(entry.name)
            seen[entry.name] = _seen(entry, None if model is None else _files(model, digests))
        except ImageworksError as error:
            kept.append(Kept(entry.name, error.message))
        except OSError as error:
            kept.append(Kept(entry.name, f"{error.filename or entry.path}: {error.strerror or error}"))
    return seen, tuple(kept)


def _looked_for(ledger: RecordSession, path: Path, entry: Entry) -> DetectedFormat:
    """Return whether a model's path is there, or why that cannot be said."""
    away = ledger.away(entry)
    if away is not None:
        return DetectedFormat(exists=False, reachable=False, away=away)
    return DetectedFormat(exists=is_there(path), reachable=is_folder(ledger.places.root_of(path)))


def _is_ours_to_rebuild(entry: Entry) -> bool:
    locked = entry.part("version_lock").get("locked") is True
    return not entry.managed and not locked and entry.text("verification") != "pinned-digest"


def _seen(entry: Entry, files: tuple[ArtifactFile, ...] | None) -> DetectedFormat:
    present = [file for file in files or entry.files if (entry.base / file.path).is_file()]
    base = entry.base
    repo = entry.repo or f"{base.parent.name}/{base.name.partition('@')[0]}"
    said = entry.part("metadata")
    known = {key: value for key in ("model_type", "library") if isinstance(value := said.get(key), str)}
    upstream = ResolvedSource(
        files=(),
        repo=repo,
        ref=entry.ref,
        commit=entry.revision,
        license=entry.text("license"),
        pipeline_tag=known.get("model_type"),
        library=known.get("library"),
    )
    facts = look_at(base, present, upstream)
    fields = facts.entry_fields()
    metadata = fields.get("metadata")
    capabilities = dict(facts.capabilities.flags)
    if entry.path != base:  # one file: the projectors beside it are not its own, and were looked at when it was found
        capabilities |= {key: True for key in ("vision", "audio") if entry.part("capabilities").get(key) is True}
    return DetectedFormat(
        exists=True,
        download_format=facts.download_format,
        quantization=facts.quantization,
        described=as_text(metadata) if isinstance(metadata, Mapping) else None,
        answers={key: fields.get(key) for key in ("chat_template", "license")} | {"capabilities": capabilities},
        files=files,
    )


def _listed(entry: Entry, owners: FileOwners) -> LocalModel | str:
    """Return a model's files without those that another entry has in the same folder, or why they cannot be listed."""
    own = {file.path for file in entry.files}
    try:
        model = observe(entry.path or entry.base)
    except ImageworksError as error:
        return error.message
    files = tuple(file for file in model.files if file.path in own or model.root / file.path not in owners)
    return replace(model, files=files)


def _files(model: LocalModel | str, digests: Mapping[str, str | Digest]) -> tuple[ArtifactFile, ...]:
    if isinstance(model, str):
        raise ImageworksError(model)
    files = []
    for file in model.files:
        digest = digests[str(model.root / file.path)]
        if isinstance(digest, str):
            raise ImageworksError(digest)
        files.append(ArtifactFile(file.path, file.size, digest.value))
    return tuple(files)
