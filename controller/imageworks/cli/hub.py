"""The ``hub`` commands: serve a folder tree to other machines and to tests."""

import gc
import signal
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from types import FrameType

LONG_LIVED_THRESHOLD: Final = 10_000  # objects

hub_app = typer.Typer(name="hub", help="Serve local models the way the Hugging Face Hub does.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the ``hub`` commands to the application.

    Args:
        app: The application's root.
    """
    app.add_typer(hub_app)


@hub_app.callback()
def hub() -> None:
    """Serve local models the way the Hugging Face Hub does."""


@hub_app.command()
def serve(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that holds <owner>/<repo> folders or git repositories.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 0,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="IMAGEWORKS_HUB_TOKEN",
            show_default=False,
            help="Token that private and gated repositories ask for; better given in the environment.",
        ),
    ] = None,
    gated: Annotated[
        list[str] | None, typer.Option(metavar="REPO", help="Ask for the token before sending its files. Repeatable.")
    ] = None,
    private: Annotated[
        list[str] | None, typer.Option(metavar="REPO", help="Hide it from whoever has no token. Repeatable.")
    ] = None,
    cdn_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Send large files from this static server over the same DIR.")
    ] = None,
    *,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not log requests.")] = False,
) -> None:
    """Serve DIR as a read-only Hugging Face hub until interrupted, and print the HF_ENDPOINT line to use it.

    DIR/owner/repo is the repository owner/repo; a folder right below DIR that holds files itself is a repository with a
    single name. A folder repo@NAME beside repo is its branch NAME, or its commit when NAME is a full commit id. Git
    repositories (with .git, or bare as repo.git) serve their branches, tags and commits.
    """
    from imageworks.hub.server import HubServer

    server = HubServer(
        folder,
        host=host,
        port=port,
        tokens={token: "user"} if token else {},
        gated=frozenset(gated or ()),
        private=frozenset(private or ()),
        cdn_url=cdn_url,
        record=False,
        log=None if quiet else _say,
    )
    gc.set_threshold(LONG_LIVED_THRESHOLD)  # the other commands end before collecting pays; this one runs for months
    ended = threading.Event()

    def end(_number: int, _frame: "FrameType | None") -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    if not _is_loopback(host):
        _say(f"warning: listening on {host}: everybody who can reach this machine can read {folder}")
    if (gated or private) and not token:
        _say("warning: without --token nobody can read the private and gated repositories")
    with server:
        typer.echo(f"export HF_ENDPOINT={server.url}")
        names = server.names()
        count = "1 repository" if len(names) == 1 else f"{len(names)} repositories"
        _say(f"Serving {count} of {folder}; large files come from {cdn_url or server.cdn_url}. Ctrl-C ends it.")
        for name in names:
            _say(f"  {name}")
        threading.Thread(target=server.warm, name="hub-warm", daemon=True).start()
        ended.wait()
    _say("Ended.")


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
