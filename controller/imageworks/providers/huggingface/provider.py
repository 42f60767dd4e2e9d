"""Models that are repositories of the Hugging Face Hub."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.plan.facts import Blocker, DeclaredModel, ResolvedSource, TargetFolder
from imageworks.plan.plan import Reason, reason_of
from imageworks.plan.updates import Age, Followed, ModelUpdate
from imageworks.providers.dispatch import fetched
from imageworks.providers.folder.decide import staleness
from imageworks.providers.folder.provider import FolderProvider
from imageworks.providers.repository import comes_from
from imageworks.providers.upstream import told_obstacle
from imageworks.registry.entries.entry import Entry, has_files
from imageworks.registry.manifests.manifest import Manifest, RepositorySource, is_commit
from imageworks.registry.manifests.writer import Line
from imageworks.registry.version_lock import lock_of

if TYPE_CHECKING:
    from imageworks.providers.repository import Listing, RangeSource
    from imageworks.providers.upstream import SourceResolver

_CHOOSES: Final = {
    "include": "of weights and data only these",
    "exclude": "not these",
    "weights": "only these weights",
    "subfolder": "the folder that files are taken from",
    "optional": "documents, pictures and examples too",
}
_PICKS: Final = {
    "format": "how the weights are packed; picks the files",
    "quantization": "which one of several; picks the files",
}
REFUSALS: Final = frozenset({Reason.GATED, Reason.UNAUTHORISED, Reason.REPOSITORY_NOT_FOUND, Reason.DISABLED})


class HuggingFaceProvider(FolderProvider):
    """Decides about repositories, whose commits tell what they hold."""

    name = "huggingface"
    recorded_as = "huggingface"
    knows_commits = True

    def source_change(self, case: DeclaredModel) -> StrEnum | None:
        """Return why what is recorded came from elsewhere, or from another revision, than what is declared."""
        source, entry = case.manifest.source, case.entry
        if not isinstance(source, RepositorySource) or entry is None:
            return None
        if not comes_from(entry, source):
            return Reason.SOURCE_CHANGED
        asked = entry.revision if is_commit(source.revision) else entry.ref
        return Reason.REVISION_CHANGED if asked != source.revision else None

    def offer(self, case: DeclaredModel, sources: "SourceResolver") -> ResolvedSource:
        """Return what the hub lists at one commit of a repository, as far as it is wanted."""
        from imageworks.providers.selection.requested_files import (
            check_asked,
            chosen_files,
            describe_remote,
            request_of,
            subject_of,
        )

        source = case.manifest.source
        if not isinstance(source, RepositorySource):
            raise TypeError(f"{case.manifest.name} is no repository")
        hub, entry = sources.open(), case.entry
        # What is recorded is repaired at its own commit; a branch was resolved once and is not chased.
        recorded = entry.revision if entry is not None and has_files(entry) and staleness(case) is None else None
        resolved = hub.resolve(source.repo, recorded or source.revision)
        listing = hub.listing(resolved.repo, resolved.commit)
        locked = lock_of(case.manifest, entry).locked
        selection = chosen_files(listing.files, request_of(case.manifest), entry if recorded else None, locked=locked)
        source_of_bytes = hub.source(resolved.repo, resolved.commit)
        if selection.unproven is not None:
            subject = subject_of(resolved, source.ref)
            facts = describe_remote(selection.files, source_of_bytes, subject=subject, only_configs=True)
            check_asked(hub, resolved.repo, selection, facts)
        return ResolvedSource(
            files=selection.files,
            commit=resolved.commit,
            ref=source.ref,
            repo=resolved.repo,
            container=selection.container,
            quantization=selection.quantization,
            source=source_of_bytes,
            warnings=(*_unconfirmed(listing), *selection.warnings),
            license=resolved.license,
            tags=resolved.tags,
            pipeline_tag=resolved.pipeline_tag,
            library=resolved.library_name,
            left_out=tuple(str(one) for one in selection.left_out),
        )

    def read(self, upstream: ResolvedSource, file: RemoteFile, length: int) -> bytes | None:
        """Return the first bytes of a file of a repository."""
        return cast("RangeSource", upstream.source).read(file, 0, length)

    def refusal(self, case: DeclaredModel, sources: "SourceResolver") -> Blocker | None:
        """Return why the hub would not give a case's files, ``None`` where it would or nobody can tell now."""
        upstream, files = case.upstream, fetched(case)
        if not isinstance(upstream, ResolvedSource) or upstream.repo is None or upstream.commit is None or not files:
            return None
        try:
            # The largest: a hub may show everybody the small files of a gated repository, as its card.
            sources.open().check_fetch(upstream.repo, upstream.commit, files[-1])
        except LinkError as error:
            reason = reason_of(error.reason, Reason.UNEXPECTED_REPLY)
            return told_obstacle(reason, error) if reason in REFUSALS else None
        return None

    def provenance(self, case: DeclaredModel, place: TargetFolder, upstream: ResolvedSource) -> dict[str, object]:
        """Return the declared name of a repository that has another by now."""
        del place
        source = case.manifest.source
        renamed = isinstance(source, RepositorySource) and source.repo != upstream.repo
        return {"source_repo": source.repo} if isinstance(source, RepositorySource) and renamed else {}

    def source_lines(self, entry: Entry) -> Sequence[Line]:
        """Return how a manifest names the commit that a model is of, and which of its files it has."""
        if not entry.repo or not is_commit(entry.revision):
            return ()
        lines = [
            Line(self.name, entry.repo, "the repository that it came from", inside=True),
            Line("revision", entry.revision, "the commit that is installed; `download` moves the pin", inside=True),
        ]
        if entry.ref and entry.ref != "main" and not is_commit(entry.ref):
            lines.append(Line("branch", entry.ref, "the branch that the commit was taken from", inside=True))
        chosen = entry.selection
        lines += [Line(key, chosen[key], why, inside=True) for key, why in _CHOOSES.items() if key in chosen]
        return [*lines, *(Line(key, chosen[key], why) for key, why in _PICKS.items() if key in chosen)]

    def follows(self, manifest: Manifest, entry: Entry | None, committed: Callable[[], bytes]) -> Followed | str:
        """Return the branch that a repository's model is at, or was pinned from."""
        if not isinstance(manifest.source, RepositorySource):
            return super().follows(manifest, entry, committed)
        from imageworks.providers.huggingface.updates import followed_branch

        return followed_branch(manifest, manifest.source, entry, committed)

    def newest(self, followed: Followed, sources: "SourceResolver") -> str:
        """Return the commit that a branch is at now."""
        return sources.open().resolve(followed.repo, followed.ref).commit

    def update(self, followed: Followed, age: Age, sources: "SourceResolver") -> ModelUpdate:
        """Return how a model stands against its branch."""
        from imageworks.providers.huggingface.updates import ask_update

        return ask_update(sources.open(), followed, age)


def _unconfirmed(listing: "Listing") -> list[str]:
    if listing.confirmed:
        return []
    return [f"the hub names no files with the commit, so nothing shows that the {len(listing.files)} listed are all"]


HUGGING_FACE: Final = HuggingFaceProvider()
