"""Downloads that were broken off: what of them is here, of which model, and since when nobody went on."""

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.files.staging import StagingArea, staging_areas

KEPT_DAYS: Final = 30
"""How long an unfinished download that no manifest declares stays unused before a reconcile of everything drops it."""
DAY: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What an interrupted run left of a model.

    Args:
        area: Where it is.
        owner: Whose it is: host, registry and model; empty when it does not say.
        source: What it is of, as `download` takes it; the model's name where it does not say.
        revision: The commit, or empty.
        gathered: Bytes of the model that are here.
        total: Bytes of the whole model; ``None`` when it does not say.
        freed: Bytes that the disk would get back.
        used: When something was last written, in seconds since 1970.
        publishing: Whether it was complete and about to be published, which the next run finishes.
    """

    area: StagingArea
    owner: str
    source: str
    revision: str
    gathered: int
    total: int | None
    freed: int
    used: float
    publishing: bool

    @property
    def name(self) -> str:
        """The model's variant name; the area's own where its owner is not known."""
        return self.owner.split("/", 2)[2] if self.owner.count("/") > 1 else self.area.key

    @property
    def percent(self) -> int | None:
        """How much of it is here; a hundred only when all is."""
        if not self.total:
            return None
        return 100 if self.gathered == self.total else min(99, self.gathered * 100 // self.total)

    def age(self, now: float | None = None) -> float:
        """Return since when nothing was written, in seconds."""
        return max(0.0, (time.time() if now is None else now) - self.used)

    def is_old(self) -> bool:
        """Return whether it has been left alone for so long that nobody will go on with it."""
        return self.age() > KEPT_DAYS * DAY

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "source": self.source,
            "revision": self.revision or None,
            "percent": self.percent,
            "bytes": self.gathered,
            "total_bytes": self.total,
            "age_seconds": round(self.age()),
            "path": str(self.area.path),
        }


def find_unfinished(roots: Iterable[Path]) -> list[Unfinished]:
    """Return what is at some roots, whosever it is; links are not followed, for they may lead anywhere."""
    found = []
    for root in roots:
        with suppress(OSError):  # who may not look there, or a disk that does not answer, has nothing to resume there
            for area in staging_areas(root):
                folders = (area.path, area.path.parent, area.path.parent.parent)
                if not any(folder.is_symlink() for folder in folders):
                    found.append(_seen_or_closed(area))
    return found


def _seen_or_closed(area: StagingArea) -> Unfinished:
    """Return what an area holds; one of another user, into which we may not look, says nothing and is nobody's."""
    try:
        return _seen(area)
    except OSError:
        return Unfinished(area, "", area.key, "", 0, None, 0, _modified(area.path), publishing=False)


def _seen(area: StagingArea) -> Unfinished:
    found = list(area.contents())
    about = area.about
    owner = area.owner
    return Unfinished(
        area=area,
        owner=owner,
        source=about.source if about else owner.rpartition("/")[2] or area.key,
        revision=about.revision if about else "",
        gathered=area.gathered(),
        total=about.size if about else None,
        freed=sum(one.st_blocks * 512 for one in found if one.st_nlink == 1),
        used=max((one.st_mtime for one in found), default=_modified(area.path)),
        publishing=area.journal.exists(),
    )


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()
