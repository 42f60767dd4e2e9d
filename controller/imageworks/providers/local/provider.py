"""Models that are on this machine already."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.files.artifact import RemoteFile
from imageworks.plan.facts import DeclaredModel, ResolvedSource, TargetFolder
from imageworks.plan.plan import Change, Reason
from imageworks.providers.folder.decide import local_aggregate
from imageworks.providers.folder.local_files import LocalSource
from imageworks.providers.folder.provider import FolderProvider
from imageworks.registry.entries.entry import Entry, aggregate_sha256
from imageworks.registry.manifests.manifest import Manifest, PathSource

if TYPE_CHECKING:
    from imageworks.providers.upstream import SourceResolver


class LocalProvider(FolderProvider):
    """Decides about folders and files that are read where they are."""

    name = "path"
    recorded_as = "local"
    reads_anyway = True

    def source_change(self, case: DeclaredModel) -> StrEnum | None:
        """Return why what is recorded is another path than the declared one, or has other bytes."""
        source, entry = case.manifest.source, case.entry
        if not isinstance(source, PathSource) or entry is None:
            return None
        if entry.noted.get("source_path") != source.path:
            return Reason.SOURCE_CHANGED
        offered = case.upstream
        differs = isinstance(offered, ResolvedSource) and local_aggregate(offered.files) != aggregate_sha256(
            entry.files
        )
        return Reason.SOURCE_CHANGED if differs else None

    def offer(self, case: DeclaredModel, sources: "SourceResolver") -> ResolvedSource:
        """Return what a path of this host holds."""
        source = case.manifest.source
        if not isinstance(source, PathSource):
            raise TypeError(f"{case.manifest.name} is no path")
        return sources.look_local(Path(source.path).expanduser())

    def read(self, upstream: ResolvedSource, file: RemoteFile, length: int) -> bytes | None:
        """Return the first bytes of a file of this host."""
        if not isinstance(upstream.source, LocalSource):
            return None
        with upstream.source.place(file).open("rb") as stream:
            return stream.read(length)

    def judged_elsewhere(self, change: Change, manifest: Manifest, entry: Entry | None) -> Change | str | None:
        """Return the path that only its host can look at."""
        del entry
        source = manifest.source
        return source.path if isinstance(source, PathSource) and change.reason is Reason.SOURCE_MISSING else change

    def provenance(self, case: DeclaredModel, place: TargetFolder, upstream: ResolvedSource) -> dict[str, object]:
        """Return the declared path, and whether it is a single file's."""
        source = case.manifest.source
        if not isinstance(source, PathSource):
            return {}
        single = len(upstream.files) == 1 and place.path.name == upstream.files[0].path
        is_file = case.manifest.location is None and single
        return {"source_path": source.path, **({"single_file": True} if is_file else {})}


LOCAL: Final = LocalProvider()
