"""The ``config`` command: the effective settings and where each came from."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.output import complain, say, table
from imageworks.errors import UsageError
from imageworks.foundation.home import expanded


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("config")(config_command)


def config_command(
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON.")] = False,
    allow: Annotated[
        Path | None,
        typer.Option("--allow", metavar="DIR", help="First let models stand below DIR on this host from now on."),
    ] = None,
) -> None:
    """Show every effective setting and where it came from."""
    from imageworks.config import RegistryNotFoundError, allow_root, find_registry, load_host_settings, user_config_file
    from imageworks.log import redact
    from imageworks.reconcile.settings_view import effective_settings, unused_roots

    if allow is not None:
        folder = _folder(allow)
        complain(f"models may be below {folder} on this host from now on: added to roots in {allow_root(folder)}")
    try:
        root = find_registry(registry)
    except RegistryNotFoundError as error:
        root = None
        complain(f"note: {error.render()}")
    host = load_host_settings(registry=root)
    settings = effective_settings(root, host)
    if as_json:
        say(json.dumps([{"name": s.name, "value": redact(s.value), "origin": s.origin} for s in settings], indent=2))
        return
    rows = [(s.name, redact(s.value), s.origin) for s in settings]
    say(table(("SETTING", "VALUE", "FROM"), rows, whole=frozenset({1, 2})))
    for line in host.former:
        complain(f"note: {line}")
    for line in unused_roots(root, host):
        complain(f"note: {line}")
    complain(f"the user's config is {user_config_file()}")


def _folder(given: Path) -> Path:
    folder = Path(os.path.normpath(expanded(given).absolute()))
    if folder.parent == folder:
        raise UsageError(f"--allow {given}: that is every folder of this machine")
    return folder
