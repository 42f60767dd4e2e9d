"""Models that LM Studio downloaded itself: told as drift until somebody records or declares them."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.detection.file_names import Role, classify
from imageworks.plan.facts import ResolvedSource, TargetFolder
from imageworks.plan.plan import Drift, Reason
from imageworks.providers.lmstudio.library import observe_studio
from imageworks.providers.locations import HostLocations
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import PathSource, RepositorySource

if TYPE_CHECKING:
    from imageworks.providers.lmstudio.library import StudioModel

KIBI = 1024


def strangers(places: HostLocations, registry: RegistryState, claimed: Collection[Path]) -> Iterator[Drift]:
    """Yield the models of LM Studio's folders that nobody recorded and nobody declared."""
    folders = places.shared_folders()
    if not folders:
        return
    known = {*claimed, *_declared_paths(registry), *_recorded(registry)}
    sources = (manifest.source for manifest in registry.manifests.values())
    repositories = {source.repo.lower() for source in sources if isinstance(source, RepositorySource)}
    for root in folders:
        for model in observe_studio(root):
            files = [model.folder / name for name in model.weights]
            named = model.name.lower().partition("@")[0] in repositories
            if named or model.folder in known or any(file in known for file in files):
                continue
            yield Drift(model.name, Reason.UNDECLARED, _told(model, root))


def unseen(places: HostLocations, place: TargetFolder, upstream: ResolvedSource) -> tuple[str, ...]:
    """Return a warning of weights that would stand where LM Studio does not look."""
    deep = [file.path for file in upstream.files if "/" in file.path and classify(file.path).role is Role.WEIGHTS]
    if not deep or not places.is_lmstudio(place):
        return ()
    return (
        f"LM Studio looks only directly in publisher/model, so it will not see {deep[0]}; another location would do",
    )


def _told(model: "StudioModel", root: Path) -> str:
    files = len(model.weights) + len(model.projectors)
    shown = f"{files} {'file' if files == 1 else 'files'}, {model.size / KIBI**3:.1f} GiB"
    return f"found in LM Studio at {model.folder} ({shown}); `scan --base '{root}'` records it"


def _declared_paths(registry: RegistryState) -> Iterator[Path]:
    for manifest in registry.manifests.values():
        if isinstance(manifest.source, PathSource):
            yield Path(manifest.source.path).expanduser()


def _recorded(registry: RegistryState) -> Iterator[Path]:
    for entry in registry.entries.values():
        if entry.path is not None:
            yield entry.path
            yield from (entry.base / file.path for file in entry.files)
