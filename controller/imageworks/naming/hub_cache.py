"""Names of folders in the Hugging Face cache: ``models--owner--repo``."""

from typing import Final

_PREFIX: Final = "models--"


def cache_folder_name(repo: str) -> str:
    """Return the name of a repository's folder."""
    return _PREFIX + repo.replace("/", "--")


def cached_repository(folder: str) -> str | None:
    """Return the repository that a folder's name stands for; ``None`` for any other name."""
    return folder.removeprefix(_PREFIX).replace("--", "/", 1) if folder.startswith(_PREFIX) else None
