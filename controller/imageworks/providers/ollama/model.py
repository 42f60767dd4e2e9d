"""What is known of Ollama's models, as values: whoever plans works with these and never with the daemon."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from imageworks.providers.ollama.errors import OllamaNameError
from imageworks.providers.ollama.names import parse_name

ObservedFrom = Literal["api", "store", "nothing"]


@dataclass(frozen=True, slots=True)
class OllamaLayer:
    """One blob that a manifest names.

    Args:
        media_type: What it is, such as ``application/vnd.ollama.image.model``.
        digest: The sha256 of its content, 64 hexadecimal digits.
        size: Its size in bytes.
    """

    media_type: str
    digest: str
    size: int

    @property
    def kind(self) -> str:
        """The last word of the media type: ``model``, ``projector``, ``template``, ``params`` and so on."""
        return self.media_type.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """One installed model.

    Args:
        name: The shortest form with its tag, in the case of the store.
        digest: The sha256 of the manifest, 64 hexadecimal digits; older installs never match upstream's.
        size: Bytes of layers and config together.
        config_digest: The sha256 of the config blob; ``None`` when the store cannot be read.
        layers: In the manifest's order; empty when the store cannot be read.
        modified_at: When the manifest was written, UTC, ``2026-08-01T12:00:00Z``.
        details: Format, family, families, parameter_size, quantization_level and the like, by Ollama's names.
        capabilities: What Ollama says it can do; the store alone knows fewer of them than the daemon.
        remote_host: Where a cloud model runs; ``None`` for one whose weights are here.
        complete: Whether all blobs are there at their sizes; of those where only the daemon can tell, nothing is said.
        store: The models folder that it was found in; ``None`` when it is not on this machine or unreadable.
    """

    name: str
    digest: str
    size: int
    config_digest: str | None = None
    layers: tuple[OllamaLayer, ...] = ()
    modified_at: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    remote_host: str | None = None
    complete: bool = True
    store: Path | None = None

    @property
    def content(self) -> tuple[str, ...]:
        """The digests of config and layers, which tell two installs apart; empty when they are not known."""
        return _content(self.config_digest, self.layers)

    def blob(self, digest: str) -> Path | None:
        """Return where a blob lies on this machine, ``None`` when its store is not known here."""
        return None if self.store is None else self.store / "blobs" / f"sha256-{digest}"


@dataclass(frozen=True, slots=True)
class UpstreamOllama:
    """What a registry has under a name now.

    Args:
        name: The shortest form with its tag.
        digest: The sha256 of the manifest's bytes.
        config_digest: The sha256 of the config blob.
        layers: In the manifest's order.
        size: Bytes of layers and config together.
    """

    name: str
    digest: str
    config_digest: str | None
    layers: tuple[OllamaLayer, ...]
    size: int

    @property
    def content(self) -> tuple[str, ...]:
        """The digests of config and layers: equal to an installed model's when nothing has moved."""
        return _content(self.config_digest, self.layers)


@dataclass(frozen=True)
class OllamaObservation:
    """What Ollama has on this machine, or says it has.

    Args:
        models: By name.
        origin: Who told: the daemon, its store on disk, or nobody.
        version: The daemon's version, when it answers.
        in_use: Names of the models that are loaded now; known from the daemon only.
        damaged: Manifests that cannot be read, and why: their models are neither there nor gone.
        problem: What kept this from being the whole truth, in one line; ``None`` when nothing did.
        remedy: What to do about the problem.
    """

    models: tuple[OllamaModel, ...] = ()
    origin: ObservedFrom = "nothing"
    version: str | None = None
    in_use: frozenset[str] = frozenset()
    damaged: tuple[tuple[Path, str], ...] = ()
    problem: str | None = None
    remedy: str | None = None

    def find(self, name: str) -> OllamaModel | None:
        """Return an installed model by any spelling of its name; ``None`` when it is not there or is no name."""
        key = _key(name)
        return None if key is None else self._by_key.get(key)

    def is_in_use(self, name: str) -> bool:
        """Return whether a model is loaded now, by any spelling of its name."""
        return _key(name) in self._keys_in_use

    @property
    def daemon_answers(self) -> bool:
        """Whether anything can be installed or removed now."""
        return self.origin == "api"

    @cached_property
    def _by_key(self) -> Mapping[tuple[str, ...] | None, OllamaModel]:
        return {_key(model.name): model for model in reversed(self.models)}

    @cached_property
    def _keys_in_use(self) -> frozenset[tuple[str, ...]]:
        return frozenset(key for key in map(_key, self.in_use) if key is not None)


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One line of a pull or create that goes on.

    Args:
        status: Ollama's words, for people only: they change between versions.
        digest: The blob that comes, 64 hexadecimal digits or Ollama's stand-in; ``None`` for a mere status.
        total: Bytes of that blob.
        completed: Bytes of it that are here.
    """

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int = 0


@dataclass(frozen=True, slots=True)
class CreateSpec:
    """What a model of one's own is made of, in the words of a Modelfile.

    Args:
        name: What it will be called.
        base: The model to build on; Ollama pulls one that is missing.
        files: Uploaded blobs by file name, digests of 64 hexadecimal digits; instead of a base.
        adapters: Likewise for adapters.
        template: The prompt template.
        system: The system message.
        license: Texts or names of licences.
        parameters: Runtime parameters; a list gives one of several values, such as ``stop``.
        quantize: What to quantize to while creating.
    """

    name: str
    base: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    adapters: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None
    system: str | None = None
    license: tuple[str, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    quantize: str | None = None


@dataclass(frozen=True, slots=True)
class ShownModel:
    """What the daemon says of one model.

    Args:
        name: The shortest form with its tag, as asked for.
        details: As in OllamaModel.
        capabilities: What it can do.
        template: The prompt template, empty when there is none.
        system: The system message, empty when there is none.
        license: The licence's text, empty when there is none.
        parameters: Runtime parameters; those given more than once are lists.
        modelfile: The Modelfile that would make it again.
        model_info: The GGUF's metadata; long lists are empty.
        modified_at: UTC, ``2026-08-01T12:00:00Z``.
        requires: The version of Ollama that it needs, when it says so.
        remote_host: Where a cloud model runs.
        remote_model: What it is called there.
    """

    name: str
    details: Mapping[str, object] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    template: str = ""
    system: str = ""
    license: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    modelfile: str = ""
    model_info: Mapping[str, object] = field(default_factory=dict)
    modified_at: str | None = None
    requires: str | None = None
    remote_host: str | None = None
    remote_model: str | None = None


def _content(config: str | None, layers: tuple[OllamaLayer, ...]) -> tuple[str, ...]:
    return () if config is None else (config, *(layer.digest for layer in layers))


def _key(name: str) -> tuple[str, str, str, str] | None:
    try:
        return parse_name(name).key
    except OllamaNameError:
        return None
