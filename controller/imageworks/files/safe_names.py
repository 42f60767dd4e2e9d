"""Which relative file names are let onto the disk (invariant I8): one policy for POSIX and Windows at once.

A model folder may live on ext4, APFS, NTFS or a Windows drive seen from Linux, and may move between them, so a name
is refused when any of them would take it for another file, for a device, or for a way out of its directory.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from imageworks.foundation.errors import ImageworksError

LONGEST_PART_BYTES = 255
LONGEST_NAME_BYTES = 1024
DEEPEST_NAME = 32
STAGING_NAME = ".imageworks"
"""The folder of ours at the root of a location; no file of a model may be called so."""

_UNSPELLABLE = re.compile(r"[^A-Za-z0-9 ._/+@=,()-]", re.ASCII)
_WINDOWS_FORBIDDEN = frozenset('<>:"|?*')  # the colon also opens drives and hidden streams
_WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])")
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})  # controls, bidi marks, surrogates, separators
_RESERVED_PARTS = {
    ".git": "belongs to git",
    "git~1": "is the short Windows name of .git",
    ".hg": "belongs to Mercurial",
    ".svn": "belongs to Subversion",
    STAGING_NAME: "is the staging folder",
}


class UnsafeNameError(ImageworksError):
    """A file name that is not let onto the disk."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"unsafe file name {name!a}: {why}",
            remedy=f"leave it out with `exclude: [{json.dumps(exclude_glob(name))}]` (`--exclude`), or take what you "
            "name with `include`",
        )
        self.name = name
        self.why = why


def exclude_glob(name: str) -> str:
    """Return a glob that matches a name, with ``?`` for what a manifest or a shell would not take."""
    steps = ["?" * len(step) if step in {".", ".."} else step for step in name.split("/")]
    glob = _UNSPELLABLE.sub("?", "/".join(steps))
    return f"?{glob[1:]}" if glob.startswith("/") else glob


def check_relative_name(name: str) -> str:
    """Return a safe relative name unchanged, or raise UnsafeNameError saying why it is refused."""
    if why := _objection(name):
        raise UnsafeNameError(name, why)
    return name


def check_names(names: Iterable[str]) -> None:
    """Check each name of one listing, and that no two of them would be one file on some filesystem."""
    spelling: dict[str, str] = {}
    files: set[str] = set()
    folders: dict[str, str] = {}
    for name in names:
        check_relative_name(name)
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            prefix = "/".join(parts[:depth])
            known = spelling.setdefault(_folded(prefix), prefix)
            if known != prefix:
                raise UnsafeNameError(name, f"differs from {known!a} only by letter case or accents")
            if depth < len(parts):
                folders.setdefault(prefix, name)
        if name in files:
            raise UnsafeNameError(name, "is listed twice")
        files.add(name)
    for clash in files & folders.keys():
        raise UnsafeNameError(clash, f"is a file, and a folder for {folders[clash]!a}")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@lru_cache(maxsize=16_384)  # a file's name is looked at a dozen times while it comes
def _objection(name: str) -> str | None:
    return next(_objections(name), None)


def _objections(name: str) -> Iterator[str]:
    """Say what is wrong with a name, worst first; each check may rely on those before it having passed."""
    if not name:
        yield "it is empty"
    if name.startswith("/"):
        yield "it is absolute"
    if "\\" in name:
        yield "it has a backslash, which Windows takes for a separator"
    for character in _UNSPELLABLE.findall(name):
        yield from _objections_to_character(character)
    if len(name.encode()) > LONGEST_NAME_BYTES:
        yield f"it is longer than {LONGEST_NAME_BYTES} bytes"
    parts = name.split("/")
    if len(parts) > DEEPEST_NAME:
        yield f"it is nested deeper than {DEEPEST_NAME} folders"
    if [part.casefold() for part in parts[:2]] == [".cache", "huggingface"]:
        yield "it is inside the hub client's own cache folder"
    for part in parts:
        yield from _objections_to_part(part)


def _objections_to_character(character: str) -> Iterator[str]:
    if unicodedata.category(character) in _INVISIBLE_CATEGORIES:
        yield f"it has the invisible or control character U+{ord(character):04X}"
    if character in _WINDOWS_FORBIDDEN:
        yield f"it has {character!r}, which Windows forbids or gives a meaning"


def _objections_to_part(part: str) -> Iterator[str]:
    folded = part.casefold()
    if not part:
        yield "a part of it is empty"
    if part in {".", ".."}:
        yield f"it has the part {part!r}"
    if part.endswith((".", " ")) or part.startswith(" "):
        yield "a part of it starts with a space, or ends with a dot or a space, which Windows drops"
    if len(part.encode()) > LONGEST_PART_BYTES:
        yield f"a part of it is longer than {LONGEST_PART_BYTES} bytes"
    if folded in _RESERVED_PARTS:
        yield f"{part!a} {_RESERVED_PARTS[folded]}"
    if folded.endswith((".aria2", ".aria2__temp")):
        yield "it looks like a control file of aria2"
    if _WINDOWS_DEVICE.fullmatch(folded.split(".", 1)[0].rstrip(" ")):
        yield f"{part!a} is a device on Windows"
