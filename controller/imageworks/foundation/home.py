"""What ``~`` stands for in a path that somebody wrote."""

from pathlib import Path

from imageworks.foundation.errors import ImageworksError


class NoHomeError(ImageworksError):
    """A path begins with the home folder of somebody who has none on this machine."""


def expanded(path: str | Path) -> Path:
    """Return a path with the home folder in place of ``~`` or ``~user``."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise NoHomeError(
            f"{path}: {Path(path).parts[0]} is nobody's home folder on this machine", remedy="Write the whole path."
        ) from None


def expanded_or_none(path: str | Path) -> Path | None:
    """Return a path as `expanded` does, ``None`` where there is no such user: nothing can be there."""
    try:
        return expanded(path)
    except NoHomeError:
        return None
