"""Which manifests of a large registry can say something of some of them, so that a hook need not check ten thousand.

Two manifests clash by a name, a former name or a folder, and whatever makes them clash stands in both. So the others
are searched for the words of these as bytes; what could hide a word (an escape, a letter beyond ASCII) is related.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from imageworks.registry.cross_checks import Declared, fold
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.documents.yaml_reader import MAX_BYTES
from imageworks.registry.entries import entry as entries
from imageworks.registry.manifests import manifest as manifests
from imageworks.registry.manifests.manifest import Manifest, OllamaSource, PathSource, RepositorySource
from imageworks.registry.reader import WorkTreeReader, is_sparse, read_plain_file
from imageworks.registry.settings.target_folder import NO_PUBLISHER

FEW: int = 200  # not Final: tests have fewer
"""A registry of no more manifests is checked whole."""
_WORD: Final = rb"[a-z0-9._-]"


@dataclass(frozen=True, slots=True)
class PartialReader(WorkTreeReader):
    """A work tree of which only some manifests, and the entries of some models, are read.

    Args:
        manifests_read: Registry paths of the manifests.
        names: The names of all manifests.
        hosts: All hosts that have entries.
        of: The names of the models whose entries are read.
    """

    manifests_read: Collection[str] = ()
    names: Collection[str] = ()
    hosts: Collection[str] = ()
    of: Collection[str] = field(default=())

    def files(self, folder: str) -> Mapping[str, bytes | Refusal]:
        """Return the files below a folder that are read."""
        if folder == manifests.FOLDER:
            paths: Iterable[str] = self.manifests_read
        elif folder == entries.FOLDER:
            paths = [entries.entry_file(host, name) for host in self.hosts for name in self.of]
        else:
            return WorkTreeReader.files(self, folder)
        found = ((path, read_plain_file(self.root / path)) for path in paths)
        return {path: content for path, content in found if content is not None}


def partial_reader(root: Path, members: Mapping[str, Declared | None], places: Collection[str]) -> PartialReader | None:
    """Return what has to be read to check some manifests; ``None`` where only the whole registry says it."""
    texts = _texts(root) if not is_sparse(root) else None
    if texts is None or len(texts) <= FEW or not members.keys() <= texts.keys():
        return None
    words, ends = {fold(manifests.manifest_name(file)) for file in members}, set[str]()
    for item in filter(None, members.values()):
        found = _claims(item.manifest, places)
        if found is None:
            return None
        words, ends = words | found[0], ends | found[1]
    if not all(map(str.isascii, words | ends)):
        return None
    related = set(members)
    while more := {file for file, text in texts.items() if file not in related and _says(file, text, words, ends)}:
        related |= more
        former = {word for file in more for word in _former_names(texts[file])}
        if former <= words:
            break
        words |= former
    folder = root / entries.FOLDER
    hosts = sorted(one.name for one in os.scandir(folder) if one.is_dir()) if folder.is_dir() else []
    names, own = ([manifests.manifest_name(file) for file in files] for files in (texts, members))
    return PartialReader(root, sorted(related), names, hosts, own)


def _texts(root: Path) -> dict[str, bytes] | None:
    """Return the manifests in lower case; ``None`` where no plain folder holds them."""
    found: dict[str, bytes] = {}
    folder = root / manifests.FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return None
    for one in os.scandir(folder):
        if one.name.startswith(".") or not one.name.endswith(manifests.SUFFIXES) or one.is_dir(follow_symlinks=False):
            continue  # none, or out of place, which is wrong with that file alone
        if not one.is_file(follow_symlinks=False):
            found[f"{manifests.FOLDER}/{one.name}"] = b""  # a link: it has a name, and is not read
            continue
        found[f"{manifests.FOLDER}/{one.name}"] = _beginning(one.path).lower()
    return found


def _beginning(path: str) -> bytes:
    """Return as much of a file as a manifest may have; by the system's own calls, as ten thousand are read so."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text, wanted = b"", min(os.fstat(descriptor).st_size, MAX_BYTES + 1)
        while len(text) < wanted and (more := os.read(descriptor, wanted - len(text))):
            text += more
        return text
    finally:
        os.close(descriptor)


def _claims(manifest: Manifest, places: Collection[str]) -> tuple[set[str], set[str]] | None:
    """Return the words that stand in whatever clashes with a manifest, and those with which its repository may end."""
    words = {fold(name) for name in manifest.previously}
    source = manifest.source
    if isinstance(source, OllamaSource):
        return None  # what it is made of may be made of it
    if isinstance(source, PathSource):
        name = PurePosixPath(fold(source.path)).name
        return None if " " in name else (words | {name} - {""}, set())  # YAML may break a line at a space
    if not isinstance(source, RepositorySource):
        return words, set()
    parts = tuple(fold(source.repo).split("/"))
    inside = {part for place in places for part in PurePosixPath(fold(place)).parts}
    last = {parts[-1], fold(manifest.name)}
    if last & inside or "/" in (source.ref or ""):
        return None  # a location may lie within this model's folder
    above = inside | {NO_PUBLISHER, *parts[:-1], *PurePosixPath(fold(manifest.location or "")).parts}
    return words | last, {part.partition("@")[0] for part in above if part not in {"/", "~"}} - {""}


def _says(file: str, text: bytes, words: Collection[str], ends: Collection[str]) -> bool:
    stem = fold(manifests.manifest_name(file))
    if stem in words or stem in ends or not text.isascii() or b"\\" in text:  # which may hide a word
        return True
    sought, said, ending = _patterns(frozenset(words), frozenset(ends))
    if any(word in text for word in sought) and said.search(text) is not None:
        return True
    return ending is not None and ending.search(text) is not None


@lru_cache(maxsize=8)
def _patterns(
    words: frozenset[str], ends: frozenset[str]
) -> tuple[list[bytes], re.Pattern[bytes], re.Pattern[bytes] | None]:
    """Return words as bytes, what finds one that stands alone, which takes far longer, and what finds a path's end."""
    said = re.compile(rb"(?<!%b)(?:%b)(?!%b)" % (_WORD, _any(words), _WORD))
    ending = re.compile(rb"/(?:%b)(?![a-z0-9._/-])" % _any(ends)) if ends else None
    return [word.encode() for word in words], said, ending


def _any(words: Iterable[str]) -> bytes:
    return b"|".join(re.escape(word.encode()) for word in sorted(words))


def _former_names(text: bytes) -> Iterator[str]:
    """Yield all words of a manifest that has former names: any of them may be one."""
    if b"previously" in text:
        yield from (word.decode() for word in re.findall(rb"%b+" % _WORD, text))
