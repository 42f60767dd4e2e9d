"""The commands that hand models on: ``resolve`` a role, ``launch`` a server, ``serve`` the list of models."""

import json
import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli.output import complain, printable, say, table
from imageworks.errors import ExitCode

if TYPE_CHECKING:
    from types import FrameType

    from imageworks.config import HostSettings

FORMAT_VERSION: Final = 1
DEFAULT_PORT: Final = 8100


class ServerName(StrEnum):
    """What can be launched."""

    VLLM = "vllm"
    LMDEPLOY = "lmdeploy"
    OLLAMA = "ollama"


def register(app: typer.Typer) -> None:
    """Add the commands to the application.

    Args:
        app: The application's root.
    """
    app.command("resolve")(resolve_command)
    app.command("launch")(launch_command)
    app.command("serve")(serve_command)


def resolve_command(
    role: Annotated[str, typer.Option("--role", help="What the model is needed for, such as caption.")],
    every: Annotated[
        bool, typer.Option("--all", help="Show all models with the role, the chosen one first; counts as no use.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON for scripts.")] = False,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
) -> int:
    """Print the model that a role means: the highest priority among those installed and not deprecated.

    Exits with 1 when there is none. The model counts as used now.
    """
    from imageworks.config import find_registry, load_host_settings
    from imageworks.reconcile.recorded import recorded_models
    from imageworks.registry.views import TESTING_VARIABLE, text
    from imageworks.serving.accesses import touch
    from imageworks.serving.roles import candidates, choose

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    models, patterns = recorded_models(root, host).models, os.environ.get(TESTING_VARIABLE)
    chosen = choose(models, role, patterns=patterns)
    head = {"format_version": FORMAT_VERSION, "host": host.host, "role": role}
    if every:
        found = candidates(models, role, patterns=patterns)
        if as_json:
            say(json.dumps({**head, "models": [one.document() for one in found]}, indent=2, ensure_ascii=False))
        else:
            rows = [
                (
                    printable(text(one.model, "name")),
                    str(one.priority),
                    text(one.model, "backend"),
                    "yes" if one.installed else "no",
                    "yes" if one.model.get("deprecated") is True else "no",
                )
                for one in found
            ]
            headings = ("VARIANT", "PRIORITY", "BACKEND", "INSTALLED", "DEPRECATED")
            say(table(headings, rows, right=frozenset({1}), whole=frozenset({1})))
        return ExitCode.SUCCESS
    touch(host.state_dir, text(chosen.model, "name"))
    if as_json:
        say(json.dumps({**head, "model": chosen.document()}, indent=2, ensure_ascii=False))
    else:
        say(printable(text(chosen.model, "name")))
    return ExitCode.SUCCESS


def launch_command(
    server: Annotated[ServerName, typer.Argument(help="What serves it.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model's name, or the path of its weights.")],
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGS]...", help="More words for the server's command line.")
    ] = None,
    show: Annotated[bool, typer.Option("--print", help="Print the command line and run nothing.")] = False,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = None,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
) -> None:
    """Serve a model with vLLM, LMDeploy or Ollama, started as its manifest says, after a look at its files.

    The server takes this process over: it gets the signals and gives the exit code. What stands after -- wins over the
    manifest's extra_args, and those over what follows from the model.
    """
    from imageworks.log import event, safe_words, start_logging
    from imageworks.reconcile.recorded import recorded_models
    from imageworks.serving.accesses import touch
    from imageworks.serving.launch import Server, Wishes
    from imageworks.serving.process import become, find_program
    from imageworks.serving.session import NOTHING_RECORDED, prepare

    root, settings = _found(registry)
    wishes = Wishes(host=host, port=port, extra=tuple(extra or ()))
    if not show:
        start_logging(settings.log_dir)
    recorded = recorded_models(root, settings) if root is not None else NOTHING_RECORDED
    prepared = prepare(recorded, root, settings, Server(server.value), name, wishes)
    for warning in prepared.warnings:
        complain(f"warning: {warning}")
    if show:
        say(printable(shlex.join(prepared.words)))
        return
    find_program(prepared.words[0])
    words = safe_words(prepared.words)  # a server's own key may be among them
    complain(f"starting: {shlex.join(words)}")
    event("launch", server=server.value, model=prepared.model, command=words)
    if prepared.model is not None:
        touch(settings.state_dir, prepared.model)
    become(prepared.words)


def _found(registry: Path | None) -> tuple[Path | None, "HostSettings"]:
    """Return the registry, if there is any, and this host's settings; a path can be served without a registry."""
    from imageworks.config import RegistryNotFoundError, find_registry, load_host_settings

    try:
        root: Path | None = find_registry(registry)
    except RegistryNotFoundError:
        root = None
    return root, load_host_settings(registry=root)


def serve_command(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = DEFAULT_PORT,
    testing: Annotated[
        bool,
        typer.Option(
            "--include-testing", envvar="CHAT_PROXY_INCLUDE_TEST_MODELS", help="Also what tests and demos made."
        ),
    ] = False,
    non_installed: Annotated[
        bool,
        typer.Option(
            "--include-non-installed",
            envvar="CHAT_PROXY_INCLUDE_NON_INSTALLED",
            help="Also models whose files are not visible here, as in a container without the weights.",
        ),
    ] = False,
    deprecated: Annotated[bool, typer.Option("--include-deprecated", help="Also deprecated models.")] = False,
    cors: Annotated[
        list[str] | None,
        typer.Option("--cors", metavar="ORIGIN", help="A page that may read answers, such as http://localhost:3000."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell of requests.")] = False,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
) -> None:
    """Serve this host's models as OpenAI's /v1/models, under the names that list shows, until interrupted.

    Read-only, for OpenWebUI and other clients; new commits show without a restart. It lists models and answers no chat:
    each model's base_url says where its own server is, and so does the answer to a chat that is sent here.
    """
    import signal
    import threading

    from imageworks.config import DEFAULT_WEIGHTS, find_registry, load_host_settings
    from imageworks.reconcile.recorded import RecordedModels
    from imageworks.registry.views import TESTING_VARIABLE
    from imageworks.serving.api import origin_of
    from imageworks.serving.catalogue import Catalogue, Offered
    from imageworks.serving.server import ModelServer

    origins = [origin_of(said) for said in cors or ()]
    root = find_registry(registry)
    settings = load_host_settings(registry=root)
    offered = Offered(
        testing=testing,
        non_installed=non_installed,
        deprecated=deprecated,
        patterns=os.environ.get(TESTING_VARIABLE),
    )
    recorded = RecordedModels(root, settings)
    catalogue = Catalogue(lambda: recorded.now().models, offered, settings.model_root or DEFAULT_WEIGHTS.expanduser())
    server = ModelServer(catalogue, host=host, port=port, log=None if quiet else complain, origins=origins)
    count = len(catalogue.shown())
    ended = threading.Event()

    def end(_number: int, _frame: "FrameType | None") -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    if host not in {"127.0.0.1", "::1", "localhost"}:
        complain(f"warning: listening on {host}: everybody who can reach this machine can read the list of models")
    with server:
        complain(f"Serving {count} {'model' if count == 1 else 'models'} of {settings.host}. Ctrl-C ends it.")
        say(server.url)
        sys.stdout.flush()  # whoever waits for this line may read it through a pipe
        ended.wait()
    complain("Ended.")
