"""The ``pin``, ``outdated`` and ``update`` commands: hold models to commits, and move them along."""

import json
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli.output import complain, human_bytes, printable, say
from imageworks.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imageworks.providers.huggingface import HubClient
    from imageworks.providers.ollama import OllamaProvider
    from imageworks.reconcile.ledger import Ledger
    from imageworks.reconcile.pinning import Moves
    from imageworks.reconcile.update_values import Age, Difference, ModelUpdate
    from imageworks.reconcile.updates import Upstreams

FORMAT_VERSION: Final = 1
SHOWN_FILES: Final = 5

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Declared models; all if none.")]
Registry = Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")]
Json = Annotated[bool, typer.Option("--json", help="Print stable JSON.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use no network.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")]
Branch = Annotated[
    str | None,
    typer.Option("--pr-branch", metavar="NAME", help="Commit to this branch instead; the work tree stays as it is."),
]
MinimumAge = Annotated[
    int, typer.Option("--min-age", metavar="DAYS", min=0, help="Move only to commits that are at least this old.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application.

    Args:
        app: The application's root.
    """
    app.command("pin")(pin_command)
    app.command("outdated")(outdated_command)
    app.command("update")(update_command)


def pin_command(
    names: Names = None,
    dry_run: DryRun = False,
    offline: Offline = False,
    branch: Branch = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Turn branches and tags in manifests into full commit ids; nothing else in a manifest changes.

    A model that is installed on this host is pinned to what is installed, any other to what its branch is at now. The
    branch stays as a comment behind the commit.
    """
    from imageworks.reconcile.pinning import pin

    with _opened(registry, read_only=dry_run, aside=branch is not None, wait=wait) as ledger:
        upstreams = _upstreams(ledger, offline=offline)
        moves = pin(ledger, names or (), upstreams, datetime.now(UTC).date(), aside=branch is not None)
        return _carry_out(ledger, moves, "Pin", branch, named=bool(names))


def outdated_command(
    names: Names = None,
    as_json: Json = False,
    offline: Offline = False,
    minimum_age: MinimumAge = 0,
    detailed: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when something is outdated.")
    ] = False,
    registry: Registry = None,
) -> int:
    """Show which models have moved upstream and what moving along would change; writes nothing.

    What could not be asked is said and is no error.
    """
    from imageworks.reconcile.pinning import outdated

    with _opened(registry, read_only=True) as ledger:
        updates = outdated(ledger, names or (), _upstreams(ledger, offline=offline), _age(minimum_age))
    behind = [one for one in updates if one.outdated]
    if as_json:
        say(_json(updates))
    else:
        _show(updates, named=bool(names))
    return ExitCode.CHANGES if detailed and behind else ExitCode.SUCCESS


def update_command(
    names: Names = None,
    branch: Branch = None,
    minimum_age: MinimumAge = 0,
    dry_run: DryRun = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Move pins to what their branches are at, in one commit; `reconcile` then brings the bytes.

    With --pr-branch the commit is made on a branch of its own, on top of the checked-out commit, for a pull request; a
    branch that an earlier update made is renewed. A manifest that follows a branch without a pin gets one where the
    branch has moved on from what is installed here. Nothing but pins changes, and no other byte of a manifest.
    """
    from imageworks.reconcile.pinning import update

    with _opened(registry, read_only=dry_run, aside=branch is not None, wait=wait) as ledger:
        moves, updates = update(ledger, names or (), _upstreams(ledger), _age(minimum_age), aside=branch is not None)
        moving = {move.name for move in moves.made}
        for one in updates:
            if one.name in moving:
                say(_block(one))
            elif one.held and not names:
                complain(f"{one.name}: {one.message}")
        return _carry_out(ledger, moves, "Update", branch, named=bool(names))


@contextmanager
def _opened(registry: Path | None, *, read_only: bool, aside: bool = False, wait: float = 0.0) -> "Iterator[Ledger]":
    from imageworks.config import find_registry, load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile.ledger import Ledger

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    if not read_only:
        start_logging(host.log_dir)
    with Ledger.open(root, host, read_only=read_only, wait=wait, aside=aside) as ledger:
        for note in ledger.notes:
            complain(f"note: {note}")
        yield ledger


def _upstreams(ledger: "Ledger", *, offline: bool = False) -> "Upstreams":
    from imageworks.reconcile.updates import Upstreams

    environment = ledger.host.environment()

    def open_hub() -> "HubClient":
        from imageworks.providers.huggingface import HubClient

        cache, write_cache = ledger.host.cache_dir, not ledger.read_only
        return HubClient.from_environment(
            environment, cache_dir=cache, write_cache=write_cache, offline=offline, told=complain
        )

    def open_ollama() -> "OllamaProvider":
        from imageworks.providers.ollama import OllamaProvider

        return OllamaProvider.from_environment(environment, offline=offline)

    return Upstreams(open_hub, open_ollama)


def _age(days: int) -> "Age":
    from imageworks.reconcile.update_values import Age

    return Age(timedelta(days=days), datetime.now(UTC))


def _carry_out(ledger: "Ledger", moves: "Moves", verb: str, branch: str | None, *, named: bool) -> int:
    """Commit moved pins and say what was done and what was not."""
    for name, why in moves.refused.items():
        complain(f"error: {name}: {why}")
    for name, why in moves.left.items() if named else ():
        complain(f"{name}: {why}")
    for move in moves.made:
        say(printable(f"~ {move.file}: {move.line}"))
    if not moves.made:
        say("No pins to move." if verb == "Update" else "Nothing to pin.")
    elif ledger.read_only:
        say("Nothing was written.")
    elif branch is not None:
        proposed = ledger.propose(moves.edits(verb), branch)
        done = "proposed" if proposed is not None and proposed.created else "already proposed"
        say(f"Done; {done} on branch {branch}. Push it with `git push --force-with-lease origin {branch}`.")
    else:
        result = ledger.commit(moves.edits(verb))
        for left in result.left_alone if result is not None else ():
            complain(f"note: {left.path}: {left.reason}")
        say(f"Done; committed {result.id[:10] if result else ''}. `imageworks-models reconcile` makes this host be so.")
    return ExitCode.FAILURE if moves.refused else ExitCode.SUCCESS


def _json(updates: "Sequence[ModelUpdate]") -> str:
    from imageworks.reconcile.update_values import Standing

    document = {
        "format_version": FORMAT_VERSION,
        "outdated": sum(1 for one in updates if one.outdated),
        "unknown": sum(1 for one in updates if one.standing is Standing.UNKNOWN),
        "models": [one.document() for one in updates],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _show(updates: "Sequence[ModelUpdate]", *, named: bool) -> None:
    from imageworks.reconcile.update_values import Standing

    counts = Counter("held" if one.held else one.standing.value for one in updates)
    for one in updates:
        if one.standing is Standing.OUTDATED:
            say(_block(one))
    for one in updates:
        if one.renamed_from is not None:
            complain(printable(f"{one.file}: {one.renamed_from} is {one.repo} on the hub by now"))
        if one.standing is Standing.UNKNOWN:
            complain(f"could not ask {one.name}: {one.message}")
        elif named and one.standing is not Standing.OUTDATED:
            say(printable(f"{one.name}: {one.standing.value}{f' ({one.message})' if one.message else ''}"))
    words = ["outdated", "held", *(one.value for one in Standing if one is not Standing.OUTDATED)]
    told = [f"{counts[word]} {word.replace('-', ' ')}" for word in words if counts[word]]
    say(f"{', '.join(told) or 'No models are declared'}.")


def _block(one: "ModelUpdate") -> str:
    """Return one model's update for a terminal."""
    from imageworks.reconcile.pinning import short

    behind = "" if one.behind is None else f", {one.behind} commit{'' if one.behind == 1 else 's'} behind"
    when = "" if one.date is None else f", {one.date:%Y-%m-%d}"
    lines = [
        f"{one.name}  {one.repo}{f'@{one.ref}' if one.ref else ''}",
        f"  {short(one.commit)} -> {short(one.latest)}{behind}{when}{'' if one.pinned else ', not pinned'}",
    ]
    if one.message:
        lines.append(f"  {one.message}")
    if one.difference is not None:
        lines += [f"  {line}" for line in _changes(one.difference)]
    return printable("\n".join(lines))


def _changes(difference: "Difference") -> "Iterator[str]":
    before, after = difference.size
    if before is not None and after is not None:
        grown = f" ({'+' if after > before else ''}{human_bytes(after - before)})" if after != before else ""
        yield f"{human_bytes(before)} -> {human_bytes(after)}{grown}"
    for what, files in (("added", difference.added), ("removed", difference.removed), ("changed", difference.changed)):
        if files:
            more = f" and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
            yield f"{what}: {', '.join(files[:SHOWN_FILES])}{more}"
    old, new = difference.license
    if old != new:
        yield f"licence: {old or 'none'} -> {new or 'none'}"
    if difference.chat_template:
        yield "chat template: another one"
