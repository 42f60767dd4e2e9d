"""Models that are files by their addresses, pinned by their digests."""

import stat
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from imageworks import __version__
from imageworks.detection.file_names import Role, classify
from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.foundation.http import shown_url
from imageworks.host.settings import how_to_allow
from imageworks.plan.facts import DeclaredModel, ResolvedSource, TargetFolder
from imageworks.plan.plan import Reason
from imageworks.plan.updates import Followed
from imageworks.providers.at_once import at_once
from imageworks.providers.folder.provider import FolderProvider
from imageworks.providers.named_source import NamedSource
from imageworks.providers.url.listing import AddressedFile, named_files
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import Manifest, local_path
from imageworks.registry.settings.model_places import ModelPlaces, Use

if TYPE_CHECKING:
    from imageworks.providers.upstream import SourceResolver
    from imageworks.providers.url.source import Addresses, UrlSource

ASKING_THREADS: Final = 8


class UrlProvider(FolderProvider):
    """Decides about files whose digests the manifest itself says, so that nobody need be asked whether they moved."""

    name = "url"
    recorded_as = "url"

    def named(self, text: str, sha256: str | None) -> NamedSource | None:
        """Return the file that an address names."""
        from imageworks.providers.url.named import named

        return named(text, sha256)

    def source_change(self, case: DeclaredModel) -> StrEnum | None:
        """Return why what is recorded are other files, or other bytes, than those that are declared."""
        if case.entry is None:
            return None
        wanted = {file.path: file.sha256 for file in named_files(case.manifest)}
        recorded = {file.path: file.sha256 for file in case.entry.files}
        return None if wanted == recorded else Reason.REVISION_CHANGED

    def offer(self, case: DeclaredModel, sources: "SourceResolver") -> ResolvedSource:
        """Return the named files with the sizes that their hosts say."""
        from imageworks.providers.url.source import UrlSource

        named = named_files(case.manifest)
        addresses = sources.shared(self.name, lambda: _addresses(sources))
        sizes = at_once(lambda one: _size(one, addresses, sources), named, threads=ASKING_THREADS)
        files = tuple(
            RemoteFile(one.path, size, Digest(Algorithm.SHA256, one.sha256), large=True)
            for one, size in zip(named, sizes, strict=True)
        )
        return ResolvedSource(
            files,
            container=_container(named),
            source=UrlSource(addresses, {one.path: one.url for one in named}),
            pinned=True,
        )

    def read(self, upstream: ResolvedSource, file: RemoteFile, length: int) -> bytes | None:
        """Return the first bytes of a named file."""
        return cast("UrlSource", upstream.source).read(file, length)

    def provenance(self, case: DeclaredModel, place: TargetFolder, upstream: ResolvedSource) -> dict[str, object]:
        """Return the addresses, without what in them may be secret."""
        del place, upstream
        return {"source_urls": [shown_url(file.url) for file in named_files(case.manifest)]}

    def follows(self, manifest: Manifest, entry: Entry | None, committed: Callable[[], bytes]) -> Followed | str:
        """Return that nothing is followed: the digests of a manifest are its pins."""
        del entry, committed
        return f"{manifest.source.label if manifest.source is not None else self.name} is pinned by its digests"


def _container(named: Iterable[AddressedFile]) -> str | None:
    """Return the container of the weights, where their names agree on one."""
    kinds = [classify(one.path) for one in named]
    found = {kind.container for kind in kinds if kind.role is Role.WEIGHTS and kind.container is not None}
    return found.pop().value if len(found) == 1 else None


def _addresses(sources: "SourceResolver") -> "Addresses":
    from imageworks.providers.credentials import Credentials
    from imageworks.providers.url.source import Addresses

    host = sources.host
    credentials = Credentials(host.credentials, host.environment())
    return Addresses(credentials, host.private_hosts, f"imageworks-models/{__version__}")


def _size(file: AddressedFile, addresses: "Addresses", sources: "SourceResolver") -> int:
    path = local_path(file.url)
    if path is None:
        if sources.offline:
            raise LinkError(f"{shown_url(file.url)} is not asked: --offline was given", reason="offline")
        return addresses.size(file.url)
    found = _allowed(path, sources).stat()
    if not stat.S_ISREG(found.st_mode):
        raise LinkError(f"{path} is not a plain file", remedy="name the file itself", reason="source-unusable")
    return found.st_size


def _allowed(path: Path, sources: "SourceResolver") -> Path:
    if not path.is_absolute() or not sources.host.allows(path):
        raise LinkError(
            f"{path} is outside the folders that this host allows",
            remedy=how_to_allow(path.parent),
            reason="root-not-allowed",
        )
    if (why := ModelPlaces(sources.host).why_not(path, Use.SOURCE)) is not None:
        raise LinkError(
            f"{path} is no place for a model: {why}",
            remedy="name a file in a folder that is for models alone",
            reason="root-not-allowed",
        )
    return path


URL: Final = UrlProvider()
