"""The ``snapshot`` commands: check the generated files, make them anew, merge them, show one host's."""

from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.group import Commands
from imageworks.cli.options import AsJson, DryRun, Registry
from imageworks.cli.output import complain, counted, printable, say, say_json, say_json_value
from imageworks.cli.registries import path_prefix, registries_here
from imageworks.foundation.errors import ExitCode
from imageworks.operations.init_registry import install_merge_driver
from imageworks.operations.session import start_session
from imageworks.operations.snapshots import check_registry, committed_snapshot, merge_here, rebuild_snapshots
from imageworks.registry.snapshot_check import UNSHALLOW, render

app = Commands("Check, rebuild and merge the generated snapshots.")


@app.command("check")
def check_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Files whose registries are checked, as a git hook gives them."),
    ] = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> int:
    """Check that every host's snapshot is what manifests and entries give, and that nothing else stands beside them.

    Examples:
        imageworks-models snapshot check
    """
    problems, hidden = [], []
    for root in registries_here(registry, files or ()):
        found = check_registry(root)
        prefix = "" if registry is not None else path_prefix(root)
        problems += [{**one.document(), "file": prefix + one.file} for one in found.problems]
        hidden += [prefix + file for file in found.hidden]
        for line in () if as_json else render(found.problems):
            say(printable(prefix + line))
    for file in hidden:
        complain(f"note: {file}: the commit that wrote it is not in this shallow clone; {UNSHALLOW}")
    if as_json:
        say_json({"valid": not problems, "diagnostics": problems, "hidden": hidden})
    complain(counted(len(problems), "problem") if problems else "snapshots are as they should be")
    return ExitCode.FAILURE if problems else ExitCode.SUCCESS


@app.command("rebuild")
def rebuild_command(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HOST]...", help="Whose snapshots; every host's if none.", autocompletion=completion.hosts
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Make snapshots anew of the manifests and entries in the tree, as after a merge; uses no disk and no network.

    Commits nothing. A snapshot that was in conflict is staged, so that the merge or rebase can go on.

    Examples:
        imageworks-models snapshot rebuild --dry-run
    """
    session = start_session(registry)
    rebuilt = rebuild_snapshots(session.root, session.host, hosts or (), dry_run=dry_run)
    if as_json:
        made = [{"file": one.file, "changed": one.changed, "settled": one.settled} for one in rebuilt]
        say_json({"dry_run": dry_run, "snapshots": made})
        return
    for one in rebuilt:
        done = ("would be made anew" if dry_run else "made anew") if one.changed else "is as it should be"
        say(printable(f"{one.file}: {done}{', its conflict is settled' if one.settled else ''}"))
    if not rebuilt:
        complain("no host has entries or a snapshot")
    elif not dry_run and any(one.changed and not one.settled for one in rebuilt):
        complain("Commit it: git commit -m 'Rebuild the snapshot' -- snapshot")


@app.command("install-merge-driver")
def install_command(dry_run: DryRun = False, as_json: AsJson = False, registry: Registry = None) -> None:
    """Let git merge snapshots in this clone with this program, so that branches of one host do not conflict in them.

    Examples:
        imageworks-models snapshot install-merge-driver
    """
    session = start_session(registry)
    commit = None if dry_run else install_merge_driver(session.root, session.host)
    if as_json:
        say_json({"dry_run": dry_run, "commit": commit})
    elif dry_run:
        say("Snapshots would be merged by this program in this clone. Nothing was written.")
    else:
        complain("Snapshots are merged by this program in this clone, for merges, rebases and cherry-picks.")
    if commit is not None:
        complain(
            f"committed {commit[:10]}: snapshot/.gitattributes, which asks for it; each clone needs this command once"
        )


@app.command("merge-driver", hidden=True)
def merge_driver_command(base: Path, ours: Path, theirs: Path, path: str) -> None:
    """Merge a snapshot for git, which calls this with the files of the three sides and the path."""
    merge_here(base, ours, theirs, path)


@app.command("show")
def show_command(
    host: Annotated[
        str | None,
        typer.Argument(metavar="[HOST]", help="Whose snapshot; this host's if none.", autocompletion=completion.hosts),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Accepted: a snapshot is JSON.")] = True,  # noqa: ARG001
    registry: Registry = None,
) -> None:
    """Print a host's snapshot as JSON, as it was committed last.

    Examples:
        imageworks-models snapshot show
    """
    session = start_session(registry)
    say_json_value(committed_snapshot(session.root, session.host, host))
