r"""Where LM Studio keeps its models on this machine: its home, and the folder that its own settings name.

LM Studio says where its home is in ``~/.lmstudio-home-pointer``; else it is ``~/.cache/lm-studio`` where that exists,
else ``~/.lmstudio``. Models are in the ``downloadsFolder`` of ``settings.json`` there, else in ``models``. Beside WSL
it runs on Windows, so the folders of Windows' users count as homes too, and what is written there are Windows' paths.
Only read here, never written: its own command line makes the pointer when it is missing.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from imageworks.foundation.bounded_json import read_json

POINTER: Final = ".lmstudio-home-pointer"
HOMES: Final = (".cache/lm-studio", ".lmstudio")
SETTINGS: Final = "settings.json"
DRIVES: Path = Path("/mnt")  # where WSL mounts Windows' drives; not Final, so that tests have a Windows beside them
_DRIVE: Final = re.compile(r"([A-Za-z]):(?:[\\/]+(.*))?", re.DOTALL)
_OF_WSL: Final = re.compile(r"[\\/]{2}(?:wsl\$|wsl\.localhost)[\\/]+([^\\/]+)(.*)", re.IGNORECASE | re.DOTALL)
_NOBODY: Final = frozenset({"all users", "default", "default user", "public"})
_LONGEST: Final = 1024 * 1024  # bytes of a settings file; LM Studio's has a few kilobytes


class LmStudio(NamedTuple):
    """LM Studio as one user of this machine has it.

    Args:
        home: Its home.
        models: The folder of its models, which need not exist.
        windows: Whether it runs on the Windows beside this WSL.
        problem: What could not be read, so that the usual folder was taken.
    """

    home: Path
    models: Path
    windows: bool = False
    problem: str | None = None


def find_lmstudio() -> tuple[LmStudio, ...]:
    """Return the LM Studios of this machine, this user's own first; nothing is written."""
    own = _of_user(Path.home(), windows=False)
    return tuple(found for found in (own, *map(_of_windows_user, _windows_users())) if found is not None)


def to_wsl(path: str) -> Path | None:
    r"""Return where WSL sees a path of Windows, or ``None`` where it does not."""
    text = path.strip()
    if "\0" in text:
        return None
    if own := _OF_WSL.fullmatch(text):
        distribution = os.environ.get("WSL_DISTRO_NAME", "")
        return _clean("/" + own[2].lstrip("\\/")) if own[1].lower() == distribution.lower() else None
    if drive := _DRIVE.fullmatch(text):
        return _clean(f"{DRIVES}/{drive[1].lower()}/{drive[2] or ''}")
    return _clean(text) if text.startswith("/") and not text.startswith("//") else None


def _clean(text: str) -> Path:
    return Path(os.path.normpath(text.replace("\\", "/")))


def _windows_users() -> Iterator[Path]:
    """Yield the folders of Windows' users; none where no Windows is beside."""
    try:
        folders = sorted((DRIVES / "c/Users").iterdir())
    except OSError:
        return
    yield from (folder for folder in folders if folder.name.lower() not in _NOBODY and _is_folder(folder))


def _of_windows_user(folder: Path) -> LmStudio | None:
    return _of_user(folder, windows=True)


def _of_user(user: Path, *, windows: bool) -> LmStudio | None:
    """Return a user's LM Studio, or ``None`` where there is none."""
    home = _pointed(user, windows=windows) or next((user / name for name in HOMES if _is_folder(user / name)), None)
    if home is None:
        return None
    usual = home / "models"
    settings = home / SETTINGS
    named, problem = _downloads_folder(settings)
    if named is None:
        return LmStudio(home, usual, windows, problem)
    models = _path(named, user, windows=windows)
    if models is None or not models.is_absolute() or Path(os.path.realpath(user)).is_relative_to(models):
        # A folder that holds the user's whole home, or a whole drive, is nothing to look for models in.
        return LmStudio(home, usual, windows, f"{settings}: downloadsFolder {named!r} is no folder of models here")
    if windows and len(models.parts) <= len(DRIVES.parts) + 1:
        return LmStudio(home, usual, windows, f"{settings}: downloadsFolder {named!r} is a whole drive")
    return LmStudio(home, models, windows)


def _pointed(user: Path, *, windows: bool) -> Path | None:
    """Return the home that the pointer names, if it is there."""
    text = _read(user / POINTER)
    path = _path(text, user, windows=windows) if text else None
    return path if path is not None and path.is_absolute() and _is_folder(path) else None


def _path(text: str, user: Path, *, windows: bool) -> Path | None:
    text = text.strip()
    if windows or _DRIVE.fullmatch(text):
        return to_wsl(text)
    if "\0" in text or not text:
        return None
    return _clean_own(f"{user}{text[1:]}" if text == "~" or text.startswith("~/") else text)


def _clean_own(text: str) -> Path:
    return Path(os.path.normpath(text))


def _downloads_folder(settings: Path) -> tuple[str | None, str | None]:
    """Return the folder that LM Studio's settings name, and what is wrong with them."""
    text = _read(settings)
    if text is None:
        return None, None
    try:
        document = read_json(text)
    except ValueError:
        return None, f"{settings}: not valid JSON"
    named = document.get("downloadsFolder") if isinstance(document, dict) else None
    return (named, None) if isinstance(named, str) and named.strip() else (None, None)


def _read(file: Path) -> str | None:
    """Return a small file's text; ``None`` where there is none that can be read."""
    try:
        if not file.is_file():
            return None
        with file.open("rb") as stream:
            data = stream.read(_LONGEST + 1)
        return data.decode("utf-8-sig") if len(data) <= _LONGEST else None
    except (OSError, UnicodeDecodeError, ValueError):
        return None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
