"""What tells a chosen model from the other models of its repository: pure, from names alone."""

import re
from collections.abc import Sequence
from os.path import commonpath
from typing import Final

from imageworks.detection.components import WHOLE, Component, read_part
from imageworks.detection.file_names import Container, Role, group_quants
from imageworks.files.artifact import RemoteFile
from imageworks.naming.model_names import family_of, normalize_family, parameter_size_in
from imageworks.providers.selection.gguf import is_beside
from imageworks.providers.selection.model import Selection, SelectionRequest
from imageworks.providers.selection.weights import is_a_model

_WORDS: Final = re.compile(r"[-_. ]+")
_GENERIC: Final = frozenset({"", "model", "ggml", "gguf", "pytorch", "consolidated"})
_TELLING: Final = 2  # words of a name that say more than its repository does


def model_of(repo: str, files: Sequence[RemoteFile], selection: Selection, request: SelectionRequest) -> str | None:
    """Return what the one chosen model of several is to be called; ``None`` where the repository's name says it all.

    It is the file's own name where that says a size or a word of the repository's name, else the repository's with
    what tells the model there.
    """
    chosen = {file.path for file in selection.files}
    tail = family_of(repo, download_format=selection.container)
    if selection.container is Container.GGUF:
        variants = [one for one in group_quants(file.path for file in files).variants if not is_beside(one)]
        models = {(one.stem, one.folder) for one in variants}
        taken = {(one.stem, one.folder) for one in variants if chosen.intersection(one.files)}
    elif not (request.explicit or request.subfolder):
        return None
    else:
        paths = frozenset(file.path for file in files)
        parts = [part for file in files if (part := read_part(file, paths)) is not None]
        weights = [part for part in parts if part.says.role is Role.WEIGHTS]
        models = {_key(part) for part in weights}
        taken = {_key(part) for part in weights if part.path in chosen}
        if len(taken) > 1 and models > taken:  # the parts of one model, in a folder of its own
            folder = commonpath([folder or "/" for _, folder in taken]) if all(folder for _, folder in taken) else ""
            taken = {("", folder)} if folder else taken
    if len(taken) != 1 or models == taken:
        return None
    stem, folder = taken.pop()
    if [one for one, _ in models].count(stem) == 1:
        words = set(_WORDS.split(stem)) - _GENERIC
        if len(words) >= _TELLING and (parameter_size_in(stem) or words & set(_WORDS.split(tail))):
            return stem
        folder = folder if not words else ""
    told = [text for text in (folder.replace("/", "-"), stem if set(_WORDS.split(stem)) - _GENERIC else "") if text]
    return normalize_family("-".join((tail, *told))) if told else None


def _key(part: Component) -> tuple[str, str]:
    """Return what a file of weights is a part of: its name, where it has one of its own, and its folder."""
    stem = part.stem if is_a_model(part) else "" if part.component == WHOLE else part.component
    return stem, "/".join(filter(None, (part.home, part.step)))
