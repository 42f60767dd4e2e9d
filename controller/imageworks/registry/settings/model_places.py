"""Where a model may go and what it may be made of: the one place where that is decided.

Git's folders, registries and what this program itself keeps are never a target, nor are they in a model's folder; a
registry's files are never a source. What the host's own roots allow is asked here too.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

from imageworks.files.mounts import mounts
from imageworks.foundation.home import expanded_or_none
from imageworks.host.settings import (
    DEFAULT_REGISTRY,
    REGISTRY_FILE,
    HostSettings,
    user_config_file,
)

_GIT: Final = ".git"
_NEVER_INSIDE: Final = frozenset({_GIT, ".imageworks"})
_PROCESS: Final = re.compile(r"/+proc/+(?:self|thread-self|\d+)(?:/|$)")
"""Links that lead elsewhere for each process."""
_OWN: Final = (
    (".config", "imageworks"),
    (".cache", "imageworks"),
    (".local", "state", "imageworks"),
    ("library", "application support", "imageworks"),
    ("library", "caches", "imageworks"),
)
"""Where this program keeps things on any host, by the platforms' rules."""
_DEFAULT_REGISTRY: Final = DEFAULT_REGISTRY.parts
_MOST_INSIDE: Final = 50_000  # names that are looked at below a model's folder


class Use(StrEnum):
    """What a path is wanted for."""

    TARGET = "target"
    """It becomes a model's folder."""
    ROOT = "root"
    """Models are put below it."""
    SOURCE = "source"
    """A model is made of what is there, or recorded as it stands there."""
    SEARCH = "search"
    """Models are looked for below it."""
    READING = "reading"
    """A small file is read that a registry may hold itself, such as a chat template."""


_ALONE: Final = frozenset({Use.TARGET, Use.SOURCE})
"""Holds a model and nothing else, so that nothing that is kept may be in it."""
_WRITTEN: Final = frozenset({Use.TARGET, Use.ROOT})


def why_named(path: str, use: Use = Use.TARGET) -> str | None:
    """Return why a path, as it is written, is no place for a model on any host; ``None`` where that cannot be told."""
    parts = [_folded(part) for part in path.split("/") if part not in {"", "."}]
    inside = next((part for part in parts if part in _NEVER_INSIDE), None)
    if inside is not None:
        return f"it is in a folder {inside}"
    if _PROCESS.match(path):
        return "it leads elsewhere for each process"
    plain = parts if ".." not in parts else [_folded(part) for part in os.path.normpath(path).split("/") if part]
    if "imageworks" in plain and any(_holds_in_order(plain, own) for own in _OWN):
        return "it is this program's own folder"
    if use is not Use.READING and tuple(plain[: len(_DEFAULT_REGISTRY)]) == _DEFAULT_REGISTRY:
        return f"it is in the registry {DEFAULT_REGISTRY}"
    return None


def why_declared(path: str, registry: Path | None, use: Use = Use.TARGET) -> str | None:
    """Return why a path that a registry names is no place for a model, as far as its files show it."""
    why, full = why_named(path, use), expanded_or_none(path)
    if why is not None or registry is None or use is Use.READING or full is None or not full.is_absolute():
        return why
    real, root = os.path.realpath(full), os.path.realpath(registry)
    return f"it is in the registry {registry}" if _is_within(real, root) else why_named(real, use)


class ModelPlaces:
    """Says why paths are no places for models; what is the same for all of them is looked up once."""

    def __init__(self, host: HostSettings) -> None:
        self._host = host
        self._above: dict[str, str | None] = {}
        self._real: dict[str, str] = {}

    def why_not(self, path: Path, use: Use = Use.TARGET) -> str | None:
        """Return why a path is no place for a model, once links are followed; ``None`` where it may be one."""
        real = self._real_path(path)
        why = why_named(real, use)
        if why is None and use is not Use.READING:
            inside = f"it is in the registry {real}" if _is_registry(real) else None
            # Of a target, `why_holding` looks at itself: here a look more would be paid for ten thousand models.
            why = inside or self._why_below(os.path.dirname(real) if use is Use.TARGET else real)  # noqa: PTH120
        alone = use in _ALONE
        if why is None:
            kept = self._own_folders if use is Use.READING else self._kept_folders
            name = kept.at(real, alone=alone)
            why = None if name is None else f"it is, or holds, {name}"
        if why is None and use in _WRITTEN:
            store = self._store_folders.at(real, alone=alone)
            why = None if store is None else f"it is, or holds, {store}, which another program keeps"
        return why

    def _real_path(self, path: Path) -> str:
        """Return where a path leads; of the many in one folder, that folder's links are followed once."""
        written = os.path.abspath(path)  # noqa: PTH100 # thousands of models: a Path for each costs more
        above, name = os.path.split(written)
        above_it = os.pardir in os.fspath(path).split(os.sep)  # noqa: PTH206 # a Path keeps its parts once asked
        if above_it or not name or os.path.islink(written):  # noqa: PTH114
            return os.path.realpath(path)
        if above not in self._real:
            self._real[above] = os.path.realpath(above)
        return f"{self._real[above].rstrip(os.sep)}{os.sep}{name}"

    def why_holding(self, path: Path) -> str | None:
        """Return why a folder is not replaced as a whole: a registry or a git folder is in it."""
        seen = 0
        for folder, folders, names in os.walk(path):
            seen += len(folders) + len(names)
            found = next((name for name in (*folders, *names) if _folded(name) == _GIT), None)
            if found is None and REGISTRY_FILE in names:
                found = REGISTRY_FILE
            if found is None and "HEAD" in names and _is_git_folder(folder):
                found = "HEAD"
            if found is not None:
                return f"it holds {os.path.join(folder, found)}"  # noqa: PTH118 # as os.walk gives it
            if seen > _MOST_INSIDE:
                return f"it holds more than {_MOST_INSIDE} files"
        return None

    @cached_property
    def _own(self) -> tuple[tuple[str, str], ...]:
        """The folders of this program, each with where it is: as it is written and where its links lead."""
        host = self._host
        return _with_links((host.state_dir, host.cache_dir, host.log_dir, user_config_file().parent))

    @cached_property
    def _registries(self) -> tuple[tuple[str, str], ...]:
        named = [Path(one.value) for one in self._host.settings if one.name == "registry" and one.value]
        return _with_links((DEFAULT_REGISTRY.expanduser(), *named))

    @cached_property
    def _own_folders(self) -> "_Folders":
        return _Folders(self._own)

    @cached_property
    def _kept_folders(self) -> "_Folders":
        return _Folders((*self._own, *self._registries))

    @cached_property
    def _store_folders(self) -> "_Folders":
        return _Folders([(store, store) for store in self._stores])

    @cached_property
    def _identities(self) -> dict[tuple[int, int], str]:
        """What is kept, by what tells folders apart whose names differ: by case, or mounted at another place."""
        kept = ((_identity(folder), name) for name, folder in (*self._own, *self._registries))
        return {identity: name for identity, name in kept if identity is not None}

    @cached_property
    def _stores(self) -> tuple[str, ...]:
        """Where other programs keep models in a way of their own, but for what this host's owner named inside."""
        from imageworks.files.content_index import hub_cache_folder, ollama_stores

        environment = self._host.environment()
        stores = (os.path.realpath(store) for store in (hub_cache_folder(environment), *ollama_stores(environment)))
        roots = [os.path.realpath(root) for root in self._host.roots]
        return tuple(store for store in stores if not any(_is_within(root, store) for root in roots))

    @cached_property
    def _mounted(self) -> dict[str, str]:
        """Which folder of its disk each mount shows."""
        return {str(mount.path): mount.shows for mount in mounts().values() if mount.shows not in {"", "/"}}

    def _why_below(self, folder: str) -> str | None:
        """Return why nothing is put below a folder; what is said of one holds for all below it."""
        if folder not in self._above:
            above = os.path.dirname(folder)  # noqa: PTH120
            why = self._why_in(folder)
            self._above[folder] = why if why is not None or above == folder else self._why_below(above)
        return self._above[folder]

    def _why_in(self, folder: str) -> str | None:
        if _is_registry(folder):
            return f"it is in the registry {folder}"
        if _is_git_folder(folder):
            return f"it is in {folder}, which is git's"
        if (kept := self._identities.get(_identity(folder) or (0, 0))) is not None:
            return f"it is in {kept}"
        if folder in self._mounted and (why := why_named(self._mounted[folder])) is not None:
            return f"{folder} is mounted from {self._mounted[folder]}: {why}"
        if self._is_work_tree_of_registry(folder) and not self._is_root_inside(folder):
            return f"it is in {folder}, the work tree of a registry"
        return None

    def _is_work_tree_of_registry(self, folder: str) -> bool:
        if not os.path.lexists(f"{folder}/{_GIT}"):
            return False
        return _is_registry(f"{folder}/registry") or any(_is_within(own, folder) for _, own in self._registries)

    def _is_root_inside(self, work_tree: str) -> bool:
        """Return whether this host's owner named a folder inside a work tree, as where the whole home is one."""
        roots = (os.path.realpath(root) for root in self._host.roots)
        return any(root != work_tree and _is_within(root, work_tree) for root in roots)


class _Folders:
    """Some folders with their names, in a form in which one comparison asks of all: it is asked for each model."""

    def __init__(self, named: Sequence[tuple[str, str]]) -> None:
        self._named = named
        self._below = tuple(folder.rstrip(os.sep) + os.sep for _, folder in named)
        self._all = "\0" + "\0".join(self._below)

    def at(self, path: str, *, alone: bool) -> str | None:
        """Return the name of the first that a path is or lies below; with ``alone`` also of one that it holds."""
        below = path.rstrip(os.sep) + os.sep
        if not below.startswith(self._below) and not (alone and f"\0{below}" in self._all):
            return None
        held = (n for n, folder in self._named if _is_within(path, folder) or (alone and _is_within(folder, path)))
        return next(held, None)


@lru_cache(maxsize=256)  # what stands above models; each model's own name is asked for once
def _folded(part: str) -> str:
    """Return a name as the most lenient of filesystems would take it: without case, invisible characters, streams."""
    if not part.isascii():
        shown = unicodedata.normalize("NFKC", part)
        part = "".join(character for character in shown if unicodedata.category(character) != "Cf").casefold()
    plain = part.lower().partition(":")[0].rstrip(" .")
    return _GIT if plain == "git~1" else plain or part


def _holds_in_order(parts: Sequence[str], wanted: tuple[str, ...]) -> bool:
    return any(tuple(parts[at : at + len(wanted)]) == wanted for at in range(len(parts) - len(wanted) + 1))


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _with_links(folders: Iterable[Path]) -> tuple[tuple[str, str], ...]:
    found = [(str(folder), each) for folder in folders for each in (os.path.abspath(folder), os.path.realpath(folder))]  # noqa: PTH100
    return tuple(dict.fromkeys(found))


def _is_registry(folder: str) -> bool:
    return os.path.isfile(f"{folder}/{REGISTRY_FILE}")  # noqa: PTH113 # thousands of folders: a Path for each costs more


def _is_git_folder(folder: str) -> bool:
    """Return whether a folder is git's under whatever name: bare, of a work tree, or mounted elsewhere."""
    return os.path.isfile(f"{folder}/HEAD") and os.path.isdir(f"{folder}/objects") and os.path.isdir(f"{folder}/refs")  # noqa: PTH112, PTH113


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino
