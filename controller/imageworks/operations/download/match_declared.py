"""Which model of a registry a repository already is, whatever people call it. Pure."""

from dataclasses import dataclass

from imageworks.naming.quantization_labels import quantization_label
from imageworks.operations.download.analyze import Analysis
from imageworks.plan.facts import TargetFolder
from imageworks.registry.cross_checks import fold
from imageworks.registry.entries.entry import Entry
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import Manifest, RepositorySource, is_commit

MAIN = "main"


@dataclass(frozen=True, slots=True)
class DownloadMatch:
    """What tells a model from others of its repository.

    Args:
        analysis: What the repository is.
        ref: The branch, tag or commit that was asked for.
        container: How the chosen weights are packed.
        label: The quantization that was chosen of several, if there was a choice.
        backend: What is to serve it, if that was said.
        same: Manifests that name files of the repository, and declare just those that were chosen.
    """

    analysis: Analysis
    ref: str | None
    container: str | None
    label: str | None
    backend: str | None
    same: frozenset[str] = frozenset()


def known_name(registry: RegistryState, asked: DownloadMatch) -> str:
    """Return the name under which a model is declared or recorded here, else the one that it would get.

    A model that was renamed, or that somebody named in their own way, is still the same: downloading it again must
    not declare it twice.
    """
    usual = asked.analysis.name
    if usual in registry.manifests and _is_other(registry.manifests[usual], asked):
        usual = f"{usual}-{asked.label}"
    taken = usual in registry.manifests or usual in registry.blocked
    theirs = _is_anothers(registry.manifests.get(usual), asked.analysis)
    if taken and not theirs and (not asked.same or usual in asked.same):
        return usual
    same = [one for one in registry.manifests.values() if registry.applies(one) and _is_declared(one, asked)]
    if same:
        backend = usual_backend(asked.container)
        renamed = fold(usual)
        return min(
            same,
            key=lambda one: (
                renamed not in {fold(old) for old in one.previously},
                one.text("backend") != backend,
                one.name,
            ),
        ).name
    if taken or usual in registry.entries:
        return usual
    found = (one.name for one in registry.entries.values() if not one.managed and _is_recorded(one, asked))
    return min(found, default=usual)


def _is_anothers(manifest: Manifest | None, analysis: Analysis) -> bool:
    """Return whether a name is that of another repository's model."""
    source = manifest.source if manifest is not None else None
    return isinstance(source, RepositorySource) and not is_of(source.repo, analysis)


def is_of(repo: str | None, analysis: Analysis) -> bool:
    """Return whether a name is that of an analysed repository: its present one, or the former one it was asked by."""
    names = {analysis.resolved.repo.lower(), (analysis.renamed_from or analysis.resolved.repo).lower()}
    return repo is not None and repo.lower() in names


def branch_of(ref: str | None) -> str | None:
    """Return the branch or tag that tells a model and its folder from the repository's usual one."""
    return None if ref is None or ref == MAIN or is_commit(ref) else ref


def usual_backend(container: str | None) -> str:
    """Return what serves a container where nobody says."""
    if container is None:
        return "unassigned"
    return "gguf" if container == "gguf" else "vllm"


def _is_other(manifest: Manifest, asked: DownloadMatch) -> bool:
    """Return whether a name is that of another quantization of the repository: headers can say otherwise than names."""
    declared = quantization_label(manifest.text("quantization") or "")
    return declared is not None and asked.label is not None and declared != asked.label and asked.container == "gguf"


def _is_declared(manifest: Manifest, asked: DownloadMatch) -> bool:
    source = manifest.source
    if not isinstance(source, RepositorySource) or not is_of(source.repo, asked.analysis):
        return False
    if branch_of(source.ref) != branch_of(asked.ref):
        return False
    if (source.include or source.weights or source.subfolder) and manifest.name not in asked.same:
        return False
    if asked.backend is not None and manifest.text("backend") != asked.backend:
        return False
    if manifest.text("format") not in {None, asked.container}:
        return False
    label = manifest.text("quantization")
    if manifest.name in asked.same:
        return True
    shown = {None, asked.label, asked.analysis.facts.quantization} if asked.label is None else {asked.label}
    return (quantization_label(label) or label if label else None) in shown


def _is_recorded(entry: Entry, asked: DownloadMatch) -> bool:
    place = asked.analysis.place
    if not isinstance(place, TargetFolder) or entry.path != place.path:
        return False
    if asked.backend is not None and entry.text("backend") != asked.backend:
        return False
    return asked.label is None or entry.text("quantization") == asked.label
