"""Ask a model's source what it offers at one resolved commit; what it answers instead becomes an obstacle."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from imageworks.errors import ImageworksError
from imageworks.reconcile.decide import fetched, has_files, staleness
from imageworks.reconcile.plan import Reason, reason_of
from imageworks.reconcile.situation import Case, Obstacle, Upstream
from imageworks.registry.manifest import HuggingFaceSource, PathSource
from imageworks.registry.version_lock import lock_of
from imageworks.transfer.files import LinkError, RemoteFile
from imageworks.transfer.names import UnsafeNameError

if TYPE_CHECKING:
    from imageworks.providers.hub_records import Listing
    from imageworks.providers.hub_source import HubSource
    from imageworks.providers.huggingface import HubClient

MOST_TOLD: Final = 5  # risky files, each a line of the plan
MOST_HEADS: Final = 32  # files whose names prove nothing, of one model
REFUSALS: Final = frozenset({Reason.GATED, Reason.UNAUTHORISED, Reason.REPOSITORY_NOT_FOUND, Reason.DISABLED})


class Sources:
    """Answers for every kind of source; used from several threads at once.

    Args:
        open_hub: Makes the hub's client, once, when the first hub source is asked.
        look_local: Returns what a local path offers.
        reads_configs: Whether configurations are read for code that they ask to import; costs a request a file.
        reads_heads: Whether first bytes are read of files whose names prove nothing; costs a request a file.
    """

    def __init__(
        self,
        open_hub: "Callable[[], HubClient]",
        look_local: Callable[[Path], Upstream],
        *,
        reads_configs: bool = False,
        reads_heads: bool = False,
    ) -> None:
        self._open_hub = open_hub
        self._look_local = look_local
        self._reads_configs = reads_configs
        self._reads_heads = reads_heads
        self._hub: HubClient | None = None
        self._anew = False
        self._opening = Lock()

    def ask(self, case: Case) -> Upstream | Obstacle:
        """Return what a case's source offers, or why it offers nothing.

        Args:
            case: A case whose source must be asked.
        """
        from imageworks.providers.select_values import SelectionError

        source = case.manifest.source
        try:
            if isinstance(source, HuggingFaceSource):
                return self._hugging_face(case, source)
            if isinstance(source, PathSource):
                local = self._look_local(Path(source.path).expanduser())
                cleared = self._cleared(local.files, partial(_local_head, local))
                return replace(local, cleared=cleared, warnings=(*local.warnings, *_unsafe(local.files, cleared)))
        except LinkError as error:
            return _obstacle(reason_of(error.reason, Reason.UNEXPECTED_REPLY), error)
        except SelectionError as error:
            return _obstacle(Reason.SELECTION, error, file=case.manifest.file)
        except UnsafeNameError as error:
            return _obstacle(Reason.UNSAFE_NAME, error)
        except OSError as error:
            return Obstacle(Reason.SOURCE_MISSING, f"{error.filename}: {os.strerror(error.errno or 0)}")
        return Obstacle(Reason.PROVIDER_UNAVAILABLE, "this kind of source is not known")

    def refusal(self, case: Case) -> Obstacle | None:
        """Return why the hub would not give a case's files, ``None`` where it would or nobody can tell now.

        Args:
            case: A case with files to fetch from the hub.
        """
        upstream, files = case.upstream, fetched(case)
        if not isinstance(upstream, Upstream) or upstream.repo is None or upstream.commit is None or not files:
            return None
        try:
            # The largest: a hub may show everybody the small files of a gated repository, as its card.
            self.open().check_fetch(upstream.repo, upstream.commit, files[-1])
        except LinkError as error:
            reason = reason_of(error.reason, Reason.UNEXPECTED_REPLY)
            return _obstacle(reason, error) if reason in REFUSALS else None
        return None

    def lacking(self, case: Case) -> tuple[str, ...]:
        """Return what the files that are to come lack, as far as their names and a few small ones show it.

        Args:
            case: A case with files to bring.
        """
        upstream = case.upstream
        if not isinstance(upstream, Upstream) or not upstream.files:
            return ()
        from imageworks.reconcile.choosing import lacks

        return lacks(upstream)

    def open(self) -> "HubClient":
        """Return the hub's client, made on first use."""
        with self._opening:
            if self._hub is None:
                self._hub = self._open_hub()
                if self._anew:
                    self._hub.ask_anew()
            return self._hub

    def ask_anew(self) -> None:
        """Ask the hub for what is known of commits too, once it is asked at all."""
        with self._opening:
            self._anew = True
            if self._hub is not None:
                self._hub.ask_anew()

    def close(self) -> None:
        """Close what was opened."""
        if self._hub is not None:
            self._hub.close()

    def _hugging_face(self, case: Case, source: HuggingFaceSource) -> Upstream:
        from imageworks.reconcile.choosing import check_asked, chosen_files, describe_remote, request_of, subject_of

        hub, entry = self.open(), case.entry
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
        cleared = self._cleared(selection.files, partial(_hub_head, source_of_bytes))
        return Upstream(
            files=selection.files,
            commit=resolved.commit,
            ref=source.ref,
            repo=resolved.repo,
            container=selection.container,
            quantization=selection.quantization,
            source=source_of_bytes,
            warnings=(*_unconfirmed(listing), *selection.warnings, *_unsafe(selection.files, cleared)),
            license=resolved.license,
            tags=resolved.tags,
            pipeline_tag=resolved.pipeline_tag,
            library=resolved.library_name,
            left_out=tuple(str(one) for one in selection.left_out),
            remote_code=self._reads_configs and _imports_code(selection.files, source_of_bytes),
            cleared=cleared,
        )

    def _cleared(self, files: Iterable[RemoteFile], head_of: Callable[[RemoteFile], bytes | None]) -> frozenset[str]:
        """Return the files whose names prove nothing and whose first bytes run nothing."""
        if not self._reads_heads:
            return frozenset()
        from imageworks.detect.safety import UNPROVEN, safety_of

        by_path = {file.path: file for file in files}
        unproven = [one.path for one in safety_of(by_path).files if one.reason == UNPROVEN][:MOST_HEADS]
        heads = {path: head for path in unproven if (head := head_of(by_path[path])) is not None}
        return frozenset(safety_of(by_path, heads=heads).cleared)


def _hub_head(source: "HubSource", file: RemoteFile) -> bytes:
    from imageworks.detect.pickles import HEAD_BYTES

    return source.read(file, 0, HEAD_BYTES)


def _local_head(local: Upstream, file: RemoteFile) -> bytes | None:
    from imageworks.detect.pickles import HEAD_BYTES
    from imageworks.providers.local import LocalSource

    if not isinstance(local.source, LocalSource):
        return None
    with local.source.place(file).open("rb") as stream:
        return stream.read(HEAD_BYTES)


def _unconfirmed(listing: "Listing") -> list[str]:
    if listing.confirmed:
        return []
    return [f"the hub names no files with the commit, so nothing shows that the {len(listing.files)} listed are all"]


def _imports_code(files: Iterable[RemoteFile], source: "HubSource") -> bool:
    """Return whether a configuration asks the loader to import the repository's own code."""
    from imageworks.detect.jsons import parse_object
    from imageworks.detect.safety import safety_of
    from imageworks.foundation.json_reading import LARGEST

    configs = [f for f in files if f.path.endswith("config.json") and "/" not in f.path and f.size <= LARGEST]
    read = (parse_object(source.read(file, 0, file.size)) for file in configs)
    return safety_of((), (config for config in read if config is not None)).remote_code


def _unsafe(files: Iterable[RemoteFile], cleared: Iterable[str] = ()) -> list[str]:
    """Tell which files can run code when the model is loaded, as far as names say it."""
    from imageworks.detect.safety import safety_of

    risky = safety_of((file.path for file in files), cleared=cleared).files
    told = [f"{file.path} can run code when it is loaded: {file.reason}" for file in risky[:MOST_TOLD]]
    return told if len(risky) <= MOST_TOLD else [*told, f"{len(risky) - MOST_TOLD} more files can run code when loaded"]


def _obstacle(reason: Reason, error: ImageworksError, *, file: str | None = None) -> Obstacle:
    text = error.message if error.remedy is None else f"{error.message}; {error.remedy}"
    return Obstacle(reason, f"{file}: {text}" if file else text)
