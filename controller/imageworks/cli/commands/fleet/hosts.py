"""The ``hosts`` commands: which hosts a registry has, and what becomes of one that is gone or renamed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.explanations import complain_of
from imageworks.cli.group import Commands
from imageworks.cli.options import AsJson, DryRun, PrBranch, Registry, Wait
from imageworks.cli.output import complain, printable, say, say_json, table
from imageworks.foundation.errors import ExitCode
from imageworks.operations.session import start_session

if TYPE_CHECKING:
    from imageworks.operations.hosts import HostChange, RegistryHosts


app = Commands("List, retire and rename the hosts of a registry.")


@app.command("list")
def list_command(registry: Registry = None, as_json: AsJson = False) -> None:
    """List the hosts that registry.yaml names or that have recorded models, with their labels.

    Examples:
        imageworks-models hosts list
    """
    hosts = _hosts(registry)
    found = hosts.all
    if as_json:
        say_json({"hosts": [one.document() for one in found]})
        return
    rows = [
        (
            one.name,
            " ".join(f"{key}={value}" for key, value in one.labels.items()),
            str(one.models),
            f"{one.last:%Y-%m-%d}" if one.last else "",
            ", ".join(
                said for said, holds in (("this host", one.current), ("not in registry.yaml", not one.named)) if holds
            ),
        )
        for one in found
    ]
    say(table(("HOST", "LABELS", "MODELS", "LAST RECORDED", "NOTE"), rows) if rows else "No host is known yet.")
    for note in hosts.notes():
        complain(printable(f"note: {note}"))


@app.command("retire")
def retire_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The host that is gone.", autocompletion=completion.hosts)
    ],
    branch: PrBranch = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    wait: Wait = 0.0,
    registry: Registry = None,
) -> int:
    """Take a host that is gone out of the registry, in one commit: entries, snapshot, and what names it.

    Examples:
        imageworks-models hosts retire old-box --dry-run
    """
    hosts = _hosts(registry)
    code = _carry_out(hosts, hosts.retire(name), branch, dry_run=dry_run, as_json=as_json, wait=wait)
    if code == ExitCode.SUCCESS and not dry_run and branch is None:
        for note in hosts.drop_report(name):
            complain(f"note: {note}")
    return code


@app.command("rename")
def rename_command(
    old: Annotated[
        str,
        typer.Argument(metavar="OLD", help="What the host is called in the registry.", autocompletion=completion.hosts),
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="What it is to be called.")],
    branch: PrBranch = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    wait: Wait = 0.0,
    registry: Registry = None,
) -> int:
    """Give a host another name, in one commit: its records move, and nothing is downloaded again.

    Examples:
        imageworks-models hosts rename workstation tower --dry-run
    """
    hosts = _hosts(registry)
    return _carry_out(hosts, hosts.rename(old, new), branch, dry_run=dry_run, as_json=as_json, wait=wait)


def _hosts(registry: Path | None) -> "RegistryHosts":
    from imageworks.operations.hosts import RegistryHosts

    session = start_session(registry)
    return RegistryHosts(session.root, session.host)


def _carry_out(
    hosts: "RegistryHosts", change: "HostChange", branch: str | None, *, dry_run: bool, as_json: bool, wait: float
) -> int:
    for line in () if as_json else change.lines:
        say(printable(line))
    for note in change.notes:
        complain(printable(f"note: {note}"))
    document = {"dry_run": dry_run, "changes": list(change.lines)}
    if dry_run:
        say("Nothing was written.") if not as_json else say_json(document)
        return ExitCode.SUCCESS
    if branch is not None:
        proposed = hosts.propose(change, branch, wait=wait)
        done = "proposed" if proposed.created else "already proposed"
        said = f"Done; {done} on branch {branch}. Push it with `git push --force-with-lease origin {branch}`."
        say(said) if not as_json else say_json({**document, "branch": branch})
        return ExitCode.SUCCESS
    result, sent = hosts.commit(change, wait=wait)
    for left in result.left_alone if result is not None else ():
        complain(f"note: {left.path}: {left.reason}")
    for note in sent.notes:
        complain(f"note: {note}")
    if as_json:
        say_json({**document, "commit": result.id if result is not None else None})
    else:
        say(f"Done; committed {result.id[:10]}." if result is not None else "Done.")
    if sent.problem is not None:
        complain_of(sent.problem)
        return ExitCode.FAILURE
    return ExitCode.SUCCESS
