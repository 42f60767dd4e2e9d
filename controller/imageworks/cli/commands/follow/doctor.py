"""The ``doctor`` command: can this machine do what is asked of it, and if not, what to do."""

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli.options import AsJson, Offline, Registry
from imageworks.cli.output import complain, counted, paint, printable, say, terminal_width, wants_colour, wrapped
from imageworks.foundation.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from imageworks.plan.checkup import CheckResult

FORMAT_VERSION: Final = 1
SIGNS: Final = {"ok": ("✓", "green"), "note": ("!", "yellow"), "wrong": ("✗", "red")}
CODE_COLUMNS: Final = 14
LONGEST_LINE: Final = 100
NARROWEST: Final = 20


def doctor_command(
    registry: Registry = None,
    offline: Offline = False,
    as_json: AsJson = False,
    install: Annotated[
        bool, typer.Option("--install", help="Bring aria2c where it is missing, without root, if that can be done.")
    ] = False,
) -> int:
    """Check this machine: programs, hub, token, folders, space, git, locks, records.

    Each line that is not in order says what to do. Nothing is written, and with --offline no network is asked. Exits
    with 1 when something is wrong; what is only to be known is marked with an exclamation mark.

    Examples:
      imageworks-models doctor
      imageworks-models doctor --install
    """
    from imageworks.host.settings import (
        NothingThereError,
        RegistryNotFoundError,
        find_registry,
        load_host_settings,
    )
    from imageworks.operations.doctor import examine, is_well

    if install:
        from imageworks.operations.install_aria2 import install_aria2c

        complain(f"aria2c: {install_aria2c()}")
    root: Path | None = None
    with suppress(RegistryNotFoundError, NothingThereError):  # which is one of the things to know
        root = find_registry(registry)
    host = load_host_settings(registry=root)
    results = examine(root, host, offline=offline, asked=registry)
    if as_json:
        checks = [one.document() for one in results]
        say(json.dumps({"format_version": FORMAT_VERSION, "host": host.host, "checks": checks}, indent=2))
    else:
        say(_text(results))
    return ExitCode.SUCCESS if is_well(results) else ExitCode.FAILURE


def _text(results: "Sequence[CheckResult]") -> str:
    """Return the results, what is wrong last, where a terminal leaves the eye."""
    colour, width = wants_colour(sys.stdout), min(terminal_width(), LONGEST_LINE)
    order = list(SIGNS)
    lines: list[str] = []
    for one in sorted(results, key=lambda result: order.index(result.standing.value)):
        sign, style = SIGNS[one.standing.value]
        head = f"{paint(sign, style, colour=colour)} {one.code:{CODE_COLUMNS}}"
        told = [one.message, *([one.remedy] if one.remedy else [])]
        room = max(width - CODE_COLUMNS - 2, NARROWEST)
        below = [line for text in told for line in wrapped(printable(text).replace("\n", " "), room, first=room)]
        lines += [f"{head}{below[0]}", *(f"{' ' * (CODE_COLUMNS + 2)}{line}" for line in below[1:])]
    wrong, notes = (sum(one.standing.value == which for one in results) for which in ("wrong", "note"))
    told = [counted(wrong, "problem")] if wrong else ["No problem"] if notes else ["All is well"]
    told += [f"{counted(notes, 'thing')} to know of, marked with !"] if notes else []
    lines += ["", f"{', '.join(told)}."]
    return "\n".join(lines)
