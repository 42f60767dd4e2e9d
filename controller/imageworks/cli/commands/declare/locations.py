"""The ``locations`` commands: which disks this host's models are on, and that one of them is gone for good."""

from typing import Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.group import Commands
from imageworks.cli.options import AsJson, DryRun, Registry, Wait
from imageworks.cli.output import complain, counted, printable, say, say_json, table
from imageworks.operations.session import open_records

app = Commands(no_args_is_help=False)


@app.callback(invoke_without_command=True)
def list_command(context: typer.Context, registry: Registry = None, as_json: AsJson = False) -> None:
    """Show the places of models and whether they are there.

    Each location of this host, whether its drive is there, and how many models are recorded on it.

    Examples:
        imageworks-models locations
    """
    if context.invoked_subcommand is not None:
        return
    from imageworks.operations.locations import shown_locations

    with open_records(registry, read_only=True) as ledger:
        shown = shown_locations(ledger)
    if as_json:
        say_json({"host": ledger.host.host, "locations": [one.document() for one in shown]})
        return
    rows = [(one.name, one.state.standing.value, str(one.models), printable(str(one.state.root))) for one in shown]
    say(table(("LOCATION", "STATE", "MODELS", "ROOT"), rows, right=frozenset({2}), whole=frozenset({3})))
    for one in shown:
        if not one.state.present:
            complain(f"{one.name}: {one.state.message}")


@app.command("forget")
def forget_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A location's name, or the path of its root.", autocompletion=completion.locations
        ),
    ],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Say that what was at a location is gone for good, or that another disk is there on purpose.

    No file and no record changes. Models that are recorded there count as missing from then on, where they are not:
    `reconcile` brings them again, `verify --fix-missing` clears them, `remove` removes them.

    Examples:
        imageworks-models locations forget usb-drive --dry-run
    """
    from imageworks.operations.locations import forget_location

    with open_records(registry, read_only=dry_run, wait=wait, aside=True) as ledger:
        forgotten = forget_location(ledger, name, dry_run=dry_run)
    if as_json:
        say_json({"dry_run": dry_run, "forgotten": [one.document() for one in forgotten]})
        return
    for one in forgotten:
        many = counted(one.models, "model")
        what = "would be forgotten" if dry_run else "is forgotten"
        say(printable(f"{one.name}: what was at {one.state.root} {what}; {many} recorded there may be missing now"))
