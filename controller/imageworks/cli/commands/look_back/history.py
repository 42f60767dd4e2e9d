"""The commands that look back: ``history``, ``diff``, ``blame`` and ``show``, from the registry's commits."""

import json
from typing import Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.options import AsJson, HostName, Registry
from imageworks.cli.output import complain, printable, say, say_json, say_json_pieces
from imageworks.cli.views.history import blame_text, diff_text, step_text
from imageworks.cli.views.model import model_text
from imageworks.foundation.errors import ExitCode


def history_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="The model whose history is asked for; all if none.",
            autocompletion=completion.names,
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most commits to show.")] = 20,
    revision: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="REV|DATE",
            help="Where to start; the checked-out commit if none.",
            autocompletion=completion.revisions,
        ),
    ] = None,
    host: HostName = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Show the commits that changed a model.

    When, who, and what became of the model, or of all, newest first. A model's earlier names are followed: what its
    manifest calls `previously`, and entries that were moved.

    Examples:
        imageworks-models history
        imageworks-models history my-model --limit 5
    """
    from imageworks.operations.history import look_back, steps_of
    from imageworks.registry.history.model import HistoryCommit

    with look_back(registry, host=host, cached=name is None) as past:
        for note in past.lacks:
            complain(f"note: {note}")
        name, steps = steps_of(past, name, limit=limit, revision=revision)
        # Each is printed and forgotten: there may be tens of thousands.
        if as_json:
            say_json_pieces({"name": name, "commits": map(HistoryCommit.stream, steps)})
            return
        none = True
        for step in steps:
            none = False
            say(step_text(step, name))
        if none:
            complain("No commit yet." if name is None else printable(f"No commit has changed {name}."))


def diff_command(
    revisions: Annotated[
        str | None,
        typer.Argument(
            metavar="[REV[..REV]]",
            help="One revision or date, compared with the files here; or two.",
            autocompletion=completion.revisions,
        ),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--name", metavar="NAME", help="Only this model; may be repeated.", autocompletion=completion.names
        ),
    ] = None,
    manifests: Annotated[bool, typer.Option("--manifests", help="Only what people declare.")] = False,
    entries: Annotated[bool, typer.Option("--entries", help="Only what hosts recorded.")] = False,
    host: HostName = None,
    detailed: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 0 for no difference, 2 for differences.")
    ] = False,
    as_json: AsJson = False,
    registry: Registry = None,
) -> int:
    """Compare two states of the registry.

    In model words. As with git: without a revision, the checked-out commit with the files here, uncommitted ones
    included; with one revision, that with the files here; `A..B` two commits, where an empty side is the checked-out
    commit; `A...B` what B changed since it left A.

    Examples:
        imageworks-models diff
        imageworks-models diff HEAD~3..HEAD --manifests
    """
    from imageworks.operations.history import differences, look_back

    with look_back(registry, host=host, cached=True) as past:
        before, after, changes = differences(past, revisions, names or (), manifests=manifests, entries=entries)
    if as_json:
        say_json_pieces({"before": before, "after": after, "changes": (change.document() for change in changes)})
    else:
        say(diff_text(changes))
    return ExitCode.CHANGES if detailed and changes else ExitCode.SUCCESS


def show_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@REV]",
            help="The model, at a revision or date if given.",
            autocompletion=completion.names_at,
        ),
    ],
    host: HostName = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Show a model as it is, or was at a revision.

    What people declare and what this host recorded, merged. A model that was called otherwise then is found by its
    present name.

    Examples:
        imageworks-models show my-model
        imageworks-models show my-model@HEAD~3 --json
    """
    from imageworks.operations.history import look_back, model_shown

    with look_back(registry, host=host) as past:
        found = model_shown(past, model)
    if as_json:
        say(json.dumps(found.document(), indent=2, ensure_ascii=False, sort_keys=True))
        return
    for note in found.notes:
        complain(f"note: {note}")
    say(model_text(found.model))


def blame_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.", autocompletion=completion.names)],
    host: HostName = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Show which commit set each field of a model.

    Of its manifest and its entry, with who made it. Fields that a model brought along through a rename are followed to
    where they were set.

    Examples:
        imageworks-models blame my-model
    """
    from imageworks.operations.history import called, look_back

    with look_back(registry, host=host) as past:
        for note in past.lacks:
            complain(f"note: {note}")
        name = called(past.reader, name, past.host)
        found = past.reader.blame(name, past.host)
    if as_json:
        say_json({"name": name, "fields": [one.document() for one in found]})
        return
    if not found:
        complain(f"note: nothing that can be read is said of {name}; `imageworks-models validate` says why")
    say(blame_text(found, name))
