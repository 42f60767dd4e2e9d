"""Which part of a repository a manifest takes, as far as it says so itself. Pure.

Two parts of one repository at one revision may share a folder: their small files are the same bytes, and no weights are
both's.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import Final

from imageworks.detection.file_names import Role, classify
from imageworks.naming.quantization_labels import plain_label, quantization_label
from imageworks.registry.manifests.manifest import Manifest, RepositorySource

_WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Portion:
    """What a manifest names of a repository.

    Args:
        quantization: Which one of several.
        names: Globs that say which weights come, in lower case; empty where they are not named.
        subfolder: The folder that files are taken from, in lower case.
    """

    quantization: str | None = None
    names: tuple[str, ...] = ()
    subfolder: str | None = None


def portion_of(manifest: Manifest) -> Portion:
    """Return what a manifest names of its repository."""
    source, quantization = manifest.source, manifest.text("quantization")
    if not isinstance(source, RepositorySource):
        return Portion(quantization)
    globs = tuple(glob.lower() for glob in (*source.weights, *source.include))
    subfolder = source.subfolder.strip("/").lower() if source.subfolder else None
    return Portion(quantization, tuple(filter(_may_be_weights, globs)) or globs, subfolder)


def are_disjoint(one: Portion, other: Portion) -> bool:
    """Return whether two parts of a repository surely hold no weights in common."""
    folders = one.subfolder, other.subfolder
    if folders[0] and folders[1] and not (_is_below(folders[0], folders[1]) or _is_below(folders[1], folders[0])):
        return True
    if _is_outside(one, other.subfolder) or _is_outside(other, one.subfolder):
        return True
    if one.quantization and other.quantization and one.quantization.lower() != other.quantization.lower():
        return True
    if one.names and other.names and not any(_overlap(*pair) for pair in product(one.names, other.names)):
        return True
    labels = _labels(one), _labels(other)
    return bool(labels[0] and labels[1]) and not any(_same_label(*pair) for pair in product(*labels))


def _may_be_weights(glob: str) -> bool:
    role = classify(glob).role
    return role is Role.WEIGHTS or (role is Role.ASSET and _WILD.search(glob) is not None)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _is_outside(part: Portion, folder: str | None) -> bool:
    """Return whether all that a part names is at places outside of a folder."""
    if not part.names or not folder:
        return False
    return all("/" in name and not _WILD.search(name) and not _is_below(name, folder) for name in part.names)


def _overlap(one: str, other: str) -> bool:
    """Return whether two globs could name one file; without a ``/`` they name files of any folder."""
    wild = [_WILD.search(one), _WILD.search(other)]
    for glob, rest, rest_is_wild in ((one, other, wild[1]), (other, one, wild[0])):
        if glob.endswith("*") and ("/" not in rest or ("/" not in glob and rest_is_wild)):
            return True  # it may name a folder, and with that all that the other finds there
    if wild[0] and wild[1]:
        heads = one[: wild[0].start()], other[: wild[1].start()]
        tails = re.split(r"[*?\]]", one)[-1], re.split(r"[*?\]]", other)[-1]
        begins = heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])
        return begins and (tails[0].endswith(tails[1]) or tails[1].endswith(tails[0]))
    if wild[1]:
        one, other = other, one  # the one with wildcards, if any, is the first
    if one == other or fnmatchcase(other, one):
        return True
    names = one.rpartition("/")[2], other.rpartition("/")[2]
    return ("/" not in one or "/" not in other) and (names[0] == names[1] or fnmatchcase(names[1], names[0]))


def _labels(part: Portion) -> tuple[str, ...]:
    """Return the quantizations that a part takes; empty where it does not say."""
    if part.quantization:
        return (quantization_label(part.quantization) or part.quantization.lower(),)
    found = [classify(name).quantization for name in part.names]
    return tuple(label for label in found if label) if all(found) else ()


def _same_label(one: str, other: str) -> bool:
    """Return whether one quantization is the other's, its packager's form or a finer word for it."""
    plain = plain_label(one), plain_label(other)
    return plain[0] == plain[1] or plain[0].startswith(f"{plain[1]}_") or plain[1].startswith(f"{plain[0]}_")
