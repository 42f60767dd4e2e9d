"""The commands that hand models on: ``resolve`` a role, ``launch`` a server, ``serve`` the list of models."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from imageworks.cli import completion
from imageworks.cli.options import AsJson, Registry
from imageworks.cli.output import complain, counted, printable, say, say_json, say_line
from imageworks.cli.servers import AllowHost, Host, Insecure, TokenFile, interruption, read_access, warn_if_open
from imageworks.cli.views.roles import show_candidates
from imageworks.foundation.errors import ExitCode, UsageError
from imageworks.operations.session import start_session

DEFAULT_PORT: Final = 8100
EXECUTOR: Final = "--distributed-executor-backend"
TOKEN_VARIABLE: Final = "IMAGEWORKS_SERVE_TOKEN"  # noqa: S105 # a name


class ServerName(StrEnum):
    """What can be launched."""

    VLLM = "vllm"
    LMDEPLOY = "lmdeploy"
    OLLAMA = "ollama"


def resolve_command(
    role: Annotated[
        str,
        typer.Option("--role", help="What the model is needed for, such as caption.", autocompletion=completion.roles),
    ],
    every: Annotated[
        bool, typer.Option("--all", help="Show all models with the role, the chosen one first; counts as no use.")
    ] = False,
    as_json: AsJson = False,
    registry: Registry = None,
) -> int:
    """Print the model that a role means.

    The one of highest priority among those installed and not deprecated. Exits with 1 when there is none. The model
    counts as used now.

    Examples:
        imageworks-models resolve --role caption
        imageworks-models resolve --role caption --all
    """
    from imageworks.operations.serve_models import resolve_role

    resolved = resolve_role(start_session(registry), role, every=every)
    head = {"host": resolved.host, "role": role}
    if every and as_json:
        say_json({**head, "models": [one.document() for one in resolved.candidates]})
    elif every:
        show_candidates(resolved.candidates)
    elif as_json:
        say_json({**head, "model": resolved.chosen.document()})
    else:
        say(printable(resolved.name))
    return ExitCode.SUCCESS


def launch_command(
    server: Annotated[ServerName, typer.Argument(metavar="SERVER", help="What serves it: vllm, lmdeploy or ollama.")],
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A model's name, or the path of its weights.", autocompletion=completion.names
        ),
    ],
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGS]...", help="More words for the server's command line.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--print", help="Print the command line and run nothing.")
    ] = False,
    as_json: AsJson = False,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = None,
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="ENGINE", help="Start over ray, or ray=ADDRESS, if all nodes have the model."),
    ] = None,
    registry: Registry = None,
) -> None:
    """Start vLLM, LMDeploy or Ollama with a model.

    As its manifest says, after a look at its files. The server takes this process over: it gets the signals and gives
    the exit code. What stands after -- wins over the manifest's extra_args, and those over what follows from the model.

    Examples:
        imageworks-models launch vllm my-model --dry-run
        imageworks-models launch vllm my-model --port 8000 -- --max-model-len 8192
        imageworks-models launch vllm my-model --on ray -- --tensor-parallel-size 16
    """
    from imageworks.operations.serve_models import LaunchOptions, prepare_launch, start

    given = tuple(extra or ())
    if on is not None and EXECUTOR not in given:
        given = (EXECUTOR, on.partition("=")[0], *given)
    launch = prepare_launch(registry, LaunchOptions(server.value, name, host, port, given), logged=not dry_run)
    if on is not None:
        _refuse_unready(on, server, launch.prepared.model, registry)
    for warning in launch.prepared.warnings:
        complain(f"warning: {warning}")
    if dry_run or as_json:
        words = [printable(word) for word in launch.prepared.words]
        document = {"model": launch.prepared.model, "command": words}
        say_line(document, printable(shlex.join(launch.prepared.words)), as_json=as_json)
    if not dry_run:
        start(launch, lambda words: complain(f"starting: {shlex.join(words)}"))


def _refuse_unready(on: str, server: ServerName, model: str | None, registry: Path | None) -> None:
    """Refuse to start what a node of the cluster could not load."""
    from imageworks.operations.fleet import ready
    from imageworks.operations.fleet.engines import open_engine

    if model is None or server is ServerName.OLLAMA:
        raise UsageError("--on is for vLLM and LMDeploy, with a model's name", remedy="Leave it out, or name a model.")
    with open_engine(on) as engine:
        count = ready.refuse_unready(engine, model, registry, on=on)
    complain(f"{counted(count, 'node')} can load it")


def serve_command(  # one parameter an option
    host: Host = "127.0.0.1",
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
    token_file: TokenFile = None,
    allow_host: AllowHost = None,
    insecure: Insecure = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell of requests.")] = False,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Serve the models at /v1/models, and the page at /.

    This host's models in OpenAI's form, under the names that list shows, until interrupted. Read-only, for OpenWebUI
    and other clients; new commits show without a restart. It lists models and answers no chat: each model's base_url
    says where its own server is, and so does the answer to a chat that is sent here.

    With a token (--token-file, or IMAGEWORKS_SERVE_TOKEN in the environment) every request must have it, as clients
    send an API key; only /health answers without. At / a browser sees what `page` writes, as it is now.

    Examples:
        imageworks-models serve
        imageworks-models serve --port 9000 --cors http://localhost:3000
    """
    from imageworks.operations.serve_models import Offered, open_model_server

    access = read_access(token_file, TOKEN_VARIABLE, allow_host, insecure=insecure, pages=cors or [])
    offered = Offered(testing=testing, non_installed=non_installed, deprecated=deprecated)
    session = start_session(registry)
    server, count = open_model_server(session, offered, host, port, log=None if quiet else complain, access=access)
    warn_if_open(host, "the list of models", is_open=server.is_open)
    with interruption() as wait, server:
        complain(f"Serving {counted(count, 'model')} of {session.host.host}. Ctrl-C ends it.")
        say_line({"url": server.url, "host": session.host.host, "models": count}, server.url, as_json=as_json)
        sys.stdout.flush()  # whoever waits for this line may read it through a pipe
        wait()
    complain("Ended.")
