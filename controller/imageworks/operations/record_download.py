"""Record one model that stands on this machine, as a caller describes it: verified as it is, adopted, in one commit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.detection.model_facts import ModelFacts
from imageworks.detection.problems import UNUSABLE
from imageworks.files.digests import Digest
from imageworks.files.progress import Progress
from imageworks.files.safe_paths import is_there
from imageworks.foundation.errors import ImageworksError
from imageworks.migration.entries import PROVIDERS
from imageworks.naming.hub_identifiers import parse_hub_identifier
from imageworks.naming.model_names import (
    compile_testing_patterns,
    default_variant_name,
    is_generic_family,
    is_testing_name,
    normalize_family,
    variant_name,
)
from imageworks.operations.amend_entry import check_entry
from imageworks.operations.hash_files import hash_all
from imageworks.operations.promote import edits, promote
from imageworks.operations.scan.find_models import FoundModel, weighs
from imageworks.operations.scan.record import found_entry, is_same
from imageworks.operations.scan.scan import Finding, ScanOptions, facts_of
from imageworks.providers.dispatch import REPOSITORIES
from imageworks.providers.folder.local_files import LocalSourceError, observe
from imageworks.providers.record import KEPT, UNASSIGNED
from imageworks.reconcile.ledger import Edits, RecordSession
from imageworks.registry.entries.entry import Entry, aggregate_sha256
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.edit import edit_manifest
from imageworks.registry.settings.model_places import Use
from imageworks.registry.version_lock import lock_of

if TYPE_CHECKING:
    from imageworks.registry.documents.document import JsonValue

SAFETENSORS: Final = "safetensors"
ACQUISITION: Final = "acquisition"
"""Whether we fetched the files, and so may remove them: never for a caller to say."""

AT_INSTALL: Final = ("resolved", "verification", "license")
"""What was learnt when the same bytes were installed; another look at them does not say it."""
SAID_OF_IT: Final = ("display_name", "download_location", *KEPT)
"""What somebody said of the same bytes before, and need not say again."""


class RecordError(ImageworksError):
    """What stands at a path cannot be recorded as asked."""


class ImportSkipped(ImageworksError):  # noqa: N818 # the documented name; earlier code catches it by that
    """A model looks like one that a test or a demo made, and is not recorded."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a caller says of a model on this machine; what a look at its files shows wins over that.

    Args:
        path: Its folder, or its only file.
        backend: What serves it.
        repo: The repository that it came from, perhaps with ``@branch``.
        container: Its format, where none can be detected.
        quantization: Its quantization, where none can be detected.
        location: The location's name; found from the path when absent.
        family: The first part of its name, instead of the repository's or the folder's name.
        served_model_id: What clients call it.
        include_testing: Whether a testing or demo model is recorded too.
        patterns: More patterns of testing names, separated by commas.
        display_name: The name that people see.
        provider: Which provider it came from.
        metadata: What else is known of it; what a look at its files shows wins.
    """

    path: Path
    backend: str
    repo: str | None = None
    container: str | None = None
    quantization: str | None = None
    location: str | None = None
    family: str | None = None
    served_model_id: str | None = None
    include_testing: bool = False
    patterns: str | None = None
    display_name: str | None = None
    provider: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)


def record_model(ledger: RecordSession, said: Described, progress: Progress) -> tuple[Entry, Edits]:
    """Return what is recorded of a model from now on, and the edits that do it; none where it is recorded already."""
    away = ledger.places.obstacle_at(said.path)
    if away is not None:
        raise RecordError(f"{said.path}: nothing can be recorded there now: {away.message}")
    if (why := ledger.places.why_not(said.path, Use.SOURCE)) is not None:
        raise RecordError(f"{said.path} is no place for a model: {why}", remedy="Move the model, then record it.")
    candidate = _candidate(said)
    testing = _is_testing(said, candidate)
    if testing and not said.include_testing:
        raise ImportSkipped(
            f"{said.path}: {_family_text(said, candidate)!r} names a test or a demo, so it is not recorded",
            remedy="include_testing=True records it; family_override gives it a name that says more.",
        )
    facts = facts_of(candidate, said.container, said.quantization)
    missing = next((problem.message for problem in facts.problems if problem.kind in UNUSABLE), None)
    if missing is not None:
        raise RecordError(f"{said.path}: incomplete: {missing}", remedy="Complete it, then record it.")
    name, old = _place_in_registry(ledger, said, candidate, facts)
    _check_manifest(ledger.registry, name, old)
    backend = _backend(said, old)
    finding = Finding(name, backend, candidate, facts.entry_fields(), facts.problems, old, testing)
    paths = [candidate.model.root / file.path for file in candidate.model.files]
    digests = hash_all(paths, ledger, progress)
    unread = next((digest for path in paths if not isinstance(digest := digests[str(path)], Digest)), None)
    if unread is not None:
        raise RecordError(str(unread), remedy="Nothing was recorded.")
    options = ScanOptions(said.path.parent, backend, said.container, said.include_testing)
    entry = _as_said(found_entry(finding, digests, ledger, options), said, candidate, old)
    if old is not None and is_same(entry, old):
        return old, Edits()
    manifest = ledger.registry.manifests.get(name)
    if manifest is not None:
        if old is not None and aggregate_sha256(old.files) == aggregate_sha256(entry.files) and old.path == entry.path:
            return old, Edits()
        raise RecordError(
            f"{name} is declared by {manifest.file}, and {said.path} is not what is recorded of it",
            remedy=f"`imageworks-models reconcile {name}` records what the manifest declares.",
        )
    _check_lock(entry, old)
    check_entry(name, entry.fields)
    gone = frozenset({old.name} - {name}) if old is not None else frozenset[str]()
    lines = [f"{'~' if name in ledger.registry.entries else '+'} {name}", *(f"- {one}" for one in gone)]
    return entry, Edits(written={name: entry}, gone=gone, title=f"Record {name}", lines=tuple(lines))


def give_roles(ledger: RecordSession, name: str, roles: Iterable[str], priority: Mapping[str, int]) -> Edits:
    """Return the edits that give a recorded model roles besides those that it has; only a manifest can say them."""
    manifest = ledger.registry.manifests.get(name)
    known = manifest.fields if manifest is not None else {}
    before, ranks = known.get("roles"), known.get("role_priority")
    changes: dict[tuple[str, ...], JsonValue] = {}
    if more := set(roles):
        changes["roles",] = sorted(more.union(before if isinstance(before, list) else ()))
    if priority:
        changes["role_priority",] = {**(ranks if isinstance(ranks, dict) else {}), **priority}
    if manifest is None:
        made = promote(ledger, name)
        data = edit_manifest(made.file, made.data, changes)
        return edits([replace(made, data=data)])
    data_before = ledger.committed(manifest.file)
    if data_before is None or ledger.uncommitted(manifest.file):
        raise RecordError(f"{manifest.file} has uncommitted changes", remedy="Commit them or take them back first.")
    data = edit_manifest(manifest.file, data_before, changes)
    written = {} if data == data_before else {manifest.file: data}
    return Edits(manifests=written, title=f"Give {name} its roles", lines=(f"~ {name}: roles",))


def _candidate(said: Described) -> FoundModel:
    """Return the model at a path, under the name that the caller or else the path gives it."""
    try:
        model = observe(said.path)
    except LocalSourceError as error:
        raise RecordError(error.message, remedy="Name a model's folder, or one file of weights.") from error
    if not any(weighs(file.path) for file in model.files):
        raise RecordError(f"{said.path}: no file of weights", remedy="Name a model's folder, or one file of weights.")
    if said.repo:
        identifier = parse_hub_identifier(said.repo)
        return FoundModel(said.path, identifier.repo, identifier.revision, model)
    tail, _, ref = (said.path.stem if said.path.is_file() else said.path.name).partition("@")
    return FoundModel(said.path, tail, ref or None, model)


def _family_text(said: Described, candidate: FoundModel) -> str:
    return said.family or candidate.repo.rpartition("/")[2]


def _is_testing(said: Described, candidate: FoundModel) -> bool:
    name = _family_text(said, candidate)
    nobody_named_it = said.family is None and said.repo is None
    filters = compile_testing_patterns(said.patterns)
    return is_testing_name(name, filters=filters) or (nobody_named_it and is_generic_family(name))


def _name(said: Described, candidate: FoundModel, facts: ModelFacts, backend: str) -> str:
    container, quantization = facts.download_format, facts.quantization
    if said.family is None:
        return default_variant_name(
            candidate.repo, backend, revision=candidate.ref, download_format=container, quantization=quantization
        )
    return variant_name(said.family, backend, None if container == SAFETENSORS else container, quantization)


def _place_in_registry(
    ledger: RecordSession, said: Described, candidate: FoundModel, facts: ModelFacts
) -> tuple[str, Entry | None]:
    """Return the name to record a model under, and the entry that this replaces.

    An entry without a backend gives way to one with a backend; the same files for another backend are another variant.
    """
    registry = ledger.registry
    here = [entry for entry in registry.entries.values() if entry.path == said.path]
    if said.backend == UNASSIGNED:
        known = next(iter(sorted(here, key=lambda entry: (not entry.managed, entry.name))), None)
        if known is not None:
            return known.name, known
    name = _name(said, candidate, facts, said.backend)
    if name in registry.entries:
        return name, registry.entries[name]
    served = next((entry for entry in here if _backend_of(registry, entry) == said.backend), None)
    if served is not None:
        return served.name, served
    kind = (_family(said, facts), facts.download_format, facts.quantization)
    entries = [entry for entry in registry.entries.values() if ledger.away(entry) is None]
    return name, next((entry for entry in _unassigned(entries, said.path, kind)), None)


def _unassigned(entries: Iterable[Entry], path: Path, kind: tuple[str | None, ...]) -> Iterable[Entry]:
    """Yield entries that were recorded of this model before anybody said what serves it."""
    for entry in entries:
        if entry.managed or entry.text("backend") != UNASSIGNED:
            continue
        same_kind = tuple(entry.text(key) for key in ("family", "download_format", "quantization")) == kind
        if entry.path == path or (same_kind and not (entry.path is not None and is_there(entry.path))):
            yield entry


def _family(said: Described, facts: ModelFacts) -> str | None:
    return normalize_family(said.family) if said.family else facts.family


def _backend_of(registry: RegistryState, entry: Entry) -> str:
    manifest = registry.manifests.get(entry.name)
    declared = manifest.text("backend") if manifest is not None else None
    return str(declared or entry.text("backend") or UNASSIGNED)


def _backend(said: Described, old: Entry | None) -> str:
    recorded = old.text("backend") if old is not None else None
    return recorded if said.backend == UNASSIGNED and recorded else said.backend


def _check_manifest(registry: RegistryState, name: str, old: Entry | None) -> None:
    if problems := registry.blocked.get(name):
        raise RecordError(f"{name}: {problems[0].render()}", remedy="Put that right first.")
    manifest = registry.manifests.get(name)
    if manifest is not None and old is None:
        raise RecordError(
            f"{name} is declared by {manifest.file}",
            remedy=f"`imageworks-models reconcile {name}` takes over what is on the disk.",
        )


def _as_said(entry: Entry, said: Described, candidate: FoundModel, old: Entry | None) -> Entry:
    """Return the entry with what only the caller, or an earlier look at the same bytes, can say."""
    fields = dict(entry.fields)
    if said.repo:
        fields["source_provider"] = REPOSITORIES
        fields["resolved"] = {"repo": candidate.repo, **({"ref": candidate.ref} if candidate.ref else {})}
    if said.family:
        fields["family"] = normalize_family(said.family)
    if old is not None and old.path == entry.path and aggregate_sha256(old.files) == aggregate_sha256(entry.files):
        kept = SAID_OF_IT if old.revision is None else (*SAID_OF_IT, *AT_INSTALL)
        fields |= {key: old.fields[key] for key in kept if key in old.fields}
        fields["metadata"] = {**old.part("metadata"), **entry.part("metadata"), **_acquisition(old)}
        fields["managed"] = old.managed
    if said.location:
        fields["download_location"] = said.location
    if said.display_name:
        fields["display_name"] = said.display_name
    if said.provider:
        fields["source_provider"] = PROVIDERS.get(said.provider, said.provider)
    known = fields.get("metadata")
    told = {key: value for key, value in said.metadata.items() if value is not None and key != ACQUISITION}
    if told:
        fields["metadata"] = {**told, **(known if isinstance(known, Mapping) else {})}
    served = old.text("served_model_id") if old is not None else None
    fields["served_model_id"] = said.served_model_id or (served if old and served != old.name else None) or entry.name
    return replace(entry, fields=fields)


def _acquisition(old: Entry) -> dict[str, object]:
    return {ACQUISITION: "installed"} if old.installed_by_us else {}


def _check_lock(entry: Entry, old: Entry | None) -> None:
    """Refuse other bytes than those that an entry is locked to."""
    if old is None or not lock_of(None, old).locked:
        return
    expected, found = lock_of(None, old).digest or aggregate_sha256(old.files), aggregate_sha256(entry.files)
    if expected != found:
        raise RecordError(
            f"{old.name}: version_lock expects {expected[:12]}, and {entry.path} has {found[:12]}",
            remedy=f"`imageworks-model-registry verify {old.name} --unlock` allows it.",
        )
