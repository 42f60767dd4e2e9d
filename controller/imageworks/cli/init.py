"""The ``init`` command."""

from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.output import complain, say


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("init")(init_command)


def init_command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of the new registry; made when missing.")],
) -> None:
    """Make a registry: a git repository of its own, or a folder of the repository that PATH is in."""
    from imageworks.config import load_host_settings
    from imageworks.registry.scaffold import EXAMPLE_FILE, HOOKS_FILE, make_registry

    made = make_registry(path, load_host_settings())
    for file in made.files:
        say(str(made.root / file))
    for file in made.kept:
        complain(f"kept as it was: {made.root / file}")
    where = f"as {made.prefix}/ of the repository around it" if made.prefix else "as a git repository of its own"
    complain(f"Made a registry {where}, in commit {made.commit[:10]}.")
    if HOOKS_FILE not in made.files:
        complain("To check manifests on each commit, add the hooks that its README.md (or the documentation) shows.")
    complain(
        f"Next: copy {EXAMPLE_FILE} to models/NAME.yaml, edit and commit it, then run "
        f"`imageworks-models reconcile --dry-run` in {made.root}."
    )
