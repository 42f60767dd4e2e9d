"""The ``promote`` command: make manifests of discovered entries."""

from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.output import complain, say
from imageworks.errors import ExitCode


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("promote")(promote_command)


def promote_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models that no manifest declares yet.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the manifests and write nothing.")] = False,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")] = 0.0,
) -> int:
    """Declare models that were found or downloaded without a manifest: write one for each, in one commit.

    A model from the hub is pinned at the commit that is installed, any other is declared by the path it stands at.
    Afterwards `reconcile` finds nothing to do. One model that cannot be promoted does not stop the others.
    """
    from imageworks.config import find_registry, load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile.ledger import Ledger
    from imageworks.reconcile.promote import PromoteError, edits, promote
    from imageworks.registry.lookup import UnknownModelError

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    if not dry_run:
        start_logging(host.log_dir)
    failed = False
    with Ledger.open(root, host, read_only=dry_run, wait=wait) as ledger:
        for note in ledger.notes:
            complain(f"note: {note}")
        made = []
        for name in dict.fromkeys(names):
            try:
                made.append(promote(ledger, name))
            except (PromoteError, UnknownModelError) as error:
                failed = True
                complain(f"error: {error.render()}")
        result = None if dry_run else ledger.commit(edits(made))
    for promotion in made:
        if dry_run:
            say(f"--- {promotion.manifest.file}\n{promotion.data.decode()}")
        else:
            say(f"+ {promotion.manifest.file}")
    if dry_run:
        say("Nothing was written.")
    elif result is not None:
        say(f"Done; committed {result.id[:10]}. Edit what you like, commit it, and `reconcile`.")
    return ExitCode.FAILURE if failed else ExitCode.SUCCESS
