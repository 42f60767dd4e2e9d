"""The ``clean`` command: what killed and broken-off runs left, shown, and removed when somebody agrees."""

import json
import re
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli import completion
from imageworks.cli.options import Registry, Wait
from imageworks.cli.output import complain, counted, printable, say
from imageworks.cli.prompts import agrees, at_terminal, refuse_unasked
from imageworks.cli.views.unfinished import age
from imageworks.foundation.errors import ExitCode, UsageError
from imageworks.foundation.log import event
from imageworks.foundation.texts import human_bytes
from imageworks.operations.session import start_session

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from imageworks.operations.clean import Rest

FORMAT_VERSION: Final = 1
_AGE: Final = re.compile(r"(\d{1,6})([smhdw]?)", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "": 86_400, "w": 604_800}
_TITLES: Final = {
    "unfinished-download": "Unfinished downloads",
    "ollama": "In Ollama's store, of no model",
    "cache": "Caches",
    "note": "Notes of publishes",
    "draft": "Half-written files",
}


def clean_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Only unfinished downloads of these models, also declared ones.",
            autocompletion=completion.names,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go and write nothing.")] = False,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Only what nobody used for so long: 12h, 7d, 4w.")
    ] = "0d",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before removing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as stable JSON.")] = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Remove what interrupted runs left behind.

    Unfinished downloads, orphans in Ollama's store, old caches: they are shown, and go when somebody agrees. What a
    declared model goes on with stays, unless the model is named; so does what belongs to another registry or host, or
    to somebody who cannot be told. Models, entries and manifests are never touched.

    Examples:
        imageworks-models clean --dry-run
        imageworks-models clean --older-than 7d --yes
    """
    from imageworks.operations.clean import CleanFilter, find_rests, open_clean, remove_rests

    wanted = CleanFilter(tuple(dict.fromkeys(names or ())), _seconds(older_than))
    read_only = dry_run or not (yes or at_terminal())
    session = start_session(registry, writes=not read_only)
    host = session.host
    with open_clean(session, read_only=read_only, wait=wait) as run:
        rests = find_rests(run, host, session.root, wanted)
        going = [rest for rest in rests if rest.kept_because is None]
        _show(rests, going, host=host.host, as_json=as_json)
        if dry_run or not going:
            return ExitCode.SUCCESS
        if not yes:
            refuse_unasked("nothing was removed")
        if not (yes or agrees(f"Remove {counted(len(going), 'thing')}?")):
            complain("nothing was removed")
            return ExitCode.FAILURE
        left = remove_rests(going)
    event("cleaned", removed=[str(rest.path) for rest in going if rest.path not in left], left=list(map(str, left)))
    for path, why in left.items():
        complain(f"error: {path}: {why}")
    freed = human_bytes(sum(rest.size for rest in going if rest.path not in left))
    complain(f"Done: {len(going) - len(left)} of {len(going)} removed, {freed} freed.")
    return ExitCode.FAILURE if left else ExitCode.SUCCESS


def _seconds(text: str) -> float:
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--older-than {text}: not an age", remedy="For example: 12h, 7d, 4w; a number alone is days.")
    return float(found[1]) * _SECONDS[found[2]]


def _show(rests: "Collection[Rest]", going: "Collection[Rest]", *, host: str, as_json: bool) -> None:
    total = sum(rest.size for rest in going)
    if as_json:
        document = {
            "format_version": FORMAT_VERSION,
            "host": host,
            "bytes": total,
            "leftovers": [rest.document() for rest in rests],
        }
        say(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for kind, group in groupby(rests, key=lambda rest: str(rest.kind)):
        say(f"{_TITLES[kind]}:")
        for line in _lines(list(group)):
            say(f"  {printable(line)}")
    say(f"Plan: {len(going)} to remove, {human_bytes(total)}." if going else "Nothing to remove.")


def _lines(rests: "Collection[Rest]") -> "Iterator[str]":
    for rest in rests:
        line = f"{rest.name}  {rest.about}  {human_bytes(rest.size)}, {age(rest.age)}"
        yield f"- {line}  {rest.path}" if rest.kept_because is None else f"  {line}  stays: {rest.kept_because}"
