"""What the codes of errors and the reasons of plans mean, from two pages of the documentation."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from imageworks.cli.first_screen import PROGRAM
from imageworks.cli.output import complain
from imageworks.foundation.errors import ImageworksError

PAGES: Final = ("troubleshooting.md", "reasons.md")
_ROW: Final = r'(?m)^\| <a id="([a-z0-9-]+)"></a>`\1` \| (.+?) \|(?: (.+?) \|)?$'
_LINK: Final = r"\[([^\]]+)\]\([^)]*\)"  # neither is compiled until somebody asks: each command imports this


def complain_of(error: ImageworksError) -> None:
    """Print an error with its remedy on stderr, and where more is said of it."""
    more = f"\n  More: {PROGRAM} help {error.help_code}" if error.remedy and error.help_code else ""
    complain(f"error: {error.render()}{more}", ours=error.verbatim)


def explanation(code: str) -> str | None:
    """Return what a code means and what to do, with the place in the documentation; ``None`` for no code of ours."""
    for page in PAGES:
        for found, meaning, remedy in rows(page):
            if found == code:
                told = [f"{code}: {meaning}", *([f"What to do: {remedy}"] if remedy else []), f"See docs/{page}#{code}"]
                return re.sub(_LINK, r"\1", "\n".join(told))
    return None


def rows(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield each code that a page explains, what it means, and what to do."""
    package = Path(__file__).resolve().parents[1]
    bundled = package / "docs"
    folder = bundled if bundled.is_dir() else package.parents[1] / "docs"
    for row in re.finditer(_ROW, (folder / page).read_text(encoding="utf-8")):
        yield row[1], row[2], row[3] or ""
