"""The ``locations`` commands: which disks this host's models are on, and that one of them is gone for good."""

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from imageworks.cli.output import complain, counted, printable, say, table

FORMAT_VERSION: Final = 1
Registry = Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application.

    Args:
        app: The application's root.
    """
    group = typer.Typer(help="The places of models on this host, and whether their drives are there.")
    group.callback(invoke_without_command=True)(list_command)
    group.command("forget")(forget_command)
    app.add_typer(group, name="locations")


def list_command(
    context: typer.Context,
    registry: Registry = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON.")] = False,
) -> None:
    """Show each location of this host: whether its drive is there, and how many models are recorded on it."""
    if context.invoked_subcommand is not None:
        return
    from imageworks.config import find_registry, load_host_settings
    from imageworks.reconcile.ledger import Ledger
    from imageworks.reconcile.location_list import shown_locations

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    with Ledger.open(root, host, read_only=True) as ledger:
        shown = shown_locations(ledger)
    if as_json:
        listed = [one.document() for one in shown]
        document = {"format_version": FORMAT_VERSION, "host": host.host, "locations": listed}
        say(json.dumps(document, indent=2, ensure_ascii=False))
        return
    rows = [(one.name, one.state.standing.value, str(one.models), printable(str(one.state.root))) for one in shown]
    say(table(("LOCATION", "STATE", "MODELS", "ROOT"), rows, right=frozenset({2}), whole=frozenset({3})))
    for one in shown:
        if not one.state.present:
            complain(f"{one.name}: {one.state.message}")


def forget_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A location's name, or the path of its root.")],
    registry: Registry = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")] = 0.0,
) -> None:
    """Say that what was at a location is gone for good, or that another disk is there on purpose.

    No file and no record changes. Models that are recorded there count as missing from then on, where they are not:
    `reconcile` brings them again, `verify --fix-missing` clears them, `remove` removes them.
    """
    from imageworks.config import find_registry, load_host_settings
    from imageworks.reconcile.ledger import Ledger
    from imageworks.reconcile.location_list import forget_location

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    with Ledger.open(root, host, read_only=False, wait=wait, aside=True) as ledger:
        forgotten = forget_location(ledger, name)
    for one in forgotten:
        many = counted(one.models, "model")
        say(
            printable(
                f"{one.name}: what was at {one.state.root} is forgotten; {many} recorded there may be missing now"
            )
        )
