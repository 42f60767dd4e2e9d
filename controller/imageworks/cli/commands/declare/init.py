"""The ``init`` command."""

from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.options import AsJson, DryRun, Registry
from imageworks.cli.output import complain, say, say_json
from imageworks.foundation.errors import UsageError


def init_command(
    path: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help="Folder of the new registry; made when missing.")
    ] = None,
    refresh: Annotated[
        bool,
        typer.Option("--refresh", help="Renew .schemas and .gitattributes of a registry that exists, in one commit."),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Make a registry, the git folder of what you declare.

    It is a git repository of its own, or a folder of the repository that PATH is in. `--registry DIR` means the same
    as PATH.

    Examples:
        imageworks-models init ~/ai-models/registry
        imageworks-models init --refresh
    """
    path = registry if path is None else path
    if refresh:
        _refresh(path, dry_run=dry_run, as_json=as_json)
        return
    if path is None:
        raise UsageError("init needs the folder of the new registry", remedy="For example: imageworks-models init PATH")
    from imageworks.operations.init_registry import EXAMPLE_FILE, HOOKS_FILE, make_here

    made = make_here(path, dry_run=dry_run)
    if as_json:
        files = {"files": list(made.files), "kept": list(made.kept)}
        say_json({"dry_run": dry_run, "registry": str(made.root), **files, "commit": made.commit or None})
        return
    for file in made.files:
        say(str(made.root / file))
    for file in made.kept:
        complain(f"kept as it was: {made.root / file}")
    if dry_run:
        say("Nothing was written.")
        return
    where = f"as {made.prefix}/ of the repository around it" if made.prefix else "as a git repository of its own"
    complain(f"Made a registry {where}, in commit {made.commit[:10]}.")
    if HOOKS_FILE not in made.files:
        complain("To check manifests on each commit, add the hooks that its README.md (or the documentation) shows.")
    complain(
        f"Next, in {made.root}: `imageworks-models download OWNER/REPO` declares a model and brings it; or copy "
        f"{EXAMPLE_FILE} to models/NAME.yaml, edit and commit it, and see what `imageworks-models plan` says."
    )


def _refresh(path: Path | None, *, dry_run: bool, as_json: bool) -> None:
    from imageworks.operations.init_registry import refresh_here

    root, changed, result = refresh_here(path, dry_run=dry_run)
    if as_json:
        commit = result.id if result else None
        say_json({"dry_run": dry_run, "registry": str(root), "files": list(changed), "commit": commit})
        return
    for file in changed:
        say(str(root / file))
    for left in result.left_alone if result is not None else ():
        complain(f"note: {left.path}: {left.reason}")
    if dry_run and changed:
        say("Nothing was written.")
    else:
        complain("Everything is of this version." if result is None else f"Renewed them in commit {result.id[:10]}.")
