"""Make the files of other programs from what this host has, and renew those that registry.yaml asks for."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from imageworks.exports.llama import llama_server, llama_swap
from imageworks.exports.model import ExportedModel, ExportError, exported
from imageworks.exports.yaml_text import yaml_text
from imageworks.files.renames import write_durably
from imageworks.foundation.home import expanded
from imageworks.foundation.http import HttpError, HttpPool
from imageworks.foundation.plain_files import read_plain_file
from imageworks.git.remote import Remote, RemoteError
from imageworks.git.repository import RegistryRepository
from imageworks.host.settings import HostSettings
from imageworks.reconcile.current_models import current_models
from imageworks.registry.entries.lookup import find_model
from imageworks.registry.entries.queries import ModelFilter, is_installed
from imageworks.registry.settings.settings import RenewedExport

MARK: Final = "Written by imageworks-models: the next run writes it anew."
LARGEST: Final = 16 << 20
RELOAD_SECONDS: Final = 5.0


def models_here(root: Path, host: HostSettings, names: Sequence[str] = ()) -> list[ExportedModel]:
    """Return this host's models whose files are there, or those of them that are named."""
    models = current_models(root, host)
    chosen = [find_model(models, name) for name in names] if names else ModelFilter().choose(models)
    return [exported(model) for model in chosen if is_installed(model)]


def remote_of(root: Path, host: HostSettings) -> str:
    """Return where other machines clone the registry from, without credentials."""
    repository = RegistryRepository.open(root, host=host.host)
    branch = repository.branch()
    if branch is None:
        raise ExportError("no branch is checked out, so no remote is known", remedy="Say it: --remote URL.")
    try:
        address = Remote(repository.program(os.environ)).counterpart(branch).address
    except RemoteError as error:
        raise ExportError(f"no remote is known: {error.message}", remedy="Say it: --remote URL.") from None
    parts = urlsplit(address)
    if parts.scheme in {"http", "https"}:
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if parts.scheme == "file" or Path(address).is_dir():
        raise ExportError(f"the remote {address} is a folder of this machine", remedy="Name another: --remote URL.")
    return address


def _swap(models: Sequence[ExportedModel]) -> tuple[str, tuple[str, ...]]:
    document, notes = llama_swap(models)
    return yaml_text([document], comment=MARK), notes


def _presets(models: Sequence[ExportedModel]) -> tuple[str, tuple[str, ...]]:
    text, notes = llama_server(models)
    return f"; {MARK}\n{text}", notes


SERVER_FILES: Final[Mapping[str, Callable[[Sequence[ExportedModel]], tuple[str, tuple[str, ...]]]]] = {
    "llama-swap": _swap,
    "llama-server": _presets,
}
"""The files of servers on this host, by what registry.yaml and the command call them."""


def renew_exports(root: Path, host: HostSettings, wanted: Sequence[RenewedExport]) -> Iterator[str]:
    """Write servers' files whose contents changed, let the servers reload; yields what a person should know."""
    models = models_here(root, host)
    for one in wanted:
        text, notes = SERVER_FILES[one.kind](models)
        path = expanded(one.path)
        if why := _why_not(path, host):
            yield f"{one.kind}: {path} is not written: {why}"
            continue
        yield from notes
        if path.is_file() and read_plain_file(path, LARGEST) == text.encode():
            continue
        write_durably(path, text.encode(), mode=0o644)
        yield f"{one.kind}: wrote {path}"
        if one.reload and (problem := _reload(one.reload)):
            yield f"{one.kind}: not reloaded: {problem}"


def _why_not(path: Path, host: HostSettings) -> str:
    """Return why a file that a registry names is not ours to write; empty where it is."""
    if not path.is_absolute() or not host.allows(path.parent) or path.is_symlink():
        return "it is outside of the folders that this host allows (roots in config.toml)"
    if not path.parent.is_dir():
        return "its folder is not there"
    if path.exists() and MARK.encode() not in read_plain_file(path, LARGEST).split(b"\n", 1)[0]:
        return "another program or a person wrote it; move it away first"
    return ""


def _reload(url: str) -> str:
    """Ask a server on this machine to read its file again; returns what went wrong, empty when nothing did."""
    parts = urlsplit(url)
    name = (parts.hostname or "").lower()
    try:
        here = name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        here = False
    if parts.scheme != "http" or not here or parts.username:
        return f"{url} is no plain address of this machine, as http://127.0.0.1:8080/models?reload=1"
    pool = HttpPool(
        user_agent="imageworks-models", connect_seconds=RELOAD_SECONDS, read_seconds=RELOAD_SECONDS, proxies=False
    )
    with pool:
        try:
            status = pool.request("GET", url, {}).status
        except HttpError as error:
            return error.message
    return "" if status < 400 else f"it answered {status}"  # noqa: PLR2004 # HTTP's errors
