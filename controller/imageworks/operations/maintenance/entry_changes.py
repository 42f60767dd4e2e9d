"""What maintenance does to a host's entries: pure functions from entries to changes, shown as a plan before they count.

None of them touches a model's files, and none removes an entry that a manifest stands behind.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from imageworks.registry.documents.document import JsonValue
from imageworks.registry.entries.entry import ArtifactFile, Entry, aggregate_sha256, as_packed, directory_checksum
from imageworks.registry.entries.queries import PLACEHOLDER, display_after, file_paths, is_installed, richness
from imageworks.registry.manifests.manifest import Manifest, manifest_name

ABSENT: Final = "none"


class EntryAction(Enum):
    """What happens to an entry; the value is its sign in a plan."""

    ADD = "+"
    CHANGE = "~"
    RENAME = ">"
    DEPRECATE = "!"
    REMOVE = "-"


@dataclass(frozen=True, slots=True)
class ManifestEdit:
    """What happens to the manifest behind an entry.

    Args:
        file: Its path within the registry.
        becomes: Its path from then on; ``None`` when it goes.
        changes: New value by the keys that lead to it; ``None`` removes the key.
    """

    file: str
    becomes: str | None
    changes: Mapping[tuple[str, ...], JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EntryChange:
    """One entry's change.

    Args:
        name: The entry's name.
        deed: What happens to it.
        why: Why, as a few words.
        differences: Each changed field as ``field:old→new``.
        entry: What is recorded from then on, perhaps under another name; ``None`` when it goes, or there is none.
        manifest: What happens to its manifest, where something does.
    """

    name: str
    deed: EntryAction
    why: str
    differences: tuple[str, ...] = ()
    entry: Entry | None = None
    manifest: ManifestEdit | None = None

    @property
    def new_name(self) -> str:
        """What it is called from then on; its name where it goes."""
        if self.entry is not None:
            return self.entry.name
        return manifest_name(self.manifest.becomes) if self.manifest and self.manifest.becomes else self.name


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry that stays as it is although it was looked at, and why.

    Args:
        name: The entry's name.
        why: Why it stays.
    """

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """How a recorded model's files stand.

    Args:
        exists: Whether its path is there.
        reachable: Whether the place that it stands in is there; an unmounted drive is not.
        away: Why nothing can be said of that place, where something is known.
        download_format: The container that its files say now; ``None`` when they say nothing.
        quantization: The quantization likewise.
        described: What else detection says, for ``metadata``.
        answers: What it says of other fields: capabilities, chat template, licence.
        files: Its files as they are now; ``None`` when they were not looked at.
    """

    exists: bool
    reachable: bool = True
    away: str = ""
    download_format: str | None = None
    quantization: str | None = None
    described: Mapping[str, object] | None = None
    answers: Mapping[str, object] = field(default_factory=dict)
    files: tuple[ArtifactFile, ...] | None = None


def purge_deprecated(
    entries: Iterable[Entry], declared: Iterable[str], *, placeholders_only: bool = False
) -> list[EntryChange | Kept]:
    """Remove deprecated entries."""
    by_people = set(declared)
    found: list[EntryChange | Kept] = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.fields.get("deprecated") is not True or entry.name in by_people or entry.managed:
            continue
        if placeholders_only and not PLACEHOLDER.fullmatch(entry.name):
            found.append(Kept(entry.name, "deprecated, but no placeholder"))
        else:
            found.append(EntryChange(entry.name, EntryAction.REMOVE, "deprecated; its files stay where they are"))
    return found


def prune_duplicates(
    entries: Iterable[Entry], manifests: Mapping[str, Manifest], *, backend: str | None = None
) -> list[EntryChange | Kept]:
    """Remove entries that say less than another of the same family, backend, format and quantization."""
    groups: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        kind = _kind(entry, manifests.get(entry.name))
        if backend is None or kind[1] == backend:
            groups[kind].append(entry)
    found: list[EntryChange | Kept] = []
    for group in groups.values():
        if len(group) > 1:
            found += _pruned(group, manifests)
    return sorted(found, key=lambda change: change.name)


def _kind(entry: Entry, manifest: Manifest | None) -> tuple[str, ...]:
    def said(key: str) -> str:
        return (manifest.text(key) if manifest else None) or entry.text(key) or ""

    return said("family") or entry.name, said("backend"), entry.text("download_format") or "", said("quantization")


def why_kept(*, declared: bool) -> str:
    """Return why maintenance leaves a managed entry alone."""
    if declared:
        return "declared; delete its manifest if it is not wanted"
    gone = "no manifest declares it any more; `reconcile --prune` removes it unless that said `prune: disabled`"
    return f"{gone}, `promote` declares it"


def _pruned(group: list[Entry], declared: Container[str]) -> Iterable[EntryChange | Kept]:
    def rank(entry: Entry) -> tuple[int | str, ...]:
        return (entry.name not in declared, *(-number for number in richness(entry.fields)), entry.name)

    first, *rest = sorted(group, key=rank)
    yield Kept(first.name, f"says most of {len(group)} alike")
    own = set(file_paths(first.fields))
    for entry in rest:
        if entry.managed or entry.name in declared:
            yield Kept(entry.name, why_kept(declared=entry.name in declared))
        elif entry.path is not None and is_installed(entry.fields) and not set(file_paths(entry.fields)) <= own:
            yield Kept(entry.name, f"has files of its own at {entry.path}")
        else:
            yield EntryChange(entry.name, EntryAction.REMOVE, f"says no more than {first.name}")


def normalize(
    entries: Iterable[Entry], seen: Mapping[str, DetectedFormat], *, prune_missing: bool
) -> list[EntryChange | Kept]:
    """Put right what is recorded of files: what detection says now and, where they were looked at, what they are.

    Nothing gets another name: what people call a model stays, whatever it turns out to be.
    """
    found: list[EntryChange | Kept] = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        looked = seen.get(entry.name)
        if looked is None:
            continue
        change = _normalized(entry, looked) if looked.exists else _missing(entry, looked, prune=prune_missing)
        if change is not None:
            found.append(change)
    return found


def _missing(entry: Entry, seen: DetectedFormat, *, prune: bool) -> EntryChange | Kept | None:
    if seen.away:
        return Kept(entry.name, f"{entry.path} is out of reach: {seen.away}")
    if entry.managed:
        return Kept(entry.name, f"{entry.path} is gone; it is declared, so `reconcile` brings it back")
    if not seen.reachable:
        return Kept(entry.name, f"{entry.path} is out of reach: what it stands in is not there either")
    if prune:
        return EntryChange(entry.name, EntryAction.REMOVE, f"{entry.path} is gone")
    if entry.fields.get("deprecated") is True:
        return None
    condition = {"type": "Ready", "status": "False", "reason": "Missing", "message": f"{entry.path} is gone"}
    fields = {**entry.fields, "deprecated": True, "conditions": [condition]}
    return EntryChange(
        entry.name,
        EntryAction.DEPRECATE,
        f"{entry.path} is gone; marked as deprecated",
        entry=as_packed(replace(entry, fields=fields)),
    )


def _normalized(entry: Entry, seen: DetectedFormat) -> EntryChange | None:
    fields = dict(entry.fields)
    differences: list[str] = []

    def put(key: str, value: object) -> None:
        before = fields.get(key)
        if value is not None and value != before:
            fields[key] = value
            differences.append(f"{key}:{ABSENT if before is None else before}→{value}")

    put("download_format", seen.download_format)
    put("quantization", seen.quantization)
    if differences:
        fields |= _renamed(entry, seen)
    answers = dict(_answers(entry, seen))
    differences += [f"{key}:{_shown(before)}→{_shown(value)}" for key, (before, value) in answers.items()]
    if differences:
        fields |= {key: value for key, (_, value) in answers.items() if "." not in key}
        fields["metadata"] = _described(entry, seen)
    files = entry.files
    if seen.files is not None:
        files = seen.files
        put("download_size_bytes", sum(file.size for file in files))
        put("download_directory_checksum", directory_checksum(files))
        before = entry.fields.get("download_files")
        count = len(before) if isinstance(before, list) else 0
        if count != len(files):
            differences.append(f"download_files_count:{count}→{len(files)}")
        old, new = aggregate_sha256(entry.files), aggregate_sha256(files)
        if old != new and not differences:
            differences.append(f"artifacts.aggregate_sha256:{old[:12]}→{new[:12]}")
        fields |= _recorded(files)
    if not differences:
        return None
    return EntryChange(
        entry.name,
        EntryAction.CHANGE,
        "looked at again",
        tuple(differences),
        as_packed(replace(entry, fields=fields, files=files)),
    )


def _answers(entry: Entry, seen: DetectedFormat) -> Iterable[tuple[str, tuple[object, object]]]:
    """Yield what else detection answers otherwise now, as recorded and as it is; nothing that it cannot tell."""
    for key, value in seen.answers.items():
        before = entry.fields.get(key)
        flags = before.values() if key == "capabilities" and isinstance(before, Mapping) else ()
        if value is not None and value != before and all(isinstance(flag, bool) for flag in flags):
            yield key, (before, value)  # settings instead of flags are people's
    described, metadata = seen.described or {}, entry.part("metadata")
    for key in _ANSWERS:
        if key in described and described[key] != metadata.get(key):
            yield f"metadata.{key}", (metadata.get(key), described[key])


def _shown(value: object) -> str:
    """Return a value in a few characters."""
    if isinstance(value, Mapping):
        able = ",".join(str(key) for key, can in value.items() if can is True)
        return able or str(value.get("path") or "…")
    return ABSENT if value is None else str(value) if isinstance(value, (str, int, float)) else "…"


def _described(entry: Entry, seen: DetectedFormat) -> dict[str, object]:
    told = {key: value for key, value in (seen.described or {}).items() if key in _ANSWERS or key in _REASONS}
    kept = {key: value for key, value in entry.part("metadata").items() if key not in _REASONS or not told}
    return kept | told


def _renamed(entry: Entry, seen: DetectedFormat) -> dict[str, object]:
    """Return what follows from another format or quantization: the display name, where nobody chose one."""
    if not entry.text("family"):
        return {}
    looked = {"download_format": seen.download_format, "quantization": seen.quantization}
    now = {**entry.fields, **{key: value for key, value in looked.items() if value is not None}}
    return {"display_name": display_after(now, entry.fields)}


_ANSWERS: Final = (
    "quantization_details", "architecture", "parameters", "parameters_counted", "active_parameters", "memory", "kind",
    "licenses", "adapter_of", "base_model",
)  # fmt: skip
"""Keys of ``metadata`` that are answers of detection."""
_REASONS: Final = ("detection", "warnings", "preflight")
"""Keys that say what the answers rest on; they follow, and are no difference by themselves."""


def _recorded(files: tuple[ArtifactFile, ...]) -> dict[str, object]:
    return {
        "download_files": [file.path for file in files],
        "artifacts": {
            "aggregate_sha256": aggregate_sha256(files),
            "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in files],
        },
    }
