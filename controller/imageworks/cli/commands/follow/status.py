"""The ``status`` command: is each model as declared, is it healthy, and if not, why."""

import sys
from dataclasses import replace
from typing import Annotated, Final

import typer

from imageworks.cli import completion
from imageworks.cli.options import AsJson, Offline, Registry
from imageworks.cli.output import complain, on_terminal, printable, say, say_json_value, wants_colour
from imageworks.cli.views.status import status_text, summary
from imageworks.cli.views.unfinished import how_far, who_brings
from imageworks.foundation.errors import ExitCode
from imageworks.operations.session import start_session
from imageworks.plan.status import model_statuses
from imageworks.registry.entries.completeness import why_incomplete
from imageworks.serving.last_used import last_accessed

FORMAT_VERSION: Final = 1


def status_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Models to show; all if none.", autocompletion=completion.names),
    ] = None,
    registry: Registry = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> int:
    """Show which models are as declared, and why not.

    Each model's sync and health with the reason, what is wrong first, each with what to do; writes nothing. Exits with
    1 when something is wrong.

    Examples:
        imageworks-models status
        imageworks-models status my-model --json
    """
    from imageworks.operations.hosts import RegistryHosts
    from imageworks.providers.ollama.leftovers import leftovers_here, notes_on
    from imageworks.reconcile.run import Run
    from imageworks.reconcile.run_options import RunOptions

    session = start_session(registry)
    root, host = session.root, session.host
    options = RunOptions(names=tuple(names or ()), offline=offline, read_only=True)
    with Run.open(root, host, options) as run:
        statuses = model_statuses(run.plan(), run.situation, lambda entry: why_incomplete(entry.fields))
        shown = {one.name for one in statuses}
        unfinished = [one for one in run.unfinished() if not names or one.name in shown]
        arriving = [one for one in run.arriving() if not names or one.name in shown]
        seen, declared = replace(run.registry, entries={}), set(run.registry.manifests)
    del run  # with a plan of ten thousand models, which is not to stand beside what is said of it
    leftovers = () if names else leftovers_here(host.environment())
    if wrong := [one.name for one in statuses if one.wrong]:
        complain(f"error: not in order: {', '.join(wrong)}")
    if as_json:
        used = last_accessed(host.state_dir)
        say_json_value(
            {
                "format_version": FORMAT_VERSION,
                "host": host.host,
                "models": ({**one.document(), "last_accessed": used.get(one.name)} for one in statuses),
                "downloading": [one.document() for one in arriving],
                "unfinished": [one.document() for one in unfinished],
                "ollama_leftovers": [one.document() for one in leftovers],
            }
        )
        return ExitCode.FAILURE if wrong else ExitCode.SUCCESS
    if not statuses:
        say(f"No models are declared or recorded for {host.host}.")
    else:
        say(status_text(statuses, arriving, colour=wants_colour(sys.stdout)))
        complain(f"{host.host}: {summary(statuses, unfinished, arriving)}")
    for note in () if names else RegistryHosts(root, host, seen).notes():
        _say(f"note: {note}")
    for line in who_brings(arriving):
        _say(line)
    for one in unfinished:
        command = "reconcile" if one.name in declared else f"download {one.source}"
        _say(f"unfinished: {one.name}, {how_far(one)}; `{command}` resumes it, `clean` removes it")
    for note in notes_on(leftovers):
        _say(f"note: {note}")
    return ExitCode.FAILURE if wrong else ExitCode.SUCCESS


def _say(line: str) -> None:
    say(on_terminal(printable(line), sys.stdout))
