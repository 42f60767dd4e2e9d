"""Ollama as a provider: what it has, by the daemon or by its store on disk, and the deeds it can be asked for."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from imageworks.files.content_index import ollama_stores
from imageworks.foundation.addresses import private_hosts
from imageworks.foundation.closing import Closing
from imageworks.providers.ollama.address import OllamaAddress, from_environment
from imageworks.providers.ollama.client import Cancelled, OllamaClient, Told, never, untold
from imageworks.providers.ollama.errors import (
    OllamaError,
    OllamaInUseError,
    OllamaNotFoundError,
    OllamaOfflineError,
    OllamaStoreError,
)
from imageworks.providers.ollama.model import (
    CreateSpec,
    OllamaModel,
    OllamaObservation,
    ShownModel,
    UpstreamOllama,
)
from imageworks.providers.ollama.names import ModelName, parse_name
from imageworks.providers.ollama.store import StoreReading, is_store, read_store
from imageworks.providers.ollama.upstream import OllamaRegistries

_OFFLINE = "Run without --offline."


@dataclass(frozen=True, slots=True)
class _Stores:
    """What the stores of this machine hold together.

    Args:
        models: Of all stores; of one name in several, the first's.
        damaged: Manifests that cannot be read, and why.
        found: How many stores there are to be read.
        error: The first store that cannot be read.
    """

    models: Mapping[tuple[str, str, str, str], OllamaModel]
    damaged: tuple[tuple[Path, str], ...]
    found: int
    error: OllamaStoreError | None


class OllamaService(Closing):
    """One daemon and the stores of this machine; every method may be called from any thread."""

    def __init__(
        self, client: OllamaClient, stores: tuple[Path, ...], *, offline: bool = False, private: Collection[str] = ()
    ) -> None:
        self._client = client
        self._stores = stores
        self._offline = offline
        self._registries = OllamaRegistries(private)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, offline: bool = False) -> Self:
        """Return the provider that the user's environment describes; nothing is asked yet."""
        address, key = from_environment(environ)
        stores = ollama_stores(environ)
        return cls(OllamaClient(address, key), stores, offline=offline, private=private_hosts(environ))

    def __repr__(self) -> str:
        return f"OllamaService({self._client!r})"

    @property
    def address(self) -> OllamaAddress:
        """Where the daemon is."""
        return self._client.address

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        self._registries.close()

    def observe(self) -> OllamaObservation:
        """Return what Ollama has: from the daemon when it answers, else from the stores on this machine.

        Never raises: what went wrong stands in the observation, so that other providers go on. The daemon's models get
        their layers from the store where it is this machine's and holds the same manifest.
        """
        try:
            self._check_reach("asking Ollama")
            version = self._client.version()
            listed = self._client.tags()
            in_use = self._client.ps()
        except OllamaError as error:
            return self._observe_stores(error)
        stores = _read_stores(self._stores, described=False) if self.address.is_loopback else _Stores({}, (), 0, None)
        return OllamaObservation(
            models=tuple(sorted((_enriched(model, stores) for model in listed), key=lambda model: model.name)),
            origin="api",
            version=version,
            in_use=in_use,
            damaged=_unlisted(stores.damaged, listed),
        )

    def pull(self, name: str, *, told: Told = untold, cancelled: Cancelled = never) -> OllamaModel:
        """Fetch a model and return it as it is then installed."""
        self._check_network(f"pulling {parse_name(name)}")
        self._client.pull(name, told=told, cancelled=cancelled)
        return self._installed(name)

    def create(self, spec: CreateSpec, *, told: Told = untold, cancelled: Cancelled = never) -> OllamaModel:
        """Make a model, replacing one of that name, and return it as it is then installed.

        A base that is missing is pulled first: Ollama itself goes on without it when that fails. It may repack an
        uploaded GGUF: compare `content`, not the upload.
        """
        name = parse_name(spec.name)
        self._check_reach(f"creating {name}")
        if spec.base is not None and self._listed(parse_name(spec.base)) is None:
            self._check_network(f"creating {name}: its base {spec.base} is not installed")
            self._client.pull(spec.base, told=told, cancelled=cancelled)
        self._client.create(spec, told=told, cancelled=cancelled)
        return self._installed(spec.name)

    def delete(self, name: str) -> None:
        """Remove a model and what only it has; one that is loaded is left alone."""
        model = parse_name(name)
        self._check_reach(f"deleting {model}")
        if any(_same(loaded, model) for loaded in self._client.ps()):
            raise OllamaInUseError(
                f"{model} is loaded by Ollama now",
                remedy=f"Wait until it is idle, or stop it with `ollama stop {model}`, then run again.",
                retryable=True,
            )
        self._client.delete(name)

    def copy(self, source: str, destination: str) -> OllamaModel:
        """Give a model another name, sharing its bytes, and return it under that name."""
        self._check_reach(f"copying {source}")
        self._client.copy(source, destination)
        return self._installed(destination)

    def show(self, name: str) -> ShownModel:
        """Return what the daemon says of an installed model: template, licence, parameters, capabilities and so on."""
        self._check_reach(f"showing {name}")
        if parse_name(name).is_cloud:
            self._check_network(f"showing {name}")
        return self._client.show(name)

    def has_blob(self, digest: str) -> bool:
        """Return whether the daemon's store has some bytes."""
        self._check_reach("asking for a blob")
        return self._client.has_blob(digest)

    def upload_blob(
        self, path: Path, digest: str, *, told: Callable[[int], None] | None = None, cancelled: Cancelled = never
    ) -> bool:
        """Give a file's bytes to the daemon's store; returns whether they had to be sent."""
        self._check_reach(f"uploading {path}")
        return self._client.upload_blob(path, digest, told=told, cancelled=cancelled)

    def upstream(self, name: str) -> UpstreamOllama | None:
        """Return what the registry has under a name now, ``None`` when it says that it has none."""
        model = parse_name(name)
        self._check_network(f"looking up {model}")
        return self._registries.find(model)

    def open_blob(self, name: str, digest: str, start: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """Open a blob's bytes as the registry of a model sends them; they are not compared with the digest here."""
        model = parse_name(name)
        self._check_network(f"fetching a blob of {model}")
        return self._registries.blob(model, digest, start)

    def _check_network(self, what: str) -> None:
        if self._offline:
            raise OllamaOfflineError(f"{what}, and the network is not to be used", remedy=_OFFLINE)

    def _check_reach(self, what: str) -> None:
        if not self.address.is_loopback:
            self._check_network(f"{what} at {self.address.url}")

    def _listed(self, name: ModelName) -> OllamaModel | None:
        return next((model for model in self._client.tags() if _same(model.name, name)), None)

    def _installed(self, name: str) -> OllamaModel:
        model = parse_name(name)
        found = self._listed(model)
        if found is None:
            raise OllamaNotFoundError(
                f"{model}: Ollama says that it is done, but does not list it",
                remedy="See `ollama list` and the daemon's log.",
            )
        return _enriched(found, _read_stores(self._stores, described=False)) if self.address.is_loopback else found

    def _observe_stores(self, error: OllamaError) -> OllamaObservation:
        stores = _read_stores(self._stores)
        errors = (error, stores.error) if stores.error is not None else (error,)
        return OllamaObservation(
            models=tuple(sorted(stores.models.values(), key=lambda model: model.name)),
            origin="store" if stores.found else "nothing",
            damaged=stores.damaged,
            problem="; ".join(each.message for each in errors),
            remedy=" ".join(each.remedy for each in errors if each.remedy),
        )


def _read_stores(folders: tuple[Path, ...], *, described: bool = True) -> _Stores:
    models: dict[tuple[str, str, str, str], OllamaModel] = {}
    damaged: list[tuple[Path, str]] = []
    found = 0
    first_error: OllamaStoreError | None = None
    for folder in folders:
        try:
            reading = read_store(folder, described=described) if is_store(folder) else None
        except OllamaStoreError as error:
            first_error = first_error or error
            continue
        if reading is not None:
            found += 1
            damaged += reading.damaged
            _add(models, reading)
    return _Stores(models, tuple(damaged), found, first_error)


def _add(models: dict[tuple[str, str, str, str], OllamaModel], reading: StoreReading) -> None:
    for model in reading.models:
        models.setdefault(parse_name(model.name).key, model)


def _enriched(listed: OllamaModel, stores: _Stores) -> OllamaModel:
    """Return the daemon's model with what the store knows more of it, when it is the same manifest there."""
    try:
        held = stores.models.get(parse_name(listed.name).key)
    except OllamaError:
        return listed
    if held is None or held.digest != listed.digest:
        return listed
    return replace(
        listed, config_digest=held.config_digest, layers=held.layers, complete=held.complete, store=held.store
    )


def _unlisted(damaged: tuple[tuple[Path, str], ...], listed: tuple[OllamaModel, ...]) -> tuple[tuple[Path, str], ...]:
    """Return the damaged manifests that the daemon does not list either: it may read what we cannot."""
    shown = {_key(model.name) for model in listed}
    return tuple((path, why) for path, why in damaged if _path_key(path) not in shown)


def _key(name: str) -> tuple[str, ...]:
    try:
        return parse_name(name).key
    except OllamaError:
        return (name,)


def _path_key(path: Path) -> tuple[str, ...]:
    return tuple(part.lower() for part in path.parts[-4:])


def _same(name: str, model: ModelName) -> bool:
    return _key(name) == model.key
