"""Merged models as the page shows them."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from sys import intern

from imageworks.detection.formats.readme import LARGEST_FRONT, without_front_matter
from imageworks.detection.sizes.memory import Cache, CachedLayers, Demand
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.plain_files import NotPlainError, read_plain_file
from imageworks.host.settings import HostSettings
from imageworks.page.values import PageDetails, PageModel, SourcePart
from imageworks.plan.plan import Reason
from imageworks.plan.status import ModelStatus
from imageworks.registry.entries.entry import Entry, known_entry
from imageworks.registry.entries.merge import Owners, merge_one
from imageworks.registry.entries.queries import (
    Model,
    abilities,
    name_for_people,
    parameter_size,
    part,
    producer_for_people,
    quantization_of,
    size_of,
    text,
    texts,
)
from imageworks.registry.manifests.manifest import SUFFIXES, read_manifest
from imageworks.serving.command_line import Server, Wishes, command_line, target_of


@dataclass(frozen=True, slots=True)
class ModelReader:
    """Makes what the page shows of each model among others.

    Args:
        weights: The root of this host's weights.
        entries: What is recorded of the host's models, by name.
        statuses: Each model's standing, by name.
    """

    weights: Path
    entries: Mapping[str, Entry]
    statuses: Mapping[str, ModelStatus]

    def read(self, model: Model) -> PageModel:
        """Return what is shown of a merged model."""
        name = text(model, "name")
        entry = self.entries.get(name)
        status = self.statuses.get(name)
        return PageModel(
            name=name,
            owner=intern(producer_for_people(model, self.weights) or "unknown"),
            sync=status.sync.value if status else "declared" if model.get("managed") is True else "undeclared",
            health=status.health.value if status else "recorded",
            reason=_reason(status) if status else "",
            wrong=status is not None and status.wrong,
            size=entry.size if entry is not None and entry.files else size_of(model),
            format=intern(text(model, "download_format")),
            backend=intern(text(model, "backend")),
            quantization=intern(quantization_of(model) or ""),
            parameters=intern(parameter_size(model) or ""),
            location=intern(text(model, "download_location")),
            changed=_when(text(model, "downloaded_at")),
            roles=tuple(map(intern, texts(model, "roles"))),
            files=tuple((one.path, one.size) for one in entry.files) if entry is not None else (),
            memory=_memory(model, entry),
        )


@dataclass(frozen=True, slots=True)
class DetailReader:
    """Reads what a model's own page says besides; of the registry it keeps no more than texts, as a server runs long.

    Args:
        host: This host.
        entries: What is recorded of the host's models, by name.
        applied: What the manifests declare that are meant for this host, by name.
        owners: Who owns which field.
        manifest: Returns a model's manifest in parts, by name.
        longest_card: Letters of a model card that are shown.
    """

    host: HostSettings
    entries: Mapping[str, Model]
    applied: Mapping[str, Model]
    owners: Owners
    manifest: Callable[[str], tuple[SourcePart, ...]]
    longest_card: int

    def read(self, name: str) -> PageDetails:
        """Return what is said of a model."""
        entry = known_entry(dict(self.entries[name])) if name in self.entries else None
        declared = read_manifest(f"{name}{SUFFIXES[0]}", self.applied[name]) if name in self.applied else None
        model = merge_one(declared, entry, self.owners)
        commands, notes = self._serving(model, entry)
        card = self._card(model, entry)
        return PageDetails(
            title=name_for_people(model),
            facts=_facts(model, told=commands),
            manifest=self.manifest(name),
            commands=commands,
            notes=notes,
            files=entry.files if entry is not None else (),
            readme=card[: self.longest_card],
            readme_cut=len(card) > self.longest_card,
            evidence=tuple(_evidence(model)),
        )

    def _serving(self, model: Model, entry: Entry | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what starts a model's server, and what a person should know before; no file is looked at."""
        name, backend = text(model, "name"), text(model, "backend")
        if backend not in {one.value for one in Server}:
            return (), ()
        server = Server(backend)
        try:
            target, notes = target_of(model, server, recorded=entry.fields if entry is not None else {})
            words = command_line(server, target, Wishes(), allowed=self.host.allowed_launch_options)
        except ImageworksError as error:
            return (), (str(error),)
        return (shlex.join(["imageworks-models", "launch", backend, name]), f"# starts: {shlex.join(words)}"), notes

    def _card(self, model: Model, entry: Entry | None) -> str:
        file = text(part(model, "metadata"), "readme_file")
        if entry is None or entry.path is None or file not in {one.path for one in entry.files}:
            return ""
        with suppress(OSError, NotPlainError):
            read = read_plain_file(entry.base / file, LARGEST_FRONT + self.longest_card)
            return without_front_matter(read.decode("utf-8", "replace"))[: self.longest_card + 1]
        return ""


def _reason(status: ModelStatus) -> str:
    """Return what is wrong; what only the network could tell is not known here."""
    asks = status.reason.startswith(Reason.OFFLINE.value)
    return "not asked for here, as the page asks no network" if asks else status.reason


def _when(moment: str) -> datetime | None:
    with suppress(ValueError):
        found = datetime.fromisoformat(moment)
        return found if found.tzinfo is not None else None
    return None


def _facts(model: Model, *, told: Sequence[str]) -> dict[str, str]:
    """Return what is known, by label; the folder only where no command names it."""
    metadata, resolved = part(model, "metadata"), part(model, "resolved")
    architecture = part(metadata, "architecture")
    context = architecture.get("context_length")
    path = text(model, "download_path")
    safety = part(metadata, "safety")
    shown = {
        "Source": _joined([text(resolved, "repo"), text(resolved, "revision")], " @ "),
        "Followed": ref if (ref := text(resolved, "ref")) != text(resolved, "revision") else "",
        "Licence": _said(model.get("license")),
        "Architecture": _said(architecture.get("architectures")),
        "Parameters": parameter_size(model) or "",
        "Context": f"{context} tokens" if isinstance(context, int) else "",
        "Format": text(model, "download_format"),
        "Quantization": quantization_of(model) or "",
        "Server": text(model, "backend"),
        "Can": ", ".join(abilities(model)),
        "Roles": ", ".join(texts(model, "roles")),
        "Library": text(metadata, "library"),
        "Task": text(metadata, "pipeline_tag"),
        "Languages": _said(metadata.get("language")),
        "Card says": "; ".join(f"{key}: {_said(value)}" for key, value in part(metadata, "readme_signals").items()),
        "Safety": "; ".join(f"{key}: {_said(value)}" for key, value in safety.items()),
        "Verified": text(model, "verification"),
        "Here since": text(model, "downloaded_at"),
        "Location": text(model, "download_location"),
        "Path": path if not any(path in one for one in told) else "",
        "Digest of all files": text(part(model, "artifacts"), "aggregate_sha256"),
        "Deprecated": "yes" if model.get("deprecated") is True else "",
    }
    return {label: said for label, said in shown.items() if said}


def _said(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_said(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(one)}" for key, one in value.items())
    return "" if value is None else str(value)


def _joined(words: Sequence[str], between: str) -> str:
    return between.join(word for word in words if word)


def _evidence(model: Model) -> list[str]:
    said = part(part(model, "metadata"), "detection").get("evidence")
    return [str(one) for one in said] if isinstance(said, list) else []


def _memory(model: Model, entry: Entry | None) -> Demand | None:
    """Return what a model needs as its entry records it; nothing where that says nothing of a cache or a buffer."""
    recorded = part(part(model, "metadata"), "memory")
    if not recorded or entry is None or not entry.size:
        return None
    context = part(part(model, "metadata"), "architecture").get("context_length")
    said = recorded.get("cache")
    groups = [one for one in said if isinstance(one, Mapping)] if isinstance(said, list) else []
    kept = Cache(tuple(_layers(one) for one in groups), _number(recorded, "state_bytes"))
    return Demand(entry.size, kept, _number(recorded, "buffer_bytes"), context if isinstance(context, int) else None)


def _layers(said: Mapping[str, object]) -> CachedLayers:
    window = _number(said, "window") or None
    return CachedLayers(_number(said, "layers"), _number(said, "values"), window, max(1, _number(said, "ratio")))


def _number(said: Mapping[str, object], key: str) -> int:
    value = said.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
