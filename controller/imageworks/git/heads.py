"""Which commit is checked out, read without libgit2: loading that takes longer than listing a thousand models."""

import re
from pathlib import Path
from typing import Final

BRANCHES: Final = "refs/heads/"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_POINTS_TO: Final = "ref: "
_BARE: Final = "objects"


class Heads:
    """The references of the repository that a registry folder lies in.

    What cannot be read in this simple way reads as empty, and is for libgit2 to look at.
    """

    def __init__(self, root: Path) -> None:
        self._own, self._shared = _git_folders(root)

    def checked_out(self) -> tuple[str, str]:
        """Return the checked-out reference, empty where HEAD is detached, and its commit."""
        head = _text(self._own / "HEAD") if self._own is not None else ""
        if not head.startswith(_POINTS_TO):
            return "", head if _COMMIT.fullmatch(head) else ""
        reference = head.removeprefix(_POINTS_TO)
        return reference, self.tip(reference)

    def tip(self, reference: str) -> str:
        """Return the commit of a branch."""
        if self._shared is None or not reference.startswith(BRANCHES) or ".." in reference:
            return ""
        found = _text(self._shared / reference)
        if not found:
            lines = _text(self._shared / "packed-refs").splitlines()
            found = next((line[:40] for line in lines if line[41:] == reference), "")
        return found if _COMMIT.fullmatch(found) else ""


def _git_folders(root: Path) -> tuple[Path | None, Path | None]:
    """Return the work tree's own git folder, and the one that it shares with linked work trees."""
    real = root.resolve()
    for folder in (real, *real.parents):
        marker = folder / ".git"
        if marker.is_symlink() or (folder / _BARE).exists():
            break
        if marker.is_dir():
            return marker, marker
        if marker.is_file():
            named = _text(marker)
            own = (folder / named.removeprefix("gitdir: ")).resolve() if named.startswith("gitdir: ") else None
            shared = _text(own / "commondir") if own is not None else ""
            return own, (own / shared).resolve() if own is not None and shared else own
    return None, None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
