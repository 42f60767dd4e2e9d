"""The ``page`` command: the registry as files for a browser."""

from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.options import AsJson, Offline, Registry
from imageworks.cli.output import counted, printable, say, say_json
from imageworks.foundation.texts import human_bytes


def page_command(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="A new or empty folder, or one with an earlier page.")
    ],
    commits: Annotated[int, typer.Option("--commits", min=0, help="How many of the newest commits to show.")] = 500,
    base: Annotated[
        str | None, typer.Option("--diff", metavar="REV", help="Also what changed since this commit, for a review.")
    ] = None,
    offline: Offline = False,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Write the registry as a page to look at.

    It shows models, disks, what fits into which memory, history, hosts, roles and rules.
    The files need no server and ask no other machine for anything: open index.html, or publish the folder.

    Examples:
      imageworks-models page --out page
      imageworks-models page --out public --diff origin/main
    """
    from imageworks.operations.page.gather import page_of
    from imageworks.operations.page.write import write_page

    written = write_page(page_of(registry, commits=commits, base=base, offline=offline), out)
    if as_json:
        say_json({"index": str(written.index), "files": written.files, "bytes": written.bytes})
    else:
        say(printable(f"{written.index}: {counted(written.files, 'file')}, {human_bytes(written.bytes)}"))
