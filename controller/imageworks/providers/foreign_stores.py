"""What other programs keep on this machine that may hold models: Hugging Face's cache, Ollama, LM Studio."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from imageworks.files.content_index import hub_cache_folder, ollama_stores
from imageworks.host.lmstudio_home import find_lmstudio
from imageworks.naming.hub_cache import cached_repository
from imageworks.page.values import FoundStore

MOST_FILES: Final = 50_000
"""Files of one store that are looked at."""


def foreign_stores(environment: Mapping[str, str]) -> list[tuple[str, Path]]:
    """Return the stores that are there, by the program's name."""
    ollama = [("Ollama", store) for store in ollama_stores(environment)]
    library = [("LM Studio", one.models) for one in find_lmstudio()]
    known = [("Hugging Face cache", hub_cache_folder(environment)), *ollama, *library]
    return [(title, folder) for title, folder in known if folder.is_dir()]


def found_in(title: str, folder: Path, files: Iterable[Path], ours: frozenset[str]) -> FoundStore | None:
    """Return what a store holds besides the paths that are ours; ``None`` where that is nothing."""
    items: dict[str, int] = defaultdict(int)
    for path in files:
        if ours and not ours.isdisjoint(_above(os.path.realpath(path))):
            continue
        with suppress(OSError):
            items[_item(path.relative_to(folder))] += path.lstat().st_size
    return FoundStore(title, str(folder), dict(items)) if any(items.values()) else None


def plain_files(folder: Path) -> Iterator[Path]:
    """Yield the plain files of a store, links left out, up to a number."""
    count = 0
    for where, _, names in os.walk(folder):
        for path in (Path(where, name) for name in names):
            if not path.is_symlink():
                count += 1
                if count > MOST_FILES:
                    return
                yield path


def _above(path: str) -> Iterator[str]:
    while len(path) > 1:
        yield path
        path = os.path.dirname(path)  # noqa: PTH120 # of a text, some 50,000 times


def _item(path: Path) -> str:
    """Return what a file of a store belongs to: a repository of the cache, a publisher's model, or itself."""
    first, *rest = path.parts
    return cached_repository(first) or (f"{first}/{rest[0]}" if len(rest) > 1 else path.as_posix())
