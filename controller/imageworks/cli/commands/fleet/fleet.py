"""The ``fleet`` commands: how all hosts of a registry stand."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from imageworks.cli.commands.fleet.everywhere import reconcile_command
from imageworks.cli.group import Commands
from imageworks.cli.options import AsJson, Registry
from imageworks.cli.output import complain, printable, say
from imageworks.cli.views.fleet import fleet_text
from imageworks.fleet.durations import parse_duration
from imageworks.fleet.metrics import fleet_metrics
from imageworks.fleet.prometheus_text import metrics_text
from imageworks.foundation.errors import ExitCode
from imageworks.host.settings import find_registry, load_host_settings
from imageworks.operations.fleet.status import FleetOptions, fleet_status


class StatusFormat(StrEnum):
    """How the status is printed."""

    TEXT = "text"
    JSON = "json"
    PROMETHEUS = "prometheus"


app = Commands("Show all hosts and what each has of the models.")
app.command("reconcile")(reconcile_command)


@app.callback()
def fleet() -> None:
    """Show all hosts and what each has of the models."""


@app.command("status")
def status_command(
    hosts: Annotated[list[str] | None, typer.Argument(metavar="[HOST]...", help="Hosts to show; all if none.")] = None,
    registry: Registry = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Ask the remote first; the checked-out branch stays.")] = False,
    silent_after: Annotated[
        str, typer.Option("--silent-after", metavar="TIME", help="When a host that reports counts as silent.")
    ] = "7d",
    as_json: AsJson = False,
    form: Annotated[StatusFormat, typer.Option("--format", help="How it is printed.")] = StatusFormat.TEXT,
) -> int:
    """Show every host and model from git alone; writes nothing. Exits with 1 unless all is as declared.

    What a host did last is known from its entries, and from its report where it runs `reconcile --report` or
    registry.yaml says `commit: {report: true}`.

    Examples:
      imageworks-models fleet status --fetch
      imageworks-models fleet status --format prometheus > /var/lib/node_exporter/imageworks.prom
    """
    options = FleetOptions(tuple(hosts or ()), fetch, parse_duration(silent_after, "--silent-after"))
    root = find_registry(registry)
    status = fleet_status(root, load_host_settings(registry=root), options)
    if as_json or form is StatusFormat.JSON:
        say(json.dumps(status.document(), ensure_ascii=False))  # a hundred thousand models may be in it
    elif form is StatusFormat.PROMETHEUS:
        say(metrics_text(fleet_metrics(status)).rstrip("\n"))
    else:
        say(fleet_text(status))
        complain("as each host recorded it in git; `status` there looks at its disks")
    for note in status.notes:
        complain(printable(f"note: {note}"))
    if status.as_declared:
        return ExitCode.SUCCESS
    wrong = [host.name for host in status.hosts if not host.as_declared]
    complain(f"error: not as declared: {', '.join(wrong)}")
    return ExitCode.FAILURE
