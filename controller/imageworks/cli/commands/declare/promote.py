"""The ``promote`` command: make manifests of discovered entries."""

from typing import Annotated

import typer

from imageworks.cli.completion import undeclared
from imageworks.cli.entry_changes import open_ledger
from imageworks.cli.explanations import complain_of
from imageworks.cli.options import AsJson, DryRun, Registry, Wait
from imageworks.cli.output import say, say_json
from imageworks.foundation.errors import ExitCode


def promote_command(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Models that no manifest declares yet.", autocompletion=undeclared),
    ],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Write manifests for models without one.

    Declares models that were found or downloaded without a manifest, all in one commit. A model from the hub is pinned
    at the commit that is installed, any other is declared by the path it stands at. Afterwards `reconcile` finds
    nothing to do. One model that cannot be promoted does not stop the others.

    Examples:
        imageworks-models promote llama-7b-instruct-vllm-awq --dry-run
    """
    from imageworks.operations.promote import edits, promote_all

    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        made, refused = promote_all(ledger, names)
        result = None if dry_run else ledger.commit(edits(made))
    for error in refused.values():
        complain_of(error)
    if as_json:
        models = [{"name": one.entry.name, "file": one.file, "text": one.data.decode()} for one in made]
        errors = [{"name": name, "why": error.message} for name, error in refused.items()]
        commit = result.id if result else None
        say_json({"dry_run": dry_run, "manifests": models, "refused": errors, "commit": commit})
        return ExitCode.FAILURE if refused else ExitCode.SUCCESS
    for promotion in made:
        file = promotion.file
        say(f"--- {file}\n{promotion.data.decode()}" if dry_run else f"+ {file}")
    if dry_run:
        say("Nothing was written.")
    elif result is not None:
        say(f"Done; committed {result.id[:10]}. Edit what you like, commit it, and `reconcile`.")
    return ExitCode.FAILURE if refused else ExitCode.SUCCESS
