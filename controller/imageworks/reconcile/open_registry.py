"""The one door to a registry: what a command or a function obeys, or shows as it is now, has come through here.

A registry is data that others write. So it is held against the signatures that it or this host demands, and its
snapshot against what manifests and entries give. The snapshot itself is never obeyed, and what is wrong with the
documents of one model leaves that model out.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from imageworks.git.controller_lock import hold
from imageworks.git.repository import RegistryRepository
from imageworks.host.setting_layers import ConfigurationError
from imageworks.host.settings import HostSettings
from imageworks.reconcile.commit import RegistryCommitter
from imageworks.reconcile.signature_policy import Trust
from imageworks.registry.cross_checks import fold
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.merge import HostModels
from imageworks.registry.load import RegistryState, let_others_go, records_tip
from imageworks.registry.snapshot import SnapshotError, merged_models
from imageworks.registry.snapshot_check import snapshot_problem

PATIENCE_SECONDS: Final = 2.0
"""How long a lock is waited for in any case: one that is held to plan or to commit is free soon."""


def read_registry(
    repository: RegistryRepository,
    host: HostSettings,
    recorder: RegistryCommitter,
    *,
    remember: bool = False,
    mends: Callable[[str], None] | None = None,
) -> RegistryState:
    """Return the registry at its newest commit, as this host may obey it."""
    registry = recorder.load()
    _refuse_twin(repository, registry)
    Trust(repository, host).check(registry, remember=remember)
    repository.let_go()  # a walk of the history leaves commits and pieces of a pack, which are not asked for again
    stale = recorder.records.stale(registry)
    known = recorder.records.was_right
    problem = snapshot_problem(repository, registry, recorder.parsed, was_right=known)[0] if stale else None
    if stale:
        let_others_go(repository, registry, recorder.parsed)
        repository.let_go()  # as above: another commit's manifests were listed
    if problem is not None and mends is None:
        raise SnapshotError(problem)
    if problem is not None and mends is not None:
        mends(f"{problem.render()}; it is written anew")
    repository.let_go()  # pygit2 has each repository in a cycle, so that it goes long after who asked
    return registry


def is_as_read(repository: RegistryRepository, registry: RegistryState) -> bool:
    """Return whether manifests and entries are still those of the commits that a registry was read from."""
    tip = records_tip(repository, registry.branch) if registry.branch else None
    head = repository.head()
    return head == registry.revision and (tip or head) == registry.recorded


def _refuse_twin(repository: RegistryRepository, registry: RegistryState) -> None:
    """Refuse a new host whose name differs from another's by letter case alone: half of all disks take them for one."""
    if registry.entries or registry.host in registry.settings.hosts:
        return
    folders = repository.folders(registry.revision, ENTRIES)
    known = {*folders, *registry.settings.hosts}
    twins = sorted(name for name in known if name != registry.host and fold(name) == fold(registry.host))
    if twins and registry.host not in known:
        raise ConfigurationError(
            f"the host {registry.host} differs from {twins[0]} by letter case alone",
            remedy=f"Call it {twins[0]} too (`host` in config.toml, or IMAGEWORKS_HOST), or quite otherwise.",
        )


def open_registry(root: Path, host: HostSettings) -> tuple[RegistryRepository, RegistryState]:
    """Return a registry that is only read, and what it says now."""
    repository = RegistryRepository.open(root, host=host.host)
    return repository, read_registry(repository, host, RegistryCommitter(repository, host))


@contextmanager
def locked(repository: RegistryRepository, host: HostSettings, *, wait: float) -> Iterator[tuple[str, ...]]:
    """Hold a registry and this host against other controllers (I10); yields what a person should know.

    Another registry's controller may have the same locations: its staging areas are not to be recovered or swept while
    it is at work.
    """
    wait = max(wait, PATIENCE_SECONDS)
    with repository.lock(wait=wait) as recovery, hold(host.state_dir, wait=wait, host=host.host, what="this host"):
        yield (*recovery.notes, *(f"{left.path}: {left.reason}" for left in recovery.left_alone))


def host_models(root: Path, host: HostSettings) -> HostModels:
    """Return this host's models with what was recorded of each: for what acts."""
    registry = open_registry(root, host)[1]
    unreadable = {name: problems[0].render() for name, problems in registry.blocked.items()}
    return HostModels(merged_models(registry), registry.entries, unreadable)
