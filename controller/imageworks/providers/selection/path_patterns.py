"""What people name of a listing: a folder, globs of files to take or to leave. A name that is not there is an error."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from imageworks.detection.components import Component
from imageworks.detection.file_names import Role, classify
from imageworks.files.artifact import RemoteFile
from imageworks.foundation.similar_words import near_words
from imageworks.providers.selection.model import SelectionError, SelectionRequest, Why

_MOST_NAMED: Final = 8
_MOST_COMPARED: Final = 2_000
_ROOTED: Final = frozenset(
    {"config.json", "model_index.json", "params.json", "adapter_config.json", "genai_config.json", "modules.json"}
)
"""A folder that holds one of these is a model by itself, and needs nothing from above."""


def within(files: Sequence[RemoteFile], subfolder: str | None, left: dict[str, tuple[Why, str]]) -> list[RemoteFile]:
    """Return the files of a folder and what belongs to it: README and licence, and what it lacks by itself."""
    if subfolder is None:
        return list(files)
    folder = subfolder.strip("/")
    prefix = f"{folder}/"
    inside = {file.path for file in files if file.path.startswith(prefix)}
    if not inside:
        folders = sorted({one.path.rpartition("/")[0] for one in files if "/" in one.path})
        near = near_words(folder, folders[:_MOST_COMPARED], count=3, cutoff=0.4) or folders[:_MOST_NAMED]
        raise SelectionError(
            f"the repository has no folder {subfolder!r}",
            remedy=f"It has: {', '.join(near)}." if near else "It has no folders.",
            reason="no-matching-files",
        )
    whole = any(f"{prefix}{name}" in inside for name in _ROOTED)
    kept = [file for file in files if file.path in inside or _belongs(file.path, whole=whole)]
    taken = {file.path for file in kept}
    left.update({file.path: (Why.NOT_ASKED, "") for file in files if file.path not in taken})
    return kept


def _belongs(path: str, *, whole: bool) -> bool:
    """Return whether a file at the top belongs to a folder that was named."""
    if "/" in path:
        return False
    role = classify(path).role
    support = (Role.CONFIG, Role.QUANTIZATION_CONFIG, Role.TOKENIZER, Role.CHAT_TEMPLATE, Role.CODE)
    return role in (Role.README, Role.LICENSE) or (not whole and role in support)


def excluded(files: list[RemoteFile], globs: Sequence[str], left: dict[str, tuple[Why, str]]) -> list[RemoteFile]:
    """Return the files that no glob leaves out."""
    if not globs:
        return files
    paths = [file.path for file in files]
    gone = set(_matched(paths, globs, "exclude"))
    left.update(dict.fromkeys(gone, (Why.EXCLUDED, "")))
    return [file for file in files if file.path not in gone]


def named_weights(parts: Sequence[Component], paths: Iterable[str], request: SelectionRequest) -> list[Component]:
    """Return the weights that a request names by themselves."""
    named: set[str] = set()
    if request.include:
        named |= _matched(paths, request.include, "include")
    if request.weights:
        named |= _matched([part.path for part in parts], request.weights, "weights", frozenset(paths))
    return [part for part in parts if part.path in named]


def matching(paths: Iterable[str], globs: Sequence[str]) -> frozenset[str]:
    """Return the paths that one of several globs names."""
    return frozenset(path for path in paths if any(_matches(path, glob) for glob in globs))


def _matched(paths: Iterable[str], globs: Sequence[str], field: str, every: frozenset[str] = frozenset()) -> set[str]:
    names = sorted(paths)
    found: set[str] = set()
    for glob in globs:
        ones = [name for name in names if _matches(name, glob)]
        if not ones:
            raise _nothing(glob, names, field, [path for path in sorted(every) if _matches(path, glob)])
        found.update(ones)
    return found


def _nothing(glob: str, names: Sequence[str], field: str, others: Sequence[str]) -> SelectionError:
    folded = [name for name in names if _matches(name.lower(), glob.lower())]
    near = folded or near_words(glob, names[:_MOST_COMPARED], count=3, cutoff=0.3)
    shown = near[:_MOST_NAMED] or names[:_MOST_NAMED]
    what = "weights" if field == "weights" else "weights here, and no other file"
    said = f"; it matches only {others[0]}, which is none" if others else ""
    return SelectionError(
        f"{field}: {glob!r} matches no {what}{said}",
        remedy=f"{'Near misses' if near else 'It has'}: {', '.join(shown)}." if shown else "There are none.",
        reason="no-matching-files",
    )


def _matches(path: str, glob: str) -> bool:
    if path == glob:
        return True
    return fnmatchcase(path, glob) or ("/" not in glob and fnmatchcase(path.rpartition("/")[2], glob))
