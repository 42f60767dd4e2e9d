"""Write the page as files that any web server, or none, can show."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.plain_files import NotPlainError, read_plain_file
from imageworks.page.render import Page, all_files

MARK: Final = ".imageworks-page.json"
"""What says that a folder's files are ours, and which: only those are ever overwritten or removed."""
_LONGEST: Final = 16 << 20


class PageFolderError(ImageworksError):
    """The page cannot be written there."""


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """What was written.

    Args:
        index: The file to open first.
        files: How many files there are.
        bytes: What they have together.
    """

    index: Path
    files: int
    bytes: int


def write_page(page: Page, folder: Path) -> WrittenPage:
    """Write a page into a folder of its own, and remove what an earlier one left there."""
    earlier = _earlier(folder)
    try:
        written: dict[str, int] = {}
        folders: set[Path] = set()
        for path, content in all_files(page):
            target = folder / path
            if target.parent not in folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                folders.add(target.parent)
            draft = target.with_name(f".{target.name}.new")
            draft.write_bytes(content)
            draft.replace(target)
            written[path] = len(content)
        for path in earlier - written.keys():
            with suppress(FileNotFoundError):
                (folder / path).unlink()
        (folder / MARK).write_text(json.dumps({"files": sorted(written)}), encoding="utf-8")
    except OSError as error:
        raise PageFolderError(f"{folder}: the page cannot be written: {error.strerror}") from error
    return WrittenPage(folder / "index.html", len(written), sum(written.values()))


def _earlier(folder: Path) -> set[str]:
    """Return the files of an earlier page, having seen that nothing of somebody else's stands in the way."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return set()
    try:
        said = read_json(read_plain_file(folder / MARK, _LONGEST))
        listed = {str(one) for one in said["files"]}
    except (OSError, NotPlainError, ValueError, TypeError, KeyError):
        raise PageFolderError(
            f"{folder} holds something that is no page of ours",
            remedy="Name a folder that is new or empty with --out.",
        ) from None
    return {one for one in listed if ".." not in PurePosixPath(one).parts and not one.startswith("/")}
