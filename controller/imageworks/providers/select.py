"""Which files of a listing a manifest wants: pure, from names and sizes alone.

Weights of one container and one quantization, what is needed to load them, README and licence; pictures, logs and the
same weights in other containers stay away unless asked for. Doubt is an error with the choices in it, never a guess.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from imageworks.detect.filenames import Container, Role, classify, group_quants
from imageworks.providers.select_values import NamedRemote, QuantChoice, Selection, SelectionError
from imageworks.providers.select_weights import (
    COPIES,
    PREFERENCE,
    check_shards,
    choose_container,
    choose_weights,
    quant_choices,
    without_copies,
)
from imageworks.quant_labels import find_quantizations
from imageworks.transfer.files import RemoteFile

_FOREIGN_CONFIG: Final = re.compile(r"(?:^|/)openvino[^/]*\.xml$|\.mlpackage/|\.mlmodelc/", re.IGNORECASE)
_INDEX_OF: Final = {".safetensors.": Container.SAFETENSORS, ".bin.": Container.PYTORCH, ".h5.": Container.TENSORFLOW}


def select_files(
    files: Iterable[RemoteFile],
    *,
    format: str | None = None,  # noqa: A002 # the manifest's own word
    quantization: str | None = None,
    include: Sequence[str] = (),
    include_optional: bool = False,
    subfolder: str | None = None,
    preference: Sequence[Container] = PREFERENCE,
) -> Selection:
    """Return the files of a listing that a manifest wants.

    Args:
        files: The whole listing.
        format: A container (``gguf``), or a scheme that safetensors carry (``awq``); the preferred one when absent.
        quantization: Which one of a repository of many; also picks variants such as ``model.fp16.safetensors``.
        include: Globs over weights; each must match at least one.
        include_optional: Take documents, pictures, examples and logs as well.
        subfolder: Take only this folder, besides README and licence.
        preference: Which container to take when several are there and none is named, best first.

    Raises:
        SelectionError: Nothing matches, shards are missing, or the choice is ambiguous.
    """
    named = _below([NamedRemote(file, classify(file.path)) for file in files], subfolder)
    weights = [one for one in named if one.says.role in (Role.WEIGHTS, Role.PROJECTOR)]
    aside = [one for one in named if one.says.role is Role.DATA and one.says.container is not None]
    wanted = _included([*weights, *aside], named, include) if include else without_copies(weights)
    if not wanted:
        raise SelectionError(
            "the repository has no weights that are known",
            remedy="Name files with `include`, or check that it is a model.",
            reason="no-weights",
        )
    container = choose_container(wanted, format, quantization, preference)
    chosen, label, warnings = choose_weights(
        wanted,
        weights,
        container,
        quantization,
        explicit=bool(include),
        components=frozenset(one.folder for one in named if one.says.role is Role.CONFIG),
    )
    check_shards(chosen, weights)
    taken = {one.path for one in chosen}
    taken |= {one.path for one in named if _supports(one, chosen, weights, container, optional=include_optional)}
    every = sorted((one.file for one in named), key=lambda file: file.path)
    return Selection(
        files=tuple(file for file in every if file.path in taken),
        container=container,
        quantization=label,
        left_out=tuple(file for file in every if file.path not in taken),
        warnings=tuple(warnings),
    )


def available_quantizations(files: Iterable[RemoteFile]) -> tuple[QuantChoice, ...]:
    """Return the GGUF quantizations that a listing offers with their sizes, smallest first.

    Args:
        files: The whole listing.
    """
    sizes = {file.path: file.size for file in files}
    return quant_choices(group_quants(sizes).variants, sizes)


def _below(named: list[NamedRemote], subfolder: str | None) -> list[NamedRemote]:
    if subfolder is None:
        return named
    prefix = f"{subfolder.strip('/')}/"
    below = [one for one in named if one.path.startswith(prefix)]
    if not below:
        folders = sorted({one.folder for one in named if one.folder})
        near = get_close_matches(subfolder.strip("/"), folders, n=3, cutoff=0.4) or folders[:5]
        raise SelectionError(
            f"the repository has no folder {subfolder!r}",
            remedy=f"It has: {', '.join(near)}." if near else "It has no folders.",
            reason="no-matching-files",
        )
    return below + [one for one in named if not one.folder and one.says.role in (Role.README, Role.LICENSE)]


def _included(weights: list[NamedRemote], named: list[NamedRemote], globs: Sequence[str]) -> list[NamedRemote]:
    """Return the weights that the globs name; one that names none is a mistake worth stopping for."""
    for glob in globs:
        if not any(_matches(one.path, glob) for one in weights):
            others = [one.path for one in named if _matches(one.path, glob)]
            names = [one.path for one in weights]
            folded = [name for name in names if _matches(name.lower(), glob.lower())]
            near = folded or get_close_matches(glob, names, n=3, cutoff=0.3) or names[:3]
            said = f"; it matches only {others[0]}, which is taken or left by other rules" if others else ""
            raise SelectionError(
                f"include: {glob!r} matches no weights{said}",
                remedy=f"Near misses: {', '.join(near)}." if near else "The repository has no weights.",
                reason="no-matching-files",
            )
    return [one for one in weights if any(_matches(one.path, glob) for glob in globs)]


def _matches(path: str, glob: str) -> bool:
    return fnmatchcase(path, glob) or ("/" not in glob and fnmatchcase(path.rpartition("/")[2], glob))


def _supports(
    one: NamedRemote, chosen: list[NamedRemote], weights: list[NamedRemote], container: Container, *, optional: bool
) -> bool:
    """Return whether a file that is no weight belongs to the chosen ones."""
    role = one.says.role
    if role in (Role.WEIGHTS, Role.PROJECTOR):
        return False
    if role in (Role.OPTIONAL, Role.DATA):
        return optional and one.says.container is None
    if role is Role.LICENSE or (role is Role.README and not one.folder):
        return True
    if role is Role.INDEX and not _indexes(one, chosen, weights, container):
        return False
    if _FOREIGN_CONFIG.search(one.path) and container not in (Container.OPENVINO, Container.COREML):
        return False
    if COPIES.match(one.path) and not any(COPIES.match(w.path) for w in chosen):
        return optional
    # A folder whose weights were all passed over (onnx/, another precision) keeps its configuration to itself.
    passed_over = one.folder and any(weight.folder == one.folder for weight in weights)
    return not passed_over or any(weight.folder == one.folder for weight in chosen)


def _indexes(one: NamedRemote, chosen: list[NamedRemote], weights: list[NamedRemote], container: Container) -> bool:
    """Return whether a shard index speaks of the chosen weights rather than of others in its folder."""
    of = next((value for token, value in _INDEX_OF.items() if token in one.path.lower()), container)
    here = [weight for weight in chosen if weight.folder == one.folder and weight.says.container is of]
    if not here:
        return False
    taken = {weight.path for weight in here}
    others = [w for w in weights if w.folder == one.folder and w.says.container is of and w.path not in taken]
    labels: set[str | None] = {found.label for found in find_quantizations(one.path.rpartition("/")[2])} or {None}
    fits = any(weight.says.quantization in labels for weight in here)
    return fits or not any(weight.says.quantization in labels for weight in others)
