"""What of a plan is needed once its changes are made: ten thousand planned models take 20 MB."""

from dataclasses import dataclass
from pathlib import Path

from imageworks.plan.facts import Blocker, HostState, ResolvedSource, TargetFolder
from imageworks.providers.folder.staging_keys import staging_key_of
from imageworks.registry.manifests.manifest import State


@dataclass(frozen=True, slots=True)
class ResumableModels:
    """What a next run may go on with of the models that were planned.

    Args:
        keys: Staging areas that it would resume.
        unknown: Models of which nobody knows what it would resume.
        declared: The names of all.
    """

    keys: frozenset[str]
    unknown: frozenset[str]
    declared: frozenset[str]


def resumable_models(situation: HostState) -> ResumableModels:
    """Return what a next run may go on with of the models of a plan."""
    keys, unknown = set(), set()
    for case in situation.cases:
        if isinstance(case.upstream, ResolvedSource):
            keys.add(staging_key_of(case.manifest.name, situation.host, case.upstream))
        elif case.manifest.state is State.SUSPENDED or isinstance(case.upstream, Blocker):
            unknown.add(case.manifest.name)
    declared = frozenset(case.manifest.name for case in situation.cases)
    return ResumableModels(frozenset(keys), frozenset(unknown), declared)


def names_by_root(situation: HostState) -> dict[Path, list[str]]:
    """Return the models of a plan by the roots of the locations that they were planned for."""
    found: dict[Path, list[str]] = {}
    for case in situation.cases:
        if isinstance(case.place, TargetFolder):
            found.setdefault(case.place.root, []).append(case.manifest.name)
    return found
