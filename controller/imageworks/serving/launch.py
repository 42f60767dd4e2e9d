"""The command line that serves a model with vLLM, LMDeploy or Ollama, made from what is recorded. Pure.

Precedence of options, weakest first: what follows from the entry, its ``extra_args``, the words after ``--``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from imageworks.errors import ImageworksError
from imageworks.registry.views import Model, part, text, texts
from imageworks.serving.arguments import merge_options

LOOPBACK: Final = "127.0.0.1"


class LaunchError(ImageworksError):
    """A model cannot be served as asked."""


class Server(StrEnum):
    """What can be launched."""

    VLLM = "vllm"
    LMDEPLOY = "lmdeploy"
    OLLAMA = "ollama"


_WORDS: Final = {
    Server.VLLM: (("vllm", "serve"), "--host", "--port"),
    Server.LMDEPLOY: (("lmdeploy", "serve", "api_server"), "--server-name", "--server-port"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be served.

    Args:
        name: What messages call it.
        path: The folder or file of the weights; ``None`` for what Ollama keeps itself.
        served: What clients may send as ``model``, the one that is answered first.
        template: A chat template of its own to serve it with.
        config: The entry's backend_config.
        extra: The entry's own arguments.
    """

    name: str
    path: Path | None
    served: tuple[str, ...]
    template: Path | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    extra: tuple[str, ...] = ()


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


def target_of(model: Model, server: Server) -> tuple[Target, tuple[str, ...]]:
    """Return what is served of a recorded model, and what a person should know of it.

    Args:
        model: The merged model.
        server: What serves it.

    Raises:
        LaunchError: It has no files, or they are not the server's to read.
    """
    name, backend = text(model, "name"), text(model, "backend")
    served = tuple(dict.fromkeys([text(model, "served_model_id") or name, *texts(model, "model_aliases")]))
    path = text(model, "download_path")
    if server is Server.OLLAMA:
        if backend != Server.OLLAMA:
            raise LaunchError(
                f"{name} is not one of Ollama's models: its backend is {backend or 'unassigned'}",
                remedy=f"Serve it with `imageworks-models launch {backend}`, or give Ollama a copy first."
                if backend in set(Server)
                else "Launch it with vllm or lmdeploy.",
            )
        return Target(name, None, served[:1]), ()
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
    return Target(name, Path(path), served, config=config, extra=extra), tuple(notes)


def command_line(server: Server, target: Target, wishes: Wishes) -> list[str]:
    """Return the words that start a server.

    Args:
        server: What serves it.
        target: What is served.
        wishes: What the person asks for.
    """
    if server is Server.OLLAMA:
        return ["ollama", "run", target.served[0], *wishes.extra]
    own, host_option, port_option = _WORDS[server]
    host = target.config.get("host")
    port = target.config.get("port")
    names = ["--served-model-name", *target.served] if server is Server.VLLM else ["--model-name", target.served[0]]
    follows = [*names, host_option, host if isinstance(host, str) else LOOPBACK]  # these servers let everybody in
    follows += [port_option, str(port)] if isinstance(port, int) else []
    follows += ["--chat-template", str(target.template)] if target.template else []
    asked = [host_option, wishes.host] if wishes.host else []
    asked += [port_option, str(wishes.port)] if wishes.port is not None else []
    return [*own, str(target.path), *merge_options(follows, target.extra, asked, wishes.extra)]
