"""The ``config`` command: the effective settings and where each came from."""

from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.options import AsJson, DryRun, Registry
from imageworks.cli.output import complain, say, table


def config_command(
    registry: Registry = None,
    as_json: AsJson = False,
    allow: Annotated[
        Path | None,
        typer.Option("--allow", metavar="DIR", help="First let models stand below DIR on this host from now on."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Show every setting and where it comes from.

    Examples:
        imageworks-models config
        imageworks-models config --allow /mnt/models
    """
    import json

    from imageworks.operations.show_settings import allow_folder, settings_here

    if allow is not None:
        complain(allow_folder(allow, dry_run=dry_run))
    shown = settings_here(registry)
    for note in shown.missing:
        complain(f"note: {note}")
    if as_json:
        say(json.dumps([{"name": s.name, "value": s.value, "origin": s.origin} for s in shown.settings], indent=2))
        return
    rows = [(s.name, s.value, s.origin) for s in shown.settings]
    say(table(("SETTING", "VALUE", "FROM"), rows, whole=frozenset({1, 2})))
    for note in shown.notes:
        complain(f"note: {note}")
    complain(f"the user's config is {shown.user_config}")
