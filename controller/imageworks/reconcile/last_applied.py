"""What was last applied: a deleted manifest's word on pruning holds as it stood then."""

from collections.abc import Iterable
from functools import cached_property

from imageworks.git.log import LastTouched
from imageworks.git.repository import RegistryRepository
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import SUFFIXES, Manifest, Prune, read_manifest
from imageworks.registry.validate import check_manifest


class AppliedManifests:
    """What manifests said in the commit that this host applied last, or last while they still existed."""

    def __init__(self, repository: RegistryRepository, host: str, recorded: str | None) -> None:
        self._repository = repository
        self._host = host
        self._recorded = recorded

    def __call__(self, name: str) -> Prune | None:
        """Return what a model's manifest said of pruning; ``None`` when it said nothing or is not to be found."""
        names = [f"{name}{suffix}" for suffix in SUFFIXES]
        files = [f"{MODELS}/{name}" for name in names]
        manifest = self._manifest(files, self._applied)
        if manifest is None:
            # Other changes were applied since it was deleted: look at what was applied before that.
            before = self._touched.before(names) if self._touched is not None else None
            manifest = self._manifest(files, self._revision(before)) if before is not None else None
        return manifest.prune if manifest is not None else None

    @cached_property
    def _applied(self) -> str | None:
        return self._revision(self._recorded)

    @cached_property
    def _touched(self) -> LastTouched | None:
        return self._repository.last_touched(MODELS)

    def _revision(self, start: str | None) -> str | None:
        record = self._repository.last_applied(self._host, revision=start)
        return record.trailers.get("Reconciled-Revision") if record else None

    def _manifest(self, files: Iterable[str], revision: str | None) -> Manifest | None:
        for file in files if revision else ():
            content = RevisionReader(self._repository, revision).file(file)
            if isinstance(content, bytes):
                document = check_manifest(file, content).document
                if document is not None and isinstance(document.value, dict):
                    return read_manifest(file, document.value)
        return None
