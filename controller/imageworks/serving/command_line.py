"""The command line that serves a model with vLLM, LMDeploy or Ollama, made from what is recorded. Pure.

Precedence of options, weakest first: what follows from the entry, its ``extra_args``, the words after ``--``. What a
registry says only tunes a server: no word of it is taken for an option that it is not, and what could load code or open
the machine is a person's to say, on the command line or in this host's settings.
"""

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.registry.entries.queries import Model, part, text, texts
from imageworks.registry.settings.server_arguments import merge_options, split_options
from imageworks.registry.settings.server_options import ADDRESS_OPTIONS, Reaching, reaching_options

LOOPBACK: Final = "127.0.0.1"


class LaunchError(ImageworksError):
    """A model cannot be served as asked."""


class Server(StrEnum):
    """What can be launched."""

    VLLM = "vllm"
    LMDEPLOY = "lmdeploy"
    OLLAMA = "ollama"


_WORDS: Final = {
    Server.VLLM: (("vllm", "serve"), "--served-model-name", "--port"),
    Server.LMDEPLOY: (("lmdeploy", "serve", "api_server"), "--model-name", "--server-port"),
}


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What is to be served.

    Args:
        name: What messages call it.
        path: The folder or file of the weights; ``None`` for what Ollama keeps itself.
        served: What clients may send as ``model``, the one that is answered first.
        template: A chat template of its own to serve it with.
        config: The entry's backend_config.
        extra: The entry's own arguments.
        recorded: Whether the registry records it.
        files: Relative paths of its files in that folder; empty for all that are there.
        repo: The repository that it came from.
        library: The library that loads it.
    """

    name: str
    path: Path | None
    served: tuple[str, ...]
    template: Path | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    recorded: bool = False
    files: tuple[str, ...] = ()
    repo: str | None = None
    library: str | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person asks of the server.

    Args:
        host: The address to listen on; the entry's, else loopback, when absent.
        port: The port; the entry's, else the server's own, when absent.
        extra: Words for the server's command line.
    """

    host: str | None = None
    port: int | None = None
    extra: tuple[str, ...] = ()


def target_of(
    model: Model, server: Server, *, recorded: Mapping[str, object] = MappingProxyType({})
) -> tuple[ServedModel, tuple[str, ...]]:
    """Return what is served of a recorded model, and what a person should know of it."""
    name, backend = text(model, "name"), text(model, "backend")
    served = tuple(dict.fromkeys([text(model, "served_model_id") or name, *texts(model, "model_aliases")]))
    path = text(model, "download_path")
    if server is Server.OLLAMA:
        return _in_ollama(model, recorded)
    if text(model, "source_provider") == Server.OLLAMA:
        raise LaunchError(
            f"{name} is in Ollama's store, which only Ollama reads",
            remedy=f"Serve it with `imageworks-models launch ollama {name}`.",
        )
    if not path.startswith("/"):
        raise LaunchError(f"{name} has no files on this host", remedy=f"Bring it: imageworks-models reconcile {name}")
    notes = []
    config = part(model, "backend_config")
    extra = tuple(texts(config, "extra_args"))
    if model.get("deprecated") is True:
        notes.append(f"{name} is deprecated")
    if backend not in {server.value, "unassigned", ""}:
        notes.append(f"{name} is declared for {backend}" + ("; its extra_args are left out" if extra else ""))
        extra = ()
    single = part(model, "metadata").get("single_file") is True
    target = ServedModel(
        name,
        Path(path),
        served,
        config=config,
        extra=extra,
        recorded=True,
        files=() if single else tuple(texts(model, "download_files")),
        repo=text(part(model, "resolved"), "repo") or None,
        library=text(part(model, "metadata"), "library") or None,
    )
    return target, tuple(notes)


def _in_ollama(model: Model, recorded: Mapping[str, object]) -> tuple[ServedModel, tuple[str, ...]]:
    name, backend = text(model, "name"), text(model, "backend")
    if backend != Server.OLLAMA:
        raise LaunchError(
            f"{name} is not one of Ollama's models: its backend is {backend or 'unassigned'}",
            remedy=f"Serve it with `imageworks-models launch {backend}`, or give Ollama a copy first."
            if backend in set(Server)
            else "Launch it with vllm or lmdeploy.",
        )
    known = _name_in_ollama(recorded)
    if not known:
        raise LaunchError(
            f"{name} is not recorded in Ollama's store", remedy=f"Bring it: imageworks-models reconcile {name}"
        )
    notes = []
    if texts(part(model, "backend_config"), "extra_args"):
        notes.append(
            f"{name}: `ollama run` takes no extra_args; what Ollama serves a model with stands in its modelfile"
        )
    return ServedModel(name, None, (known,)), tuple(notes)


def _name_in_ollama(recorded: Mapping[str, object]) -> str:
    """Return how Ollama calls a model that it has, empty where it has not: it would pull whatever has the name."""
    if text(recorded, "source_provider") not in {Server.OLLAMA, ""}:
        return text(part(part(recorded, "metadata"), Server.OLLAMA), "name")  # what it was given of our files
    listed = recorded.get("conditions")
    ready = (one for one in (listed if isinstance(listed, list) else ()) if text(one, "type") == "Ready")
    never = any(text(one, "status") == "False" for one in ready)
    return "" if never else text(recorded, "served_model_id")


def command_line(
    server: Server, target: ServedModel, wishes: Wishes, *, allowed: Collection[str] = frozenset()
) -> list[str]:
    """Return the words that start a server."""
    if server is Server.OLLAMA:
        _refuse_address(wishes)
        return ["ollama", "run", _word(target, "served_model_id", target.served[0]), *wishes.extra]
    if wishes.host is not None and not wishes.host.strip():
        raise UsageError("--host is empty", remedy="Name an address, such as --host 127.0.0.1, or leave it out.")
    own, name_option, port_option = _WORDS[server]
    host_option = ADDRESS_OPTIONS[server]
    host, port = target.config.get("host"), target.config.get("port")
    names = [_word(target, "served_model_id or model_aliases", name) for name in target.served]
    # Only a list cannot be written as one word with its option.
    several = server is Server.VLLM and len(names) > 1
    asked = [f"{host_option}={wishes.host}"] if wishes.host else []
    asked += [f"{port_option}={wishes.port}"] if wishes.port is not None else []
    registry = [f"{host_option}={_word(target, 'backend_config.host', host)}"] if isinstance(host, str) else []
    registry += target.extra
    _refuse_reaching(
        server, target, registry, {option.name for option in split_options([*asked, *wishes.extra])}, allowed
    )
    follows = [name_option, *names] if several else [f"{name_option}={names[0]}"]
    follows += [f"{host_option}={host if isinstance(host, str) else LOOPBACK}"]  # these servers let everybody in
    follows += [f"{port_option}={port}"] if isinstance(port, int) else []
    follows += [f"--chat-template={target.template}"] if target.template else []
    return [*own, str(target.path), *merge_options(follows, target.extra, asked, wishes.extra)]


def _refuse_address(wishes: Wishes) -> None:
    """Refuse an address for ``ollama run``, which has none: it asks a daemon that runs already."""
    said = [name for name, value in (("--host", wishes.host), ("--port", wishes.port)) if value is not None]
    if said:
        raise UsageError(
            f"`launch ollama` takes no {' and no '.join(said)}: Ollama's daemon serves its models, wherever it listens",
            remedy="Say where it listens when it starts, `OLLAMA_HOST=127.0.0.1:11434 ollama serve`, and set the same "
            "OLLAMA_HOST here.",
        )


def _word(target: ServedModel, field_name: str, value: str) -> str:
    """Return a value of the registry that no server can take for an option."""
    if value.startswith("-"):
        raise LaunchError(
            f"{target.name}: {field_name} is {value!r}, which a server would take for an option",
            remedy=f"Correct {field_name} in the manifest.",
        )
    return value


def _refuse_reaching(
    server: Server, target: ServedModel, registry: list[str], replaced: Collection[str], allowed: Collection[str]
) -> None:
    """Refuse options of a registry that do more than tune, unless a person says the same or this host allows them."""
    found = [
        one for one in reaching_options(server, registry) if one.option not in replaced and one.option not in allowed
    ]
    if not found:
        return
    shown = "; ".join(f"{shlex.join(one.words)} {one.effect}" for one in found)
    raise LaunchError(
        f"{target.name}: only you or this host's settings may say: {shown}", remedy=_permit(server, target, found)
    )


def _permit(server: Server, target: ServedModel, found: list[Reaching]) -> str:
    words = shlex.join(word for one in found for word in one.words)
    names = ", ".join(f'"{name}"' for name in dict.fromkeys(one.option for one in found))
    again = shlex.join(["imageworks-models", "launch", server.value, target.name])
    return (
        f"If it is meant: {again} -- {words}; for good: allowed_launch_options = [{names}] in the user's config.toml."
    )
