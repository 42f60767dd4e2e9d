"""The ``status`` command: is each model as declared, is it healthy, and if not, why."""

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from imageworks.cli.output import complain, printable, say, table
from imageworks.cli.unfinished_view import how_far
from imageworks.errors import ExitCode

FORMAT_VERSION: Final = 1


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("status")(status_command)


def status_command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models to show; all if none.")] = None,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use no network.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON.")] = False,
) -> int:
    """Show each model's sync and health with the reason; writes nothing. Exits with 1 when something is wrong."""
    from imageworks.config import find_registry, load_host_settings
    from imageworks.reconcile.ollama_leftovers import leftovers_here, notes_on
    from imageworks.reconcile.run import Run, RunOptions
    from imageworks.reconcile.status import model_statuses
    from imageworks.registry.completeness import why_incomplete
    from imageworks.serving.accesses import last_accessed

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    options = RunOptions(names=tuple(names or ()), offline=offline, read_only=True)
    with Run.open(root, host, options) as run:
        plan = run.plan()
        statuses = model_statuses(plan, run.situation, lambda entry: why_incomplete(entry.fields))
        unfinished = [one for one in run.unfinished() if not names or one.name in {status.name for status in statuses}]
    leftovers = () if names else leftovers_here(host.environment())
    if wrong := [one.name for one in statuses if one.wrong]:
        complain(f"error: not in order: {', '.join(wrong)}")
    if as_json:
        used = last_accessed(host.state_dir)
        models = [{**one.document(), "last_accessed": used.get(one.name)} for one in statuses]
        document = {"format_version": FORMAT_VERSION, "host": plan.host, "models": models}
        document["unfinished"] = [one.document() for one in unfinished]
        document["ollama_leftovers"] = [one.document() for one in leftovers]
        say(json.dumps(document, indent=2, ensure_ascii=False))
        return ExitCode.FAILURE if wrong else ExitCode.SUCCESS
    if not statuses:
        say(f"No models are declared or recorded for {plan.host}.")
    else:
        rows = [(s.name, s.sync.value, s.health.value, s.reason) for s in statuses]
        say(table(("MODEL", "SYNC", "HEALTH", "REASON"), rows))
    declared = run.registry.manifests
    for one in unfinished:
        command = "reconcile" if one.name in declared else f"download {one.source}"
        say(printable(f"unfinished: {one.name}, {how_far(one)}; `{command}` resumes it, `clean` removes it"))
    for note in notes_on(leftovers):
        say(printable(f"note: {note}"))
    return ExitCode.FAILURE if wrong else ExitCode.SUCCESS
