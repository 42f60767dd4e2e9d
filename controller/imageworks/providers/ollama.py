"""Ollama as a provider: what it has, by the daemon or by its store on disk, and the deeds it can be asked for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from imageworks.providers.ollama_address import OllamaAddress, from_environment
from imageworks.providers.ollama_client import Cancelled, OllamaClient, Told, never, untold
from imageworks.providers.ollama_errors import (
    OllamaError,
    OllamaInUseError,
    OllamaNotFoundError,
    OllamaOfflineError,
    OllamaStoreError,
)
from imageworks.providers.ollama_names import ModelName, parse_name
from imageworks.providers.ollama_store import StoreReading, is_store, read_store
from imageworks.providers.ollama_upstream import OllamaRegistries
from imageworks.providers.ollama_values import (
    CreateSpec,
    OllamaModel,
    OllamaObservation,
    ShownModel,
    UpstreamOllama,
)
from imageworks.transfer.content import ollama_stores

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


class OllamaProvider:
    """One daemon and the stores of this machine; every method may be called from any thread.

    Args:
        client: Talks to the daemon.
        stores: Models folders that may be on this machine, the first first.
        offline: Refuse whatever needs the network; a daemon on this machine is still asked.
    """

    def __init__(self, client: OllamaClient, stores: tuple[Path, ...], *, offline: bool = False) -> None:
        self._client = client
        self._stores = stores
        self._offline = offline
        self._registries = OllamaRegistries()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, offline: bool = False) -> Self:
        """Return the provider that the user's environment describes; nothing is asked yet.

        Args:
            environ: The process's environment: OLLAMA_HOST, OLLAMA_API_KEY, OLLAMA_MODELS.
            offline: Refuse whatever needs the network.

        Raises:
            OllamaUnreachableError: OLLAMA_HOST is no address.
            OllamaUnauthorisedError: OLLAMA_API_KEY is no key.
        """
        address, key = from_environment(environ)
        return cls(OllamaClient(address, key), ollama_stores(environ), offline=offline)

    def __repr__(self) -> str:
        return f"OllamaProvider({self._client!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        """Fetch a model and return it as it is then installed.

        Args:
            name: Such as ``qwen2.5vl:7b``.
            told: Gets each line of its progress.
            cancelled: Asked a few times a second; true ends the pull.

        Raises:
            OllamaError: It could not be fetched; its ``reason`` says in one word why.
        """
        self._check_network(f"pulling {parse_name(name)}")
        self._client.pull(name, told=told, cancelled=cancelled)
        return self._installed(name)

    def create(self, spec: CreateSpec, *, told: Told = untold, cancelled: Cancelled = never) -> OllamaModel:
        """Make a model, replacing one of that name, and return it as it is then installed.

        A base that is missing is pulled first: Ollama itself goes on without it when that fails. It may repack an
        uploaded GGUF: compare `content`, not the upload.

        Args:
            spec: What it is made of; its files have been uploaded.
            told: Gets each line of its progress; after that of a base another begins.
            cancelled: Asked a few times a second; true ends it.

        Raises:
            OllamaError: It could not be made.
        """
        name = parse_name(spec.name)
        self._check_reach(f"creating {name}")
        if spec.base is not None and self._listed(parse_name(spec.base)) is None:
            self._check_network(f"creating {name}: its base {spec.base} is not installed")
            self._client.pull(spec.base, told=told, cancelled=cancelled)
        self._client.create(spec, told=told, cancelled=cancelled)
        return self._installed(spec.name)

    def delete(self, name: str) -> None:
        """Remove a model and what only it has; one that is loaded is left alone.

        Args:
            name: Any spelling.

        Raises:
            OllamaInUseError: It is loaded now.
            OllamaNotFoundError: It is not installed.
        """
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
        """Give a model another name, sharing its bytes, and return it under that name.

        Args:
            source: An installed model.
            destination: The new name; one that has it is replaced.

        Raises:
            OllamaNotFoundError: The source is not installed.
        """
        self._check_reach(f"copying {source}")
        self._client.copy(source, destination)
        return self._installed(destination)

    def show(self, name: str) -> ShownModel:
        """Return what the daemon says of an installed model: template, licence, parameters, capabilities and so on.

        Args:
            name: Any spelling; of a cloud model the daemon asks the cloud.

        Raises:
            OllamaNotFoundError: It is not installed.
        """
        self._check_reach(f"showing {name}")
        if parse_name(name).is_cloud:
            self._check_network(f"showing {name}")
        return self._client.show(name)

    def has_blob(self, digest: str) -> bool:
        """Return whether the daemon's store has some bytes.

        Args:
            digest: Their sha256, 64 hexadecimal digits.
        """
        self._check_reach("asking for a blob")
        return self._client.has_blob(digest)

    def upload_blob(
        self, path: Path, digest: str, *, told: Callable[[int], None] | None = None, cancelled: Cancelled = never
    ) -> bool:
        """Give a file's bytes to the daemon's store; returns whether they had to be sent.

        Args:
            path: The file.
            digest: Its sha256, 64 hexadecimal digits.
            told: Gets the number of bytes of each piece.
            cancelled: Asked for each piece.

        Raises:
            OllamaDigestMismatchError: The file is not what its digest says.
        """
        self._check_reach(f"uploading {path}")
        return self._client.upload_blob(path, digest, told=told, cancelled=cancelled)

    def upstream(self, name: str) -> UpstreamOllama | None:
        """Return what the registry has under a name now, ``None`` when it says that it has none.

        Args:
            name: Such as ``qwen2.5vl:7b`` or ``hf.co/owner/repo:Q4_K_M``.

        Raises:
            OllamaOfflineError: The network is not to be used.
            OllamaError: The registry did not say.
        """
        model = parse_name(name)
        self._check_network(f"looking up {model}")
        return self._registries.find(model)

    def open_blob(self, name: str, digest: str, start: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """Open a blob's bytes as the registry of a model sends them; they are not compared with the digest here.

        Args:
            name: A model that has it.
            digest: 64 hexadecimal digits.
            start: Bytes that are here already.

        Returns:
            The position of the first byte that comes, and the pieces; errors are OllamaError.
        """
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
