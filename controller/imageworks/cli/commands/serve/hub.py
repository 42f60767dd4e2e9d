"""The ``hub`` commands: serve a folder tree to other machines and to tests."""

import gc
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli.group import Commands
from imageworks.cli.options import AsJson, Registry
from imageworks.cli.output import complain, say_line
from imageworks.cli.servers import AllowHost, Host, Insecure, TokenFile, interruption, read_access, warn_if_open
from imageworks.foundation.errors import UsageError

if TYPE_CHECKING:
    from imageworks.operations.fleet.installed_repositories import InstalledRepositories

TOKEN_VARIABLE: Final = "IMAGEWORKS_HUB_TOKEN"  # noqa: S105 # a name
LONG_LIVED_THRESHOLD: Final = 10_000  # objects

app = Commands()


@app.callback()
def hub() -> None:
    """Serve local models the way the Hugging Face Hub does."""


@app.command("serve")
def serve(  # one parameter an option
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Folder that holds <owner>/<repo> folders or git repositories."),
    ] = None,
    registry: Registry = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 0,
    token_file: TokenFile = None,
    gated: Annotated[
        list[str] | None, typer.Option(metavar="REPO", help="Ask for the token before sending its files. Repeatable.")
    ] = None,
    private: Annotated[
        list[str] | None, typer.Option(metavar="REPO", help="Hide it from whoever has no token. Repeatable.")
    ] = None,
    cdn_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Send large files from this static server over the same DIR.")
    ] = None,
    allow_host: AllowHost = None,
    *,
    insecure: Insecure = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not log requests.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve DIR as a read-only Hugging Face hub until interrupted, and print the HF_ENDPOINT line to use it.

    Without DIR it serves what this machine has installed by a registry: models from the Hub, at their recorded commits,
    with their recorded digests, and nothing else.

    DIR/owner/repo is the repository owner/repo; a folder right below DIR that holds files itself is a repository with a
    single name. A folder repo@NAME beside repo is its branch NAME, or its commit when NAME is a full commit id. Git
    repositories (with .git, or bare as repo.git) serve their branches, tags and commits.

    With a token (--token-file, or IMAGEWORKS_HUB_TOKEN in the environment) every request must have it, as `hf` sends
    HF_TOKEN; with --gated or --private only those for these repositories, on loopback or with --insecure.

    Examples:
        imageworks-models hub serve ~/models
        imageworks-models hub serve --registry ~/registry --host 10.0.0.5 --token-file hub.token
    """
    from imageworks.loopback_hub.server import HubServer

    access = read_access(token_file, TOKEN_VARIABLE, allow_host, insecure=insecure)
    if folder is not None and registry is not None:
        raise UsageError("hub serve takes DIR or --registry", remedy="Leave one of them out.")
    what = str(folder or "what is installed here")
    server = HubServer(
        folder or _installed(registry, cdn_url),
        host=host,
        port=port,
        access=access,
        gated=frozenset(gated or ()),
        private=frozenset(private or ()),
        cdn_url=cdn_url,
        record=False,
        log=None if quiet else complain,
    )
    gc.set_threshold(LONG_LIVED_THRESHOLD)  # the other commands end before collecting pays; this one runs for months
    if (gated or private) and access.token is None:
        complain(
            f"warning: without --token-file or {TOKEN_VARIABLE} nobody can read the private and gated repositories"
        )
    with interruption() as wait, server:
        warn_if_open(host, what, is_open=server.is_open)
        say_line(
            {"url": server.url, "folder": None if folder is None else str(folder)},
            f"export HF_ENDPOINT={server.url}",
            as_json=as_json,
        )
        sys.stdout.flush()  # whoever waits for this line may read it through a pipe
        names = server.names()
        count = "1 repository" if len(names) == 1 else f"{len(names)} repositories"
        complain(f"Serving {count} of {what}; large files come from {cdn_url or server.cdn_url}. Ctrl-C ends it.")
        for name in names:
            complain(f"  {name}")
        threading.Thread(target=server.warm, name="hub-warm", daemon=True).start()
        wait()
    complain("Ended.")


def _installed(registry: Path | None, cdn_url: str | None) -> "InstalledRepositories":
    from imageworks.host.settings import find_registry, load_host_settings
    from imageworks.operations.fleet.installed_repositories import InstalledRepositories

    if cdn_url is not None:
        raise UsageError("--cdn-url is for a folder that is served", remedy="Name DIR, or leave --cdn-url out.")
    root = find_registry(registry)
    return InstalledRepositories(root, load_host_settings(registry=root))
