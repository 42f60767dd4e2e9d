"""One model of the registry as Python code sees it: the documented fields as attributes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.foundation.tables import html_table
from imageworks.foundation.texts import human_bytes
from imageworks.registry.entries.chat_templates import template_file
from imageworks.registry.entries.entry import ArtifactFile
from imageworks.registry.entries.merge import load_owners, merge_one
from imageworks.registry.entries.queries import (
    LEGACY,
    file_paths,
    is_installed,
    name_for_people,
    quantization_of,
)
from imageworks.registry.version_lock import UNLOCKED, VersionLock, read_lock

if TYPE_CHECKING:
    from imageworks.registry.load import RegistryState

Fields = Mapping[str, object]
NOTHING: Final[Fields] = {}


class Part(Mapping[str, object]):
    """A part of a model, such as its generation defaults: a mapping whose keys are attributes, too.

    An attribute that nothing is said of is ``None``.

    Args:
        values: What is said.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Fields = NOTHING) -> None:
        self._values = values

    def __getitem__(self, key: str) -> object:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._values.get(name)
        return Part(value) if isinstance(value, Mapping) else value

    def __repr__(self) -> str:
        return repr(dict(self._values))


class ChatTemplatePart(Part):
    """Where a model's chat template is.

    As a mapping it says what is recorded: ``source``, ``path`` (relative to the model's folder), ``sha256``.

    Args:
        values: What is recorded.
        find: Where its own file is.
    """

    __slots__ = ("_find",)

    def __init__(self, values: Fields = NOTHING, find: Callable[[], str | None] = lambda: None) -> None:
        super().__init__(values)
        self._find = find

    @property
    def path(self) -> str | None:
        """The absolute path of the template's own file; ``None`` for one inside the tokenizer, a GGUF or Ollama."""
        return self._find()


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """How a backend serves a model.

    Args:
        model_path: The weights' local path.
        port: Where the server listens.
        host: The server's host.
        base_url: The server's address, where it is not made of host and port.
        extra_args: More words for the server's command line.
    """

    model_path: str | None = None
    port: int | None = None
    host: str | None = None
    base_url: str | None = None
    extra_args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The verified files of a model.

    Args:
        aggregate_sha256: One digest of them all; ``None`` where nothing is verified.
        files: Path, size in bytes and sha256 of each.
    """

    aggregate_sha256: str | None = None
    files: tuple[ArtifactFile, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A model as manifest and entry together say it is; change one with ``dataclasses.replace`` and ``update_entries``.

    Args:
        name: The canonical key, by which everything names the model.
        backend: What serves it.
        backend_config: How it is served, with ``model_path``, the weights' local path.
        served_model_id: The identity at run time: what clients send as ``model``.
        display_name: The name that people see.
        family: The first part of the variant name.
        quantization: The detected or declared quantization.
        roles: What it is used for, such as ``caption``.
        role_priority: By role, the number by which the role chooses; the highest wins.
        capabilities: What it can do, such as ``vision``.
        model_aliases: Other names that clients may use.
        generation_defaults: Sampling settings used when a request gives none.
        chat_template: Where its chat template is: ``source``, ``path``, ``sha256``; the attribute ``path`` is absolute,
            and ``None`` for a template that has no file of its own.
        deprecated: Whether it is kept for going back only.
        license: Its licence.
        producer: Who made or packaged it.
        source_provider: Which provider it came from.
        version_lock: The bytes that it is held to.
        artifacts: The verified files.
        resolved: ``repo``, ``revision`` and ``ref`` at install.
        download_format: The detected container.
        download_location: The name of the location, or ``custom``.
        download_path: The absolute path of the folder or file, or ``ollama://NAME``.
        download_files: Relative paths.
        download_size_bytes: The bytes of all files.
        download_directory_checksum: 16 hex digits over names and sizes: a quick sign of change, not a proof.
        downloaded_at: When the files were published, as an ISO time.
        verification: What vouches for the bytes.
        managed: Whether a manifest stands behind it.
        metadata: What was found besides.
        unavailable: Why nothing can be said of its files now, such as ``location-absent``; never written.
        last_accessed: When this host last served or resolved it, as an ISO time; kept outside git and never written.
        fields: Everything, as it was read; which attributes differ from it is what ``update_entries`` writes.
    """

    name: str
    backend: str = "unassigned"
    backend_config: BackendConfig = BackendConfig()
    served_model_id: str | None = None
    display_name: str | None = None
    family: str | None = None
    quantization: str | None = None
    roles: tuple[str, ...] = ()
    role_priority: Mapping[str, int] = field(default_factory=dict)
    capabilities: Fields = field(default_factory=dict)
    model_aliases: tuple[str, ...] = ()
    generation_defaults: Part = field(default_factory=Part)
    chat_template: ChatTemplatePart = field(default_factory=ChatTemplatePart)
    deprecated: bool = False
    license: str | None = None
    producer: str | None = None
    source_provider: str | None = None
    version_lock: VersionLock = UNLOCKED
    artifacts: Artifacts = Artifacts()
    resolved: Fields = field(default_factory=dict)
    download_format: str | None = None
    download_location: str | None = None
    download_path: str | None = None
    download_files: tuple[str, ...] = ()
    download_size_bytes: int = 0
    download_directory_checksum: str | None = None
    downloaded_at: str | None = None
    verification: str | None = None
    managed: bool = False
    metadata: Fields = field(default_factory=dict)
    unavailable: str | None = field(default=None, compare=False)
    last_accessed: str | None = field(default=None, compare=False)
    fields: Fields = field(default_factory=dict, compare=False, repr=False)

    @property
    def path(self) -> Path | None:
        """The folder (or single file) of the weights on this machine; ``None`` without any."""
        return Path(self.download_path) if self.download_path and self.download_path.startswith("/") else None

    @property
    def files(self) -> tuple[Path, ...]:
        """The absolute paths of its files; none for a model that stands in no folder."""
        return tuple(Path(path) for path in file_paths(self.fields or as_fields(self)))

    @property
    def source(self) -> Fields:
        """Where it came from, as an earlier tool or its manifest wrote it."""
        return _part(self.fields, "source")

    @property
    def backend_alternatives(self) -> tuple[str, ...]:
        """What else could serve it, as an earlier tool recorded it."""
        return _texts(_part(self.metadata, LEGACY), "backend_alternatives")

    @property
    def probes(self) -> Part:
        """What an earlier tool found out by asking it, such as ``probes.vision.vision_ok``."""
        return Part(_part(_part(self.metadata, LEGACY), "probes"))

    @property
    def performance(self) -> Part:
        """How fast an earlier tool saw it answer."""
        return Part(_part(_part(self.metadata, LEGACY), "performance"))

    @property
    def installed(self) -> bool:
        """Whether its path exists, on the disk that this host knows."""
        return is_installed({"download_path": self.download_path, "unavailable": self.unavailable})

    def __repr__(self) -> str:
        kind = " ".join(filter(None, (self.download_format, self.quantization)))
        size = human_bytes(self.download_size_bytes) if self.download_size_bytes else ""
        here = "" if self.installed else "not here"
        return f"<{', '.join(filter(None, (self.name, self.backend, kind, size, here)))}>"

    def _repr_html_(self) -> str:
        """Return the model as a notebook shows it."""
        fields = {key: value for key, value in as_fields(self).items() if key not in {"artifacts", "download_files"}}
        return html_table(("field", "value"), sorted(fields.items()), caption=self.name)

    @property
    def title(self) -> str:
        """The name that people see, made from the family where nobody recorded one."""
        return name_for_people(as_fields(self))


def read_registry_entry(
    fields: Fields, *, registry: Path | None = None, allows: Callable[[Path], bool] | None = None
) -> RegistryEntry:
    """Return a model of the snapshot as a value.

    Args:
        fields: The merged model.
        registry: The registry folder, in which a chat template may stand.
        allows: Whether this host allows a path, such as a chat template's.
    """
    config, artifacts = _part(fields, "backend_config"), _part(fields, "artifacts")
    priority = _part(fields, "role_priority")
    port, size = config.get("port"), fields.get("download_size_bytes")
    return RegistryEntry(
        name=_text(fields, "name") or "",
        backend=_text(fields, "backend") or "unassigned",
        backend_config=BackendConfig(
            model_path=_text(config, "model_path"),
            port=port if isinstance(port, int) else None,
            host=_text(config, "host"),
            base_url=_text(config, "base_url"),
            extra_args=_texts(config, "extra_args"),
        ),
        served_model_id=_text(fields, "served_model_id"),
        display_name=_text(fields, "display_name"),
        family=_text(fields, "family"),
        quantization=quantization_of(fields),
        roles=_texts(fields, "roles"),
        role_priority={role: number for role, number in priority.items() if isinstance(number, int)},
        capabilities=dict(_part(fields, "capabilities")),  # the object that manifests have in common stays as it is
        model_aliases=_texts(fields, "model_aliases"),
        generation_defaults=Part(_part(fields, "generation_defaults")),
        chat_template=ChatTemplatePart(
            _part(fields, "chat_template"), partial(template_file, fields, registry=registry, allows=allows)
        ),
        deprecated=fields.get("deprecated") is True,
        license=_text(fields, "license"),
        producer=_text(fields, "producer"),
        source_provider=_text(fields, "source_provider"),
        version_lock=read_lock(fields.get("version_lock")),
        artifacts=Artifacts(_text(artifacts, "aggregate_sha256"), _artifact_files(artifacts)),
        resolved=_part(fields, "resolved"),
        download_format=_text(fields, "download_format"),
        download_location=_text(fields, "download_location"),
        download_path=_text(fields, "download_path"),
        download_files=_texts(fields, "download_files"),
        download_size_bytes=size if isinstance(size, int) else 0,
        download_directory_checksum=_text(fields, "download_directory_checksum"),
        downloaded_at=_text(fields, "downloaded_at"),
        verification=_text(fields, "verification"),
        managed=fields.get("managed") is True,
        metadata=_part(fields, "metadata"),
        fields=fields,
    )


def recorded_entry(registry: "RegistryState", name: str) -> RegistryEntry:
    """Return a recorded model as manifest and entry together say it is.

    Args:
        registry: What is declared and recorded.
        name: The model.
    """
    return read_registry_entry(merge_one(registry.manifests.get(name), registry.entries[name], load_owners()))


def as_fields(entry: RegistryEntry) -> dict[str, object]:
    """Return a model by an entry's own keys; what says nothing is left out.

    Args:
        entry: The model.
    """
    config, lock = entry.backend_config, entry.version_lock
    said: dict[str, object] = {key: getattr(entry, key) for key in _PLAIN}
    said |= {key: dict(getattr(entry, key)) for key in _MAPPINGS}
    said |= {key: list(getattr(entry, key)) for key in _LISTS}
    said["backend_config"] = _said(
        {**{key: getattr(config, key) for key in _CONFIG}, "extra_args": [*config.extra_args]}
    )
    said["version_lock"] = _said({"locked": lock.locked, "expected_aggregate_sha256": lock.expected_aggregate_sha256})
    files = [{"path": one.path, "size": one.size, "sha256": one.sha256} for one in entry.artifacts.files]
    said["artifacts"] = _said({"aggregate_sha256": entry.artifacts.aggregate_sha256, "files": files})
    return _said(said)


def changes_of(entry: RegistryEntry) -> dict[str, object]:
    """Return the fields in which a model differs from what was read; ``None`` stands for one that is taken away.

    Args:
        entry: The model, perhaps changed with ``dataclasses.replace``; one that was never read is all new.
    """
    before = as_fields(read_registry_entry(entry.fields)) if entry.fields else {}
    now = as_fields(entry)
    return {key: now.get(key) for key in sorted({*before, *now}) if before.get(key) != now.get(key)}


_PLAIN: Final = (
    *("name", "backend", "served_model_id", "display_name", "family", "quantization", "deprecated", "license"),
    *("producer", "source_provider", "download_format", "download_location", "download_path", "download_size_bytes"),
    *("download_directory_checksum", "downloaded_at", "verification", "managed"),
)
_MAPPINGS: Final = ("role_priority", "capabilities", "generation_defaults", "chat_template", "resolved", "metadata")
_LISTS: Final = ("roles", "model_aliases", "download_files")
_CONFIG: Final = ("model_path", "port", "host", "base_url")


def _said(values: Fields) -> dict[str, object]:
    """Return what says something: a value that an absent one would be read as says nothing."""
    return {key: value for key, value in values.items() if value not in (None, "", [], {}, False, 0)}


def _part(fields: Fields, key: str) -> Fields:
    value = fields.get(key)
    return value if isinstance(value, Mapping) else NOTHING


def _text(fields: Fields, key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) else None


def _texts(fields: Fields, key: str) -> tuple[str, ...]:
    value = fields.get(key)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()


def _artifact_files(artifacts: Fields) -> tuple[ArtifactFile, ...]:
    listed = artifacts.get("files")
    found = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    return tuple(ArtifactFile(str(f.get("path")), _whole(f.get("size")), str(f.get("sha256"))) for f in found)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
