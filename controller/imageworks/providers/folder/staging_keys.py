"""How the staging areas of models are named, and whose they are."""

from pathlib import Path

from imageworks.files.staging import staging_key
from imageworks.plan.facts import ResolvedSource
from imageworks.registry.documents.cache import registry_key


def staging_key_of(name: str, host: str, upstream: ResolvedSource) -> str:
    """Return the staging key of one model at one commit, so that an interrupted run is found again."""
    files = ",".join(sorted(file.digest.value for file in upstream.files)) if upstream.commit is None else ""
    return staging_key(name, host, upstream.commit or files)


def staging_owner(host: str, registry: Path) -> str:
    """Return whose a staging area is: locations may be shared by other registries and other hosts."""
    return f"{host}/{registry_key(registry)}/"
