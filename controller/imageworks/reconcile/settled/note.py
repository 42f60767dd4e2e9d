"""A note of this host's that nothing was to be done, and of all that this was seen by; light to load.

It says so only while the same commit is checked out, this host's settings and this program are the same, and each file
and folder that decided looks as it did, by device, inode, size and times. A change of a file changes its ctime, which
nobody can set. Where anything differs, it is looked at as ever. Only runs that write keep it, in the cache folder.
"""

import json
import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from imageworks import __version__
from imageworks.foundation.plain_files import open_plain_file, read_plain_file
from imageworks.foundation.private_files import FILE_MODE, ForeignFolderError, make_private_folder
from imageworks.host.settings import HostSettings
from imageworks.registry.documents.cache import cache_file
from imageworks.registry.settings.model_places import ModelPlaces
from imageworks.registry.snapshot_note import SnapshotNote, digest_of, signature_notes

if TYPE_CHECKING:
    from imageworks.registry.load import RegistryState

DISTRIBUTION: Final = "imageworks_models-{}.dist-info"
LONGEST_LINE: Final = 4 << 20
MODELS_A_LINE: Final = 256
_NUMBER: Final = (1 << 64) - 1
_ABSENT: Final = (0, 0, 0, 0, 0)


class Watched(NamedTuple):
    """What decided that there was nothing to do.

    Args:
        paths: Files and folders as they stand themselves, links as links; what is not there is to stay away.
        listed: A folder of which every name counts.
        parents: Folders below which models are; nothing may have become of them that forbids it.
        roots: Folders that this host has to allow.
        models: Folders with the files in them that count, followed through links.
    """

    paths: Sequence[str]
    listed: str
    parents: Sequence[str]
    roots: Sequence[str]
    models: Iterable[tuple[str, Sequence[str]]]


class Seen(NamedTuple):
    """A look at everything that is watched.

    Args:
        digest: Of how all of it looks.
        newest_ns: When the last of it changed.
    """

    digest: str
    newest_ns: int


class SettledNote:
    """The note of one host and registry, in lines of JSON: what has to be the same, what is watched, then the models.

    Args:
        host: This host's settings.
        root: The registry.
    """

    def __init__(self, host: HostSettings, root: Path) -> None:
        self._host = host
        self._root = root
        self._file = cache_file(host.cache_dir / "settled", root)
        self._commits = SnapshotNote(host, root)

    def unchanged(self) -> int | None:
        """Return how many models stand as declared; ``None`` where that has to be looked at."""
        if self._asks_for_signatures():
            return None
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError), open_plain_file(self._file) as stream:
            head = json.loads(stream.readline())
            if head["same"] == self._same(self._commits.at(head["branch"])):
                rest = json.loads(stream.readline())
                paths, listed, parents, roots = rest
                models = chain.from_iterable(map(json.loads, stream))
                watched = Watched(paths, listed, parents, roots, models)
                if look(watched).digest == head["seen"] and self._may_hold(watched):
                    return int(head["count"])
        return None

    def write(self, watched: Watched, seen: Seen, count: int, registry: "RegistryState") -> None:
        """Keep that nothing was to be done; a cache only, written where it says something else."""
        commits = self._commits.at_state(registry)
        if not commits or self._asks_for_signatures():
            return
        head = {"same": self._same(commits), "branch": registry.branch, "seen": seen.digest, "count": count}
        *rest, models = watched
        first = b"%b\n%b\n" % (json.dumps(head).encode(), json.dumps(rest).encode())
        with suppress(OSError, ValueError):
            if read_plain_file(self._file, LONGEST_LINE, lines=2) == first:
                return
        from imageworks.files.renames import write_durably  # whoever only looks does without

        with suppress(OSError, ForeignFolderError):
            make_private_folder(self._file.parent, top=self._host.cache_dir)
            write_durably(self._file, chain((first,), _lines(models)), mode=FILE_MODE)

    def _asks_for_signatures(self) -> bool:
        return self._host.require_signed or signature_notes(self._host, self._root).exists()

    def _same(self, commits: Sequence[str]) -> list[str]:
        """Return what has to be the same besides files: commits, this host's settings, this program."""
        said = self._host._asdict().items()
        settings = [(name, sorted(value) if isinstance(value, frozenset) else value) for name, value in said]
        lead = [os.path.realpath(root) for root in self._host.roots]
        owners = [os.lstat(path).st_uid for path in (self._root, self._root / ".git")]
        return [*commits, digest_of(repr((settings, lead, os.geteuid(), owners)).encode()), _program()]

    def _may_hold(self, watched: Watched) -> bool:
        """Return whether models may still be where they are."""
        places = ModelPlaces(self._host)
        return all(self._host.allows(Path(root)) for root in watched.roots) and all(
            places.why_not(Path(parent, "model")) is None for parent in watched.parents
        )


def _lines(models: Iterable[tuple[str, Sequence[str]]]) -> Iterator[bytes]:
    left = iter(models)
    while some := list(islice(left, MODELS_A_LINE)):
        yield json.dumps(some, separators=(",", ":")).encode() + b"\n"


def look(watched: Watched) -> Seen:
    """Look at everything that is watched; raises where a file of a model is not there."""
    numbers = array("Q")
    names: list[str] = []
    newest = 0
    for found in _found(watched, names):
        if found is None:
            numbers.extend(_ABSENT)
            continue
        changed = found.st_ctime_ns
        newest = max(newest, changed)
        numbers.extend((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns & _NUMBER, changed & _NUMBER))
    return Seen(digest_of(numbers.tobytes() + "\0".join(names).encode("utf-8", "surrogatepass")), newest)


def _found(watched: Watched, names: list[str]) -> Iterator[os.stat_result | None]:
    # By the functions of `os` and by text: there are tens of thousands.
    for path in watched.paths:
        try:
            yield os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            yield None
    for folder, files in watched.models:
        yield os.lstat(folder)
        for name in files:
            yield os.stat(f"{folder}/{name}")  # noqa: PTH116
    with os.scandir(watched.listed) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        names.append(entry.name)
        yield entry.stat(follow_symlinks=False)


def _program() -> str:
    """Return what this program is: its version, and which installation of it, or in a checkout how its files look."""
    package = Path(__file__).parents[2]
    try:  # which each installation writes anew; a checkout has none beside it
        found = os.lstat(package.with_name(DISTRIBUTION.format(__version__)) / "RECORD")
        looks = [("", found.st_ino, found.st_ctime_ns)]
    except OSError:
        looks = sorted(_sources(str(package)))
    return digest_of(repr((__version__, sys.version, looks)).encode())


def _sources(package: str) -> Iterator[tuple[str, int, int]]:
    """Yield how each module of a package looks."""
    folders = [package]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    found = entry.stat()
                    yield entry.path, found.st_size, found.st_mtime_ns
                elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                    folders.append(entry.path)
