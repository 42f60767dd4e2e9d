"""Ask a model's source what it offers at one resolved commit; what it answers instead becomes an obstacle."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar, cast
from urllib.parse import urlsplit

from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.files.safe_names import UnsafeNameError
from imageworks.foundation.addresses import AddressGuard
from imageworks.foundation.bounded_json import LARGEST, read_json
from imageworks.foundation.closing import Closing
from imageworks.foundation.errors import ImageworksError
from imageworks.host.settings import HostSettings
from imageworks.plan.facts import NO_FILES, Blocker, DeclaredModel, ResolvedSource
from imageworks.plan.plan import Reason, reason_of
from imageworks.providers.dispatch import PROVIDERS, file_provider
from imageworks.registry.settings.mirrors import Mirror

if TYPE_CHECKING:
    from imageworks.providers.folder.provider import FolderProvider
    from imageworks.providers.huggingface.client import HubClient

HEAD_BYTES: Final = 16 * 1024
MOST_TOLD: Final = 5  # risky files, each a line of the plan
MOST_HEADS: Final = 32  # files whose names prove nothing, of one model
REFUSALS: Final = frozenset({Reason.GATED, Reason.UNAUTHORISED, Reason.REPOSITORY_NOT_FOUND, Reason.DISABLED})


Shared = TypeVar("Shared", bound=Closing)


class SourceResolver:
    """Answers for every kind of source; used from several threads at once."""

    def __init__(
        self,
        look_local: Callable[[Path], ResolvedSource] | None = None,
        *,
        host: HostSettings,
        offline: bool = False,
        write_cache: bool = False,
        told: Callable[[str], None] | None = None,
        reads_configs: bool = False,
        reads_heads: bool = False,
        mirrors: Sequence[Mirror] = (),
    ) -> None:
        self.mirrors = mirrors
        self._write_cache = write_cache
        self._told = told
        self.look_local = look_local or _look_nowhere
        self.host = host
        self.offline = offline
        self._shared: dict[str, Closing] = {}
        self._reads_configs = reads_configs
        self._reads_heads = reads_heads
        self._hub: HubClient | None = None
        self._anew = False
        self._opening = Lock()

    def ask(self, case: DeclaredModel) -> ResolvedSource | Blocker:
        """Return what a case's source offers, or why it offers nothing."""
        from imageworks.providers.selection.model import SelectionError

        source = case.manifest.source
        if source is None or source.provider not in PROVIDERS:
            return Blocker(Reason.PROVIDER_UNAVAILABLE, "this kind of source is not known")
        try:
            return self._examined(file_provider(source.provider).offer(case, self), file_provider(source.provider))
        except LinkError as error:
            return told_obstacle(reason_of(error.reason, Reason.UNEXPECTED_REPLY), error)
        except SelectionError as error:
            return told_obstacle(Reason.SELECTION, error, file=case.manifest.file)
        except UnsafeNameError as error:
            return told_obstacle(Reason.UNSAFE_NAME, error)
        except OSError as error:
            return Blocker(Reason.SOURCE_MISSING, f"{error.filename}: {os.strerror(error.errno or 0)}")

    def refusal(self, case: DeclaredModel) -> Blocker | None:
        """Return why a source would not give a case's files, ``None`` where it would or nobody can tell now."""
        source = case.manifest.source
        return None if source is None else file_provider(source.provider).refusal(case, self)

    def lacking(self, case: DeclaredModel) -> tuple[str, ...]:
        """Return what the files that are to come lack, as far as their names and a few small ones show it."""
        upstream, source = case.upstream, case.manifest.source
        if not isinstance(upstream, ResolvedSource) or not upstream.files or source is None:
            return ()
        from imageworks.providers.selection.requested_files import lacks

        return lacks(upstream, partial(file_provider(source.provider).read, upstream))

    def open(self) -> "HubClient":
        """Return the hub's client, made on first use."""
        with self._opening:
            if self._hub is None:
                from imageworks.providers.huggingface.client import HubClient

                self._hub = HubClient.from_environment(
                    self.host.environment(),
                    cache_dir=self.host.cache_dir,
                    write_cache=self._write_cache,
                    offline=self.offline,
                    told=self._told,
                    mirrors=self.mirrors,
                    credentials=self.host.credentials,
                )
                if self._anew:
                    self._hub.ask_anew()
            return self._hub

    @property
    def allow_http(self) -> bool:
        """Whether links without TLS are taken, because the hub or a mirror has none itself."""
        return any(
            one.startswith("http://") for one in (self.host.hub_endpoint, *(one.address for one in self.mirrors))
        )

    def guard(self) -> AddressGuard:
        """Return what says where links lead: where the hub may, and to the mirrors that this host's owner names."""
        trusted = (urlsplit(one.address).hostname or "" for one in self.mirrors if one.trusted)
        return AddressGuard(self.host.hub_endpoint, (*self.host.private_hosts, *trusted))

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
        for opened in self._shared.values():
            opened.close()

    def shared(self, name: str, make: "Callable[[], Shared]") -> "Shared":
        """Return what a provider reaches its sources through, made on first use and closed with all."""
        with self._opening:
            if name not in self._shared:
                self._shared[name] = make()
            return cast("Shared", self._shared[name])

    def _examined(self, upstream: ResolvedSource, provider: "FolderProvider") -> ResolvedSource:
        """Return what is offered, with what its names and first bytes say of code that loading it would run."""

        def read(file: RemoteFile, length: int) -> bytes | None:
            return provider.read(upstream, file, length)

        cleared = self._cleared(upstream.files, read)
        return replace(
            upstream,
            cleared=cleared,
            remote_code=self._reads_configs and _imports_code(upstream.files, read),
            warnings=(*upstream.warnings, *_unsafe(upstream.files, cleared)),
        )

    def _cleared(self, files: Iterable[RemoteFile], read: Callable[[RemoteFile, int], bytes | None]) -> frozenset[str]:
        """Return the files whose names prove nothing and whose first bytes run nothing."""
        if not self._reads_heads:
            return NO_FILES
        from imageworks.detection.formats.executable_files import UNPROVEN, safety_of

        by_path = {file.path: file for file in files}
        unproven = [one.path for one in safety_of(by_path).files if one.reason == UNPROVEN][:MOST_HEADS]
        heads = {path: head for path in unproven if (head := read(by_path[path], HEAD_BYTES)) is not None}
        return frozenset(safety_of(by_path, heads=heads).cleared)


def _look_nowhere(path: Path) -> ResolvedSource:
    raise LinkError(f"{path} cannot be looked at from here", reason=Reason.SOURCE_MISSING.value)


def _imports_code(files: Iterable[RemoteFile], read: Callable[[RemoteFile, int], bytes | None]) -> bool:
    """Return whether a configuration asks the loader to import code, or cannot be read so that it may ask for any."""
    from imageworks.detection.formats.executable_files import code_names, safety_of

    for file in files:
        if not file.path.endswith(("config.json", "modules.json")):
            continue
        data = None if file.size > LARGEST else read(file, file.size)
        try:
            value = read_json(data or b"")
        except ValueError:
            return True
        if safety_of((), (code_names(file.path, value),)).remote_code:
            return True
    return False


def _unsafe(files: Iterable[RemoteFile], cleared: Iterable[str] = ()) -> list[str]:
    """Tell which files can run code when the model is loaded, as far as names say it."""
    from imageworks.detection.formats.executable_files import safety_of

    risky = safety_of((file.path for file in files), cleared=cleared).files
    told = [f"{file.path} can run code when it is loaded: {file.reason}" for file in risky[:MOST_TOLD]]
    return told if len(risky) <= MOST_TOLD else [*told, f"{len(risky) - MOST_TOLD} more files can run code when loaded"]


def told_obstacle(reason: StrEnum, error: ImageworksError, *, file: str | None = None) -> Blocker:
    """Return the obstacle that an error of a source is."""
    text = error.message if error.remedy is None else f"{error.message}; {error.remedy}"
    return Blocker(reason, f"{file}: {text}" if file else text)
