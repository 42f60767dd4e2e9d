"""A manifest as a value: what people declare of one model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import unquote, urlsplit

FOLDER: Final = "models"
SUFFIXES: Final = (".yaml", ".yml")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


class State(StrEnum):
    """What is wanted of a model's files on a host."""

    PRESENT = "present"
    ABSENT = "absent"
    SUSPENDED = "suspended"


class Prune(StrEnum):
    """What may happen to a model's files once its manifest is deleted."""

    DISABLED = "disabled"
    CONFIRM = "confirm"
    ENABLED = "enabled"


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a full commit id, and so a pin."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


@dataclass(frozen=True, slots=True)
class RepositorySource:
    """A repository on a Hugging Face-compatible hub.

    Args:
        repo: ``owner/repo``, or a legacy single name.
        revision: Branch, tag or commit; ``main`` when not declared.
        include: Globs: of weights and data exactly these; empty means everything that a loader may need.
        subfolder: Folder within the repository to take files from.
        optional: Whether optional files (docs, images, examples) are wanted too.
        branch: The branch or tag that a pinned revision was taken from, where that is not ``main``.
        exclude: Globs: these do not come.
        weights: Globs over weights: exactly these, with everything that is not weights.
    """

    provider: ClassVar = "huggingface"
    repo: str
    revision: str = "main"
    include: tuple[str, ...] = ()
    subfolder: str | None = None
    optional: bool = False
    branch: str | None = None
    exclude: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()

    def is_renamed(self, repo: str) -> bool:
        """Return whether a hub answers with another repository than the declared one; letter case is no difference."""
        return repo.lower() != self.repo.lower()

    @property
    def ref(self) -> str:
        """The branch or tag by which people know the revision; the revision itself where there is none."""
        return self.branch or self.revision

    @property
    def label(self) -> str:
        """The source as people write it."""
        return f"huggingface:{self.repo}"


@dataclass(frozen=True, slots=True)
class Modelfile:
    """What a model of one's own is made of, in the words of Ollama's Modelfile.

    Args:
        base: The model to build on, or the path of a GGUF file.
        template: The prompt template.
        system: The system message.
        parameters: Runtime parameters.
        license: The text or name of the licence.
        adapters: Paths of LoRA adapters.
    """

    base: str | None = None
    template: str | None = None
    system: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    license: str | None = None
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OllamaSource:
    """A model of an Ollama library, by its name and tag.

    Args:
        name: As people write it.
        digest: The sha256 of Ollama's manifest as a pin, 64 hexadecimal digits.
        modelfile: What to make it from, instead of pulling it.
    """

    provider: ClassVar = "ollama"
    name: str
    digest: str | None = None
    modelfile: Modelfile | None = None

    @property
    def label(self) -> str:
        """The source as people write it."""
        return f"ollama:{self.name}"


@dataclass(frozen=True, slots=True)
class PathSource:
    """A file or folder that is already on the host."""

    provider: ClassVar = "path"
    path: str

    @property
    def label(self) -> str:
        """The source as people write it."""
        return f"path:{self.path}"


@dataclass(frozen=True, slots=True)
class OtherSource:
    """A source that only its provider reads.

    Args:
        provider: The provider's name.
        fields: What is declared below ``source:``.
    """

    provider: str
    fields: Mapping[str, object]

    @property
    def label(self) -> str:
        """The source as people write it, without what in an address may be secret."""
        value = self.fields.get(self.provider)
        if isinstance(value, str):
            return f"{self.provider}:{value.partition('?')[0]}"
        listed = self.fields.get("files")
        return f"{self.provider}:{len(listed)} files" if isinstance(listed, list) else self.provider

    @property
    def addresses(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """The addresses that it names, each with where it stands below ``source:``."""
        listed = self.fields.get("files")
        if not isinstance(listed, list):
            url = self.fields.get("url")
            return ((("url",), url),) if isinstance(url, str) else ()
        urls = ((index, row.get("url")) for index, row in enumerate(listed) if isinstance(row, Mapping))
        return tuple((("files", index, "url"), url) for index, url in urls if isinstance(url, str))

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that its addresses name, each once; this host is ``localhost``."""
        return tuple(dict.fromkeys(_host_of(url) for _, url in self.addresses))


def local_path(url: str) -> Path | None:
    """Return the path of a ``file:`` address on this host; ``None`` for other addresses."""
    return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "localhost").lower()
    except ValueError:
        return url  # nobody's: the provider refuses it


Source = RepositorySource | OllamaSource | PathSource | OtherSource


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is declared of one model.

    Args:
        name: The variant name, which is the file's stem.
        file: The manifest's path within the registry, ``/``-separated.
        source: Where the model comes from; ``None`` for a logical entry (roles and backend only).
        fields: Everything declared, as parsed, schema-valid.
    """

    name: str
    file: str
    source: Source | None
    fields: Mapping[str, object] = field(default_factory=dict)

    def text(self, key: str) -> str | None:
        """Return a declared text field, or ``None`` when it is not declared."""
        value = self.fields.get(key)
        return value if isinstance(value, str) else None

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a declared list of texts, empty when it is not declared."""
        value = self.fields.get(key)
        return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()

    @property
    def state(self) -> State:
        """What is wanted of the files."""
        value = self.fields.get("state")
        return State(value) if isinstance(value, str) else State.PRESENT

    @property
    def prune(self) -> Prune | None:
        """What may happen to the files without a manifest; ``None`` leaves it to the registry."""
        value = self.text("prune")
        return None if value is None else Prune(value)

    @property
    def location(self) -> str | None:
        """A location's name or an absolute path, if declared."""
        return self.text("location")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names and label selectors; empty means every host."""
        return self.texts("hosts")

    @property
    def previously(self) -> tuple[str, ...]:
        """Names that this model had before."""
        return self.texts("previously")

    @property
    def served_name(self) -> str | None:
        """What clients ask for, where a store knows the model by that name alone."""
        return self.source.name if isinstance(self.source, OllamaSource) else None

    @property
    def locked(self) -> bool:
        """Whether a version lock holds the model to one set of bytes."""
        lock = self.fields.get("version_lock")
        return isinstance(lock, Mapping) and lock.get("locked") is True

    @property
    def selection(self) -> dict[str, object]:
        """What decides which files of a source are wanted, in the form that an entry records."""
        chosen: dict[str, object] = {}
        source = self.source
        if isinstance(source, RepositorySource):
            for key, globs in (("include", source.include), ("exclude", source.exclude), ("weights", source.weights)):
                if globs:
                    chosen[key] = sorted(globs)
            if source.subfolder:
                chosen["subfolder"] = source.subfolder
            if source.optional:
                chosen["optional"] = True
        for key in ("format", "quantization"):
            if value := self.text(key):
                chosen[key] = value
        return chosen

    def applies_to(self, host: str, labels: Mapping[str, str]) -> bool:
        """Return whether this model is meant for a host, by its name or by ``key=value`` labels."""
        hosts = self.hosts
        for wanted in hosts:
            key, equals, value = wanted.partition("=")
            if wanted == host or (equals and labels.get(key) == value):
                return True
        return not hosts


def manifest_name(file: str) -> str:
    """Return the variant name that a manifest's file name gives."""
    name = file.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and dot and suffix else name


def read_manifest(file: str, fields: Mapping[str, object]) -> Manifest:
    """Return the manifest that a schema-valid document declares."""
    return Manifest(name=manifest_name(file), file=file, source=_source(fields.get("source")), fields=fields)


def _source(value: object) -> Source | None:
    if not isinstance(value, Mapping):
        return None
    if "huggingface" in value:
        return RepositorySource(
            repo=str(value["huggingface"]),
            revision=str(value.get("revision", "main")),
            include=_globs(value, "include"),
            exclude=_globs(value, "exclude"),
            weights=_globs(value, "weights"),
            subfolder=str(value["subfolder"]).strip("/") if value.get("subfolder") else None,
            optional=value.get("optional") is True,
            branch=str(value["branch"]) if value.get("branch") else None,
        )
    if "ollama" in value:
        digest = value.get("digest")
        return OllamaSource(
            name=str(value["ollama"]),
            digest=str(digest).removeprefix("sha256:") if digest else None,
            modelfile=_modelfile(value.get("modelfile")),
        )
    if "path" in value:
        return PathSource(path=str(value["path"]))
    provider = "url" if {"url", "files"} & value.keys() else str(next(iter(value), ""))
    return OtherSource(provider, {str(key): one for key, one in value.items()})


def _modelfile(value: object) -> Modelfile | None:
    if not isinstance(value, Mapping):
        return None
    parameters, adapters = value.get("parameters"), value.get("adapters")
    return Modelfile(
        base=str(value["from"]) if value.get("from") else None,
        template=_declared(value, "template"),
        system=_declared(value, "system"),
        parameters=dict(parameters) if isinstance(parameters, Mapping) else {},
        license=_declared(value, "license"),
        adapters=tuple(str(path) for path in adapters) if isinstance(adapters, list) else (),
    )


def _globs(value: Mapping[object, object], key: str) -> tuple[str, ...]:
    globs = value.get(key)
    return tuple(str(glob) for glob in globs) if isinstance(globs, list) else ()


def _declared(value: Mapping[object, object], key: str) -> str | None:
    return str(value[key]) if value.get(key) is not None else None
