"""The ``pin``, ``outdated`` and ``update`` commands: hold models to commits, and move them along."""

from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.entry_changes import open_ledger
from imageworks.cli.options import AsJson, DryRun, Offline, PrBranch, Registry, Wait
from imageworks.cli.output import complain, say, say_json
from imageworks.foundation.errors import ExitCode

if TYPE_CHECKING:
    from imageworks.operations.updates.pin import Moves
    from imageworks.reconcile.ledger import RecordSession

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Declared models; all if none.", autocompletion=completion.names),
]
MinimumAge = Annotated[
    int, typer.Option("--min-age", metavar="DAYS", min=0, help="Move only to commits that are at least this old.")
]


def pin_command(
    names: Names = None,
    dry_run: DryRun = False,
    offline: Offline = False,
    branch: PrBranch = None,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Turn branches and tags in manifests into commit ids.

    Nothing else in a manifest changes. A model that is installed on this host is pinned to what is installed, any other
    to what its branch is at now. The branch stays as a comment behind the commit.

    Examples:
        imageworks-models pin --dry-run
        imageworks-models pin --pr-branch pin-models
    """
    from imageworks.cli.views.updates import show_moves
    from imageworks.operations.updates.pin import pin_today

    aside = branch is not None
    with open_ledger(registry, read_only=dry_run, aside=aside, wait=wait) as ledger:
        moves = pin_today(ledger, names or (), offline=offline, aside=aside, told=complain)
        if not as_json:
            show_moves(moves, nothing="Nothing to pin.", named=bool(names))
        return _commit(ledger, moves, "Pin", branch, as_json=as_json)


def outdated_command(
    names: Names = None,
    as_json: AsJson = False,
    offline: Offline = False,
    minimum_age: MinimumAge = 0,
    detailed: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when something is outdated.")
    ] = False,
    registry: Registry = None,
) -> int:
    """Show what has moved on upstream.

    And what moving along would change; nothing is written. What could not be asked is said and is no error.

    Examples:
        imageworks-models outdated
        imageworks-models outdated --min-age 7 --json
    """
    from imageworks.cli.views.updates import show_updates, updates_json
    from imageworks.operations.updates.pin import outdated_now

    with open_ledger(registry, read_only=True, wait=0.0) as ledger:
        updates = outdated_now(ledger, names or (), offline=offline, days=minimum_age, told=complain)
    if as_json:
        updates_json(updates)
    else:
        show_updates(updates, named=bool(names))
    return ExitCode.CHANGES if detailed and any(one.outdated for one in updates) else ExitCode.SUCCESS


def update_command(
    names: Names = None,
    branch: PrBranch = None,
    minimum_age: MinimumAge = 0,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Move pins to what is newest upstream.

    All in one commit; `reconcile` then brings the bytes. With --pr-branch the commit is made on a branch of its own, on
    top of the checked-out commit, for a pull request; a branch that an earlier update made is renewed. A manifest that
    follows a branch without a pin gets one where the branch has moved on from what is installed here. Nothing but pins
    changes, and no other byte of a manifest.

    Examples:
        imageworks-models update --dry-run
        imageworks-models update --min-age 7 --pr-branch update-models
    """
    from imageworks.cli.views.updates import show_moves, update_block
    from imageworks.operations.updates.pin import update_now

    aside = branch is not None
    with open_ledger(registry, read_only=dry_run, aside=aside, wait=wait) as ledger:
        moves, updates = update_now(ledger, names or (), days=minimum_age, aside=aside, told=complain)
        moving = {move.name for move in moves.made}
        for one in updates:
            if one.name in moving and not as_json:
                say(update_block(one))
            elif one.held and not names:
                complain(f"{one.name}: {one.message}")
        if not as_json:
            show_moves(moves, nothing="No pins to move.", named=bool(names))
        del updates  # of ten thousand models, they take 10 MB beside what is committed
        return _commit(ledger, moves, "Update", branch, as_json=as_json)


def _commit(ledger: "RecordSession", moves: "Moves", verb: str, branch: str | None, *, as_json: bool) -> int:
    """Commit moved pins and say what was done and what was not."""
    for name, why in moves.refused.items():
        complain(f"error: {name}: {why}")
    proposed = result = None
    if moves.made and not ledger.read_only and branch is not None:
        proposed = ledger.propose(moves.edits(verb), branch)
    elif moves.made and not ledger.read_only:
        result = ledger.commit(moves.edits(verb))
    for left in result.left_alone if result is not None else ():
        complain(f"note: {left.path}: {left.reason}")
    if as_json:
        document = {"dry_run": ledger.read_only, "moves": [move.document() for move in moves.made]}
        refused = [{"name": name, "why": why} for name, why in moves.refused.items()]
        say_json({**document, "refused": refused, "branch": branch, "commit": result.id if result else None})
    elif not moves.made:
        pass
    elif ledger.read_only:
        say("Nothing was written.")
    elif branch is not None:
        done = "proposed" if proposed is not None and proposed.created else "already proposed"
        say(f"Done; {done} on branch {branch}. Push it with `git push --force-with-lease origin {branch}`.")
    else:
        say(f"Done; committed {result.id[:10] if result else ''}. `imageworks-models reconcile` makes this host be so.")
    return ExitCode.FAILURE if moves.refused else ExitCode.SUCCESS
