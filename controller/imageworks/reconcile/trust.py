"""Reconcile only what people signed, where a registry asks for that."""

from collections.abc import Iterable

from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_messages import RECONCILED_REVISION
from imageworks.registry.git_program import GitProgram
from imageworks.registry.git_trust import UntrustedRegistryError, check_signed
from imageworks.registry.load import RegistryState
from imageworks.registry.settings import FILE, read_settings
from imageworks.registry.validate import check_settings_file


def check_trust(repository: RegistryRepository, registry: RegistryState, git: GitProgram) -> None:
    """Refuse a registry whose manifests must be signed and are not.

    It must where its own registry.yaml says so, and where the one that this host applied last said so: a commit that
    takes the rule away has to be signed as well.

    Args:
        repository: The registry.
        registry: It as it was read.
        git: The git program in its work tree.

    Raises:
        UntrustedRegistryError: They must be signed and are not.
    """
    if registry.revision is None:
        return
    if registry.settings.require_signed or _required_before(repository, registry):
        check_signed(repository, git, registry.revision)


def _required_before(repository: RegistryRepository, registry: RegistryState) -> bool:
    applied = repository.last_applied(registry.host, revision=registry.recorded)
    revision = applied.trailers.get(RECONCILED_REVISION) if applied else None
    content = repository.at(revision).file(FILE) if revision else None
    if content == repository.at(registry.revision).file(FILE):
        return registry.settings.require_signed  # read already: judging it anew would load the schemas in each run
    checked = check_settings_file(FILE, content) if isinstance(content, bytes) else None
    if checked is None or checked.document is None or not isinstance(checked.document.value, dict):
        return False
    return read_settings(checked.document.value, registry.host).require_signed


def refuse_unsigned(registry: RegistryState, manifests: Iterable[str]) -> None:
    """Refuse to write manifests where only a person's signature makes them count.

    Args:
        registry: The registry.
        manifests: The registry paths that a command is about to commit.

    Raises:
        UntrustedRegistryError: There are some, and signatures are required.
    """
    files = sorted(manifests)
    if files and registry.settings.require_signed:
        raise UntrustedRegistryError(
            f"{files[0]}: registry.yaml requires signed commits (git.require_signed), which the controller cannot make",
            remedy="Write the file and sign it yourself: git commit -S. `reconcile` then brings the model.",
        )
