"""Which models would be put into one folder, as only a host sees it: by the hub's present names and by real paths.

`validate` sees what files show; that an old and a new name are one repository, or that two locations lead to one
folder, shows here. Pure: paths come resolved.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from imageworks.registry.cross_checks import fold
from imageworks.registry.manifests.portion import Portion, are_disjoint

REMEDY = "give one of them another `location`, or delete one"


@dataclass(frozen=True, slots=True)
class FolderClaim:
    """A folder that a manifest claims.

    Args:
        name: The variant name.
        file: The manifest.
        folder: The folder, with all links followed.
        content: What is to be in it, for two that may share it.
        portion: What the manifest names of it.
        holds: Whether its recorded files are there already.
        acts: Whether this run would put or change files there.
    """

    name: str
    file: str
    folder: str
    content: tuple[str, ...]
    portion: Portion
    holds: bool
    acts: bool


def refused(claims: Iterable[FolderClaim]) -> dict[str, str]:
    """Return the models that may not have their folder, with why."""
    here: dict[str, list[FolderClaim]] = defaultdict(list)
    inside: dict[str, list[FolderClaim]] = defaultdict(list)
    folders = [(fold(claim.folder), claim) for claim in claims]
    for folder, claim in folders:
        here[folder].append(claim)
    for folder, claim in folders:
        for parent in _parents(folder):
            if parent in here:  # the parents of ten thousand folders, cut into parts, take 6 MB
                inside[parent].append(claim)
    found = {}
    for folder, claim in folders:
        if not claim.acts:
            continue
        above = (one for parent in _parents(folder) for one in here.get(parent, ()))
        beside = (one for one in here[folder] if one is not claim and not _may_share(claim, one))
        rivals = chain(beside, above, inside.get(folder, ()))
        rival = next((one for one in rivals if one.holds or not claim.holds), None)
        if rival is not None:
            found[claim.name] = _message(claim, rival)
    return found


def _parents(folder: str) -> Iterator[str]:
    """Yield the folders that a folder is in, from the root's children down."""
    end = folder.find("/", 1)
    while end >= 0:
        yield folder[:end]
        end = folder.find("/", end + 1)


def _may_share(one: FolderClaim, other: FolderClaim) -> bool:
    return one.content == other.content and are_disjoint(one.portion, other.portion)


def _message(claim: FolderClaim, rival: FolderClaim) -> str:
    own, theirs = (f"{one.file} ({' '.join(one.content)})" for one in (claim, rival))
    if claim.folder == rival.folder or fold(claim.folder) == fold(rival.folder):
        return f"{own} and {theirs} claim one folder, {claim.folder}; {REMEDY}"
    return f"{own} and {theirs} claim folders of which one is in the other, {claim.folder} and {rival.folder}; {REMEDY}"
