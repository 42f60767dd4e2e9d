"""Promote: make a manifest of a discovered entry, such that reconcile then finds everything as declared."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.plan.facts import DeclaredModel, TargetFolder
from imageworks.providers.dispatch import REPOSITORIES, provider, store_of
from imageworks.providers.folder.decide import staleness
from imageworks.providers.folder.local_files import observe
from imageworks.providers.locations import CUSTOM
from imageworks.providers.record import UNASSIGNED
from imageworks.reconcile.ledger import Edits, RecordSession
from imageworks.registry.entries.entry import STORE_PROVIDERS, Entry, as_packed
from imageworks.registry.entries.lookup import UnknownModelError, find_in
from imageworks.registry.manifests.manifest import (
    FOLDER,
    SUFFIXES,
    Manifest,
    PathSource,
    read_manifest,
)
from imageworks.registry.manifests.writer import SCHEMA_COPY, Line, modeline, suggestion
from imageworks.registry.validate import check_manifest

SHOWN_IN_TITLE: Final = 3


class PromoteError(ImageworksError):
    """An entry cannot be declared as it stands."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A discovered entry that becomes declared.

    Args:
        file: The manifest's path within the registry.
        data: The manifest's bytes.
        entry: What is recorded from then on.
    """

    file: str
    data: bytes
    entry: Entry


def promote(ledger: RecordSession, name: str) -> Promotion:
    """Return the manifest of a discovered entry, with the entry as it is recorded from then on.

    A model that is known to be of a commit of the hub is declared by that pin, any other by the place it stands in.
    """
    entry = _find(ledger, name)
    refusals: list[str] = []
    for lines in _choices(entry, ledger):
        manifest, made = _made(entry, lines, ledger)
        refusal = _refusal(manifest, made.entry, ledger)
        if refusal is None:
            return made
        refusals.append(refusal)
    raise PromoteError(f"{name}: {refusals[-1]}", remedy="Write a manifest by hand, or move the files and scan again.")


def promote_all(
    ledger: RecordSession, names: Iterable[str]
) -> tuple[list[Promotion], dict[str, PromoteError | UnknownModelError]]:
    """Return the manifests of several discovered entries, and why there are none of others."""
    made: list[Promotion] = []
    refused: dict[str, PromoteError | UnknownModelError] = {}
    for name in dict.fromkeys(names):
        try:
            made.append(promote(ledger, name))
        except (PromoteError, UnknownModelError) as error:
            refused[name] = error
    return made, refused


def edits(promotions: Sequence[Promotion]) -> Edits:
    """Return what is committed: manifests, entries and the snapshot together."""
    names = [promotion.entry.name for promotion in promotions]
    shown = ", ".join(names) if len(names) <= SHOWN_IN_TITLE else f"{len(names)} models"
    return Edits(
        written={promotion.entry.name: promotion.entry for promotion in promotions},
        manifests={promotion.file: promotion.data for promotion in promotions},
        title=f"Promote {shown}",
        lines=tuple(f"+ {promotion.file}" for promotion in promotions),
    )


def _find(ledger: RecordSession, name: str) -> Entry:
    registry = ledger.registry
    name = find_in(registry, name)
    manifest = registry.manifests.get(name)
    if manifest is not None or name in registry.blocked:
        file = manifest.file if manifest else f"{FOLDER}/{name}.yaml"
        raise PromoteError(f"{name}: is declared already by {file}", remedy="Edit that file and commit it.")
    for suffix in SUFFIXES:
        if (ledger.root / FOLDER / f"{name}{suffix}").exists():
            raise PromoteError(f"{name}: {FOLDER}/{name}{suffix} is there and not committed", remedy="Commit it.")
    return registry.entries[name]


def _choices(entry: Entry, ledger: RecordSession) -> Iterator[list[Line]]:
    """Yield what a manifest could say of the source and the place, the best first."""
    if (store := store_of(entry)) is not None:
        yield list(store.source_lines(entry))
        return
    if entry.path is None or not entry.files:
        yield []
        return
    if repository := provider(REPOSITORIES).source_lines(entry):
        for location in _locations(entry, entry.path):
            yield [*repository, Line("location", location, "a location of registry.yaml, or a folder")]
    yield [
        Line("path", str(entry.path), "where its files are; nothing is copied, moved or downloaded", inside=True),
        Line("hosts", [ledger.registry.host], "only this host has that path"),
    ]


def _locations(entry: Entry, path: Path) -> Iterator[str]:
    named = entry.text("download_location")
    if named and named != CUSTOM:
        yield named
    depth = len((entry.repo or "").split("/"))
    if len(path.parents) >= depth:
        yield str(path.parents[depth - 1])


def _made(entry: Entry, lines: Iterable[Line], ledger: RecordSession) -> tuple[Manifest, Promotion]:
    data = _render(entry, list(lines), ledger)
    file = f"{FOLDER}/{entry.name}.yaml"
    checked = check_manifest(file, data)
    document = checked.document
    if document is None or not isinstance(document.value, dict):
        problem = checked.diagnostics[0].message if checked.diagnostics else "no manifest"
        raise PromoteError(f"{entry.name}: cannot be declared: {problem}")
    manifest = read_manifest(file, document.value)
    metadata = {key: value for key, value in entry.part("metadata").items() if key != "selection"}
    if manifest.selection:
        metadata["selection"] = manifest.selection
    source = document.value.get("source")
    if isinstance(source, dict) and "path" in source:
        metadata["source_path"] = source["path"]
    fields = {**entry.fields, "managed": True, "metadata": metadata}
    # As its text: of ten thousand that are promoted at once, values take 100 MB.
    return manifest, Promotion(file, data, as_packed(replace(entry, fields=fields)))


def _render(entry: Entry, lines: Sequence[Line], ledger: RecordSession) -> bytes:
    """Return a manifest in which a comment behind each field says what it is for."""
    source = [line.render() for line in lines if line.inside]
    own = [line.render() for line in lines if not line.inside]
    shown = entry.text("display_name")
    text = [
        modeline(copied=(ledger.root / SCHEMA_COPY).is_file()),
        f"# {entry.name}, found on {ledger.registry.host} and promoted. This file's name is the model's name.",
        "# Change what you like and commit it: the next `imageworks-models reconcile` makes the machine be so.",
        "schema_version: 1",
        *(["source:", *source] if source else []),
        *own,
        Line("backend", entry.text("backend") or UNASSIGNED, "what serves it").render(),
        *([Line("display_name", shown, "what people see").render()] if shown else []),
        suggestion("roles: [caption]", "what it is used for; take the first # away"),
        suggestion("prune: confirm", "what may happen to the files once this file is deleted"),
    ]
    return ("\n".join(text) + "\n").encode()


def _refusal(manifest: Manifest, entry: Entry, ledger: RecordSession) -> str | None:
    """Return why reconcile would find something to do, or ``None`` when it would not."""
    if entry.path is None or manifest.source is None or manifest.source.provider in STORE_PROVIDERS:
        return None
    place = ledger.places.place(manifest, container=entry.text("download_format"), repo=entry.repo)
    if not isinstance(place, TargetFolder):
        return place.message
    if place.path != entry.path:
        return f"stands at {entry.path}, and would belong at {place.path}"
    stale = staleness(DeclaredModel(manifest, entry=entry))
    if stale is not None:
        return stale.value.replace("-", " ")
    return _not_all(entry) if isinstance(manifest.source, PathSource) else None


def _not_all(entry: Entry) -> str | None:
    """Return why a path cannot stand for an entry's files: it holds others, or other bytes, than are recorded."""
    try:
        there = {file.path: file.size for file in observe(entry.path or entry.base).files}
    except ImageworksError as error:
        return error.message
    recorded = {file.path: file.size for file in entry.files}
    differing = sorted(path for path in {*there, *recorded} if there.get(path) != recorded.get(path))
    if not differing:
        return None
    return f"{entry.base / differing[0]} is not as recorded; `scan --update-existing` records what is there now"
