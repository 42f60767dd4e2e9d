"""The ``fleet reconcile`` command: every node of a cluster reconciles itself at one commit."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.options import (
    CHOOSING,
    AnyTime,
    AsJson,
    DryRun,
    Hosts,
    Mirrors,
    Prune,
    Registry,
    Reported,
    ShowProgress,
    Yes,
)
from imageworks.cli.output import complain, counted, say, say_json, wants_colour
from imageworks.cli.prompts import agrees, refuse_unasked
from imageworks.cli.views.fleet_run import fleet_plans_text, fleet_run_errors, fleet_run_text
from imageworks.cli.views.progress import show_progress
from imageworks.foundation.errors import ExitCode
from imageworks.operations.fleet.engines import open_engine
from imageworks.operations.fleet.everywhere import FleetRunOptions, labels_of, name_commit, run_everywhere
from imageworks.operations.fleet.following import HostResult
from imageworks.operations.session import start_session


def reconcile_command(
    on: Annotated[str, typer.Option("--on", metavar="ENGINE", help="What reaches the nodes: ray, or ray=ADDRESS.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Models to consider; all if none.", autocompletion=completion.names),
    ] = None,
    registry: Registry = None,
    hosts: Hosts = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="KEY=VALUE",
            help="Only hosts with this label, of registry.yaml or of Ray.",
            rich_help_panel=CHOOSING,
        ),
    ] = None,
    canaries: Annotated[
        list[str] | None,
        typer.Option(
            "--canary",
            metavar="NAME",
            help="This host first; the others only if all goes well there.",
            autocompletion=completion.hosts,
            rich_help_panel=CHOOSING,
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            "--max-concurrent", metavar="N", min=1, help="At most so many hosts at once.", rich_help_panel=CHOOSING
        ),
    ] = None,
    mirrors: Mirrors = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    prune: Prune = False,
    now: AnyTime = False,
    report: Reported = None,
    progress: ShowProgress = True,
    as_json: AsJson = False,
) -> int:
    """Have every node of a cluster reconcile itself at the commit that is checked out here.

    The commit must be on the remote. Each node plans from its own disks, and the plans are shown before anybody is
    asked. Then it brings its own clone of the registry to the commit, or makes one, applies what needs no confirmation,
    commits and pushes; a host that is a --mirror goes first. It uses its own token, settings and names: no
    variable and no file of this machine goes there. A host is called by what the node says (IMAGEWORKS_HOST, or `host`
    in its config.toml), else by the node's label `imageworks-host`, else by the name that Ray was started with, else by
    the name of its machine.

    Exits with 0 when all went well on every chosen host, else with 1.

    Examples:
      imageworks-models fleet reconcile --on ray --dry-run
      imageworks-models fleet reconcile --on ray=10.0.0.5:6379 --canary gpu01 --max-concurrent 4 --yes
      imageworks-models fleet reconcile --on ray --mirror gpu01 --yes
    """
    if not (dry_run or yes):
        refuse_unasked("no host was reconciled")
    session = start_session(registry, writes=not dry_run)
    task = replace(
        name_commit(session.root, session.host),
        names=tuple(names or ()),
        prune=prune,
        any_time=now,
        report=report,
        mirrors=tuple(mirrors or ()),
    )
    # What others take from a host comes there first; a host that is not chosen serves what it has.
    serving = [one for one in mirrors or () if "://" not in one and (one in hosts if hosts else not labels)]
    options = FleetRunOptions(tuple(hosts or ()), tuple(labels or ()), (*(canaries or ()), *serving), most, dry_run)

    def agreed(planned: Sequence[HostResult], changing: Sequence[str]) -> bool:
        asks = bool(changing) and not (dry_run or yes)
        if not as_json or asks:
            _show(fleet_plans_text(planned, colour=not as_json and wants_colour(sys.stdout)), aside=as_json)
        what = f"{counted(len(changing), 'host')} ({', '.join(changing)}) at {task.revision[:10]}"
        return not asks or agrees(f"Reconcile {what}?")

    known = labels_of(session.root, session.host)
    with show_progress(wanted=progress) as shown, open_engine(on) as engine:
        run = run_everywhere(engine, task, options, shown, labels=known, agreed=agreed)
    if run is None:
        complain("nothing was changed")
        return ExitCode.FAILURE
    if as_json:
        say_json({"revision": run.revision, "dry_run": dry_run, "hosts": [one.document() for one in run.hosts]})
    else:
        say(fleet_run_text(run))
    for line in fleet_run_errors(run):
        complain(f"error: {line}")
    if run.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.SUCCESS if run.succeeded else ExitCode.FAILURE


def _show(text: str, *, aside: bool) -> None:
    """Show plans, beside the data where that is on stdout."""
    if text and aside:
        complain(text)
    elif text:
        say(f"{text}\n")
        sys.stdout.flush()  # before progress, which goes to stderr
