"""Ollama's store on disk, read without the daemon: manifests, config blobs, sizes and what is still half there.

Nothing is written, no blob's content is read but a config's, and no symbolic link is followed out of the store.
"""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.foundation.json_values import parse_object, text, whole
from imageworks.providers.ollama.errors import OllamaStoreError
from imageworks.providers.ollama.model import OllamaLayer, OllamaModel
from imageworks.providers.ollama.names import stored_name
from imageworks.providers.ollama.replies import details_of_config, read_layers, texts, utc_seconds

LARGEST_MANIFEST_BYTES: Final = 32 * 1024 * 1024
_LEVELS: Final = 4
_FIRST_READ_BYTES: Final = 512
_LISTED_BY: Final = ("template", "prompt")
_DECODER: Final = json.JSONDecoder()
_PARTIAL: Final = re.compile(r"sha256-([0-9a-f]{64})-partial(?:-(\d{1,6}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PartialBlob:
    """A download that was broken off; a pull of the same model goes on from it.

    Args:
        digest: What it is going to be, 64 hexadecimal digits.
        path: Where it lies.
        size: Its full size in bytes, which the sparse file has from the start.
        received: Bytes that have come, by Ollama's own count.
    """

    digest: str
    path: Path
    size: int
    received: int


@dataclass(frozen=True, slots=True)
class StoreReading:
    """What one store holds.

    Args:
        folder: The store.
        models: By name.
        damaged: Manifests that cannot be read, and why.
        unreadable: Those of them, and folders, that the system does not let us read: nobody can say what is in them.
    """

    folder: Path
    models: tuple[OllamaModel, ...] = ()
    damaged: tuple[tuple[Path, str], ...] = ()
    unreadable: frozenset[Path] = frozenset()


class _DamagedError(Exception):
    """One manifest cannot be read; the text says why."""


class _UnreadableError(_DamagedError):
    """The system does not let us read it."""


def is_store(folder: Path) -> bool:
    """Return whether a folder is there to be read as a store."""
    try:
        return stat.S_ISDIR(folder.stat().st_mode)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return False
        raise _unreadable(folder, error) from None


def read_store(folder: Path, *, described: bool = True) -> StoreReading:
    """Return the models of a store; one that is damaged is told of and harms no other."""
    store = _Store(folder)
    models: list[OllamaModel] = []
    damaged: list[tuple[Path, str]] = []
    unreadable: set[Path] = set()
    for manifest, parts in store.manifests(damaged, unreadable):
        name = stored_name(parts)
        if name is None:
            damaged.append((manifest, "its folders are no name of a model"))
            continue
        try:
            models.append(store.model(manifest, name.shortest, described=described))
        except _DamagedError as error:
            damaged.append((manifest, str(error)))
            unreadable |= {manifest} if isinstance(error, _UnreadableError) else set()
    by_name = tuple(sorted(models, key=lambda model: model.name))
    return StoreReading(folder, by_name, tuple(sorted(damaged)), frozenset(unreadable))


def read_partials(folder: Path) -> tuple[PartialBlob, ...]:
    """Return the downloads of a store that were broken off."""
    found: dict[str, os.DirEntry[str]] = {}
    received: dict[str, int] = {}
    for entry in _entries(folder / "blobs", folder):
        name = _PARTIAL.fullmatch(entry.name)
        if name is None or not entry.is_file(follow_symlinks=False):
            continue
        if name[2] is None:
            found[name[1]] = entry
            continue
        try:
            piece = parse_object(_read(entry.path, LARGEST_MANIFEST_BYTES))
        except (OSError, _DamagedError):
            continue  # Ollama fetches such a piece again
        received[name[1]] = received.get(name[1], 0) + (whole(piece, "Completed") or 0 if piece else 0)
    partials = []
    for digest, entry in sorted(found.items()):
        status = entry.stat(follow_symlinks=False)
        partials.append(PartialBlob(digest, Path(entry.path), status.st_size, received.get(digest, 0)))
    return tuple(partials)


def manifest_digest(content: bytes) -> str:
    """Return the digest that Ollama gives a manifest: the sha256 of what its JSON decoder takes in.

    The decoder reads 512 bytes, then more in steps of growing size, and stops with the piece that ends the object: what
    follows in a later piece, such as a last newline, is not hashed.
    """
    try:
        end = _decoded(content)[1]
    except (ValueError, RecursionError):
        end = len(content)
    return _digest_up_to(content, end)


class _Store:
    """One store while it is being read; sizes of blobs are looked up once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._real = Path(os.path.realpath(folder))
        self._blobs = str(folder / "blobs")
        self._sizes: dict[str, int | None] = {}
        self._closed: set[str] = set()

    def manifests(
        self, damaged: list[tuple[Path, str]], unreadable: set[Path]
    ) -> Iterator[tuple[Path, tuple[str, ...]]]:
        """Yield each file four levels down, with the folders that lead to it."""
        yield from self._below(self._folder / "manifests", (), damaged, unreadable)

    def model(self, manifest: Path, name: str, *, described: bool) -> OllamaModel:
        """Return the model of one manifest, or raise _DamagedError as the daemon would pass it over."""
        content = self._content(manifest, "the manifest")
        config, layers, parent, end = _parsed(content)
        held = self._config(config) if described else {}
        self._check_templates(layers)
        status = manifest.stat()
        remote = text(held, "remote_host") or None
        return OllamaModel(
            name=name,
            digest=_digest_up_to(content, end),
            size=sum(layer.size for layer in layers) + (config.size if config else 0),
            config_digest=config.digest if config else None,
            layers=layers,
            modified_at=utc_seconds(status.st_mtime),
            details=details_of_config(held, parent),
            capabilities=_capabilities(held, layers),
            remote_host=remote,
            complete=all(self._is_whole(layer) for layer in (config, *layers) if layer),
            store=self._folder,
        )

    def _below(
        self, folder: Path, parts: tuple[str, ...], damaged: list[tuple[Path, str]], unreadable: set[Path]
    ) -> Iterator[tuple[Path, tuple[str, ...]]]:
        try:
            entries = _entries(folder, self._folder if len(parts) == 0 else None)
        except OSError as error:
            damaged.append((folder, f"it cannot be listed: {error.strerror}"))
            unreadable.add(folder)
            return
        for entry in entries:
            path, below = Path(entry.path), (*parts, entry.name)
            if entry.is_symlink() and not self._is_inside(path):
                damaged.append((path, "it is a symbolic link that leads out of the store"))
                continue
            is_folder = entry.is_dir()
            if len(below) < _LEVELS:
                if is_folder:
                    yield from self._below(path, below, damaged, unreadable)
            elif not is_folder:
                yield path, below

    def _is_inside(self, path: Path | str) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._real)

    def _blob(self, digest: str) -> tuple[str, int] | None:
        """Return where a blob lies and its size."""
        for separator in "-:":
            path = f"{self._blobs}/sha256{separator}{digest}"
            try:
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode):
                    if not self._is_inside(path):
                        continue
                    status = os.stat(path)  # noqa: PTH116 # texts, since every blob of a store is looked at
            except FileNotFoundError:
                continue
            return path, status.st_size
        return None

    def _size(self, digest: str) -> int | None:
        if digest not in self._sizes:
            try:
                found = self._blob(digest)
            except OSError:
                found = None
                self._closed.add(digest)
            self._sizes[digest] = None if found is None else found[1]
        return self._sizes[digest]

    def _is_whole(self, layer: OllamaLayer) -> bool:
        """Return whether a blob is there at its size; true where we may not look, since the daemon may."""
        return self._size(layer.digest) == layer.size or layer.digest in self._closed

    def _content(self, path: Path | str, which: str) -> bytes:
        try:
            return _read(path, LARGEST_MANIFEST_BYTES)
        except OSError as error:
            raise _UnreadableError(f"{which} cannot be read: {error.strerror}") from None

    def _config(self, config: OllamaLayer | None) -> Mapping[str, object]:
        if config is None:
            return {}
        try:
            found = self._blob(config.digest)
        except OSError as error:
            raise _UnreadableError(f"its config blob cannot be read: {error.strerror}") from None
        if found is None:
            raise _DamagedError(f"its config blob sha256-{config.digest[:12]}… is missing")
        held = parse_object(self._content(found[0], "its config blob"))
        if held is None:
            raise _DamagedError(f"its config blob sha256-{config.digest[:12]}… is no JSON object")
        return held

    def _check_templates(self, layers: tuple[OllamaLayer, ...]) -> None:
        """Raise _DamagedError when a template is missing: the daemon does not list such a model."""
        for layer in layers:
            if layer.kind in _LISTED_BY and self._size(layer.digest) is None and layer.digest not in self._closed:
                raise _DamagedError(f"its {layer.kind} blob sha256-{layer.digest[:12]}… is missing")


def _decoded(content: bytes) -> tuple[object, int]:
    """Return the first JSON value and the bytes up to its end; what follows is passed over, as Ollama does."""
    said = content.decode("utf-8", "surrogateescape")
    found, end = _DECODER.raw_decode(said, len(said) - len(said.lstrip(" \t\r\n")))
    return found, end if said.isascii() else len(said[:end].encode("utf-8", "surrogateescape"))


def _digest_up_to(content: bytes, end: int) -> str:
    """Return the digest of what a decoder has read when it meets the end of the object."""
    taken = _FIRST_READ_BYTES
    while taken < end:
        taken = 2 * taken + _FIRST_READ_BYTES
    return hashlib.sha256(content[:taken]).hexdigest()


def _parsed(content: bytes) -> tuple[OllamaLayer | None, tuple[OllamaLayer, ...], str | None, int]:
    """Return config, layers, the model that this one was created from, and the bytes up to the manifest's end."""
    try:
        found, end = _decoded(content)
    except (ValueError, RecursionError):
        raise _DamagedError("the manifest is no JSON" if content else "the manifest is empty") from None
    if not isinstance(found, dict):
        raise _DamagedError("the manifest is no JSON object")
    try:
        config, layers = read_layers(found)
    except ValueError as error:
        raise _DamagedError(f"the manifest is not one of Ollama's: {error}") from None
    rows = found.get("layers") or ()
    parents = [text(row, "from") for row, layer in zip(rows, layers, strict=True) if layer.kind == "model"]
    return config, layers, parents[-1] if parents else None, end


def _capabilities(config: Mapping[str, object], layers: tuple[OllamaLayer, ...]) -> tuple[str, ...]:
    """Return what can be known without opening the weights."""
    said = texts(config.get("capabilities"))
    sees = ("vision",) if any(layer.kind == "projector" for layer in layers) and "vision" not in said else ()
    return said + sees


def _entries(folder: Path, store: Path | None) -> list[os.DirEntry[str]]:
    """Return a folder's entries by name; none where there is no folder. With a store, failing is that store's."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if store is None:
            raise
        raise _unreadable(store, error) from None


def _read(path: Path | str, limit: int) -> bytes:
    """Return a plain file's content; a pipe or device is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _DamagedError("it is no plain file")
        if status.st_size > limit:
            raise _DamagedError(f"it has {status.st_size} bytes, more than any manifest")
        return stream.read(limit + 1)


def _unreadable(folder: Path, error: OSError) -> OllamaStoreError:
    return OllamaStoreError(
        f"{folder}: Ollama's store cannot be read: {error.strerror}",
        remedy="It belongs to another user: start its Ollama, or let this user read it (Linux: group `ollama`).",
    )
