"""Reconcile only what people signed, where this host or a registry asks for that."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from imageworks.config import HostSettings
from imageworks.foundation.json_reading import read_json_file
from imageworks.registry.entry import FOLDER as ENTRIES
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_messages import RECONCILED_REVISION
from imageworks.registry.git_values import UntrustedRegistryError
from imageworks.registry.load import RegistryState
from imageworks.registry.parsed import registry_key
from imageworks.registry.settings import FILE, read_settings
from imageworks.registry.validate import check_settings_file
from imageworks.transfer.renames import write_durably


@dataclass(frozen=True, slots=True)
class Known:
    """What this host knows of a registry's signatures by itself, which no commit of anybody can change.

    Args:
        required: Whether the registry.yaml that counted last required them.
        vouched: The commit whose signature counted last; empty when none did.
        entries: The ids of the folders of entries that this host recorded: the last, and one that it was about to.
    """

    required: bool = False
    vouched: str = ""
    entries: tuple[str, ...] = ()


NOTHING_KNOWN = Known()
NO_ENTRIES: Final = "none"


class Notes:
    """The file in which a host keeps what it knows of a registry's signatures.

    Args:
        host: This host's settings.
        registry: The registry folder.
    """

    def __init__(self, host: HostSettings, registry: Path) -> None:
        self._file = host.state_dir / "signed" / f"{registry_key(registry)}.json"

    def read(self) -> Known:
        """Return what is known; nothing where no signature was ever demanded."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = read_json_file(self._file)
            return Known(bool(found["required"]), str(found["vouched"]), tuple(map(str, found["entries"])))
        return NOTHING_KNOWN

    def write(self, known: Known) -> None:
        """Keep what is known.

        Args:
            known: That.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(self._file, json.dumps(asdict(known)).encode(), draft=self._file.with_suffix(".new"))

    def announce(self, entries: str) -> None:
        """Say that a folder of entries is about to be committed; a kill then leaves either that or the last one.

        Args:
            entries: The folder's id.
        """
        known = self.read()
        if known.entries and entries not in known.entries:
            self.write(replace(known, entries=(*known.entries, entries)))


class Trust:
    """Decides whether what a registry declares may be acted on.

    Args:
        repository: The registry.
        host: This host's settings.
    """

    def __init__(self, repository: RegistryRepository, host: HostSettings) -> None:
        self._repository = repository
        self._host = host
        self._notes = Notes(host, repository.root)

    def check(self, registry: RegistryState, *, remember: bool) -> None:
        """Refuse a registry whose manifests must be signed and are not.

        They must where this host's config.toml says so, where registry.yaml does, and where the registry.yaml that
        counted last did: a commit that takes the rule away has to be signed as well. What counted last is known from
        this host's own notes. A registry's history only stands in for lost ones: anybody may write what looks like our
        commit.

        Args:
            registry: The registry as it was read.
            remember: Whether what counts now is noted.

        Raises:
            UntrustedRegistryError: They must be signed and are not, or are older than what was accepted before; or the
                entries of this host are not what it recorded.
        """
        if registry.revision is None:
            return
        known = self._notes.read()
        said = registry.settings.require_signed
        before = _required_before(self._repository, registry) if known is NOTHING_KNOWN else known.required
        if not (self._host.require_signed or said or before):
            return
        from imageworks.registry.git_trust import check_signed, refuse_older  # most registries ask for no signature

        git = self._repository.program(os.environ)
        vouched = check_signed(self._repository, git, registry.revision)
        refuse_older(self._repository, git, vouched, known.vouched)
        entries = self._check_entries(registry, vouched, known)
        now = Known(said or bool(registry.settings_invalid and known.required), vouched, (entries,))
        if remember and now != known:
            self._notes.write(now)

    def _check_entries(self, registry: RegistryState, vouched: str, known: Known) -> str:
        """Return the id of this host's folder of entries, which decide what is moved and removed here.

        The controller signs nothing, so they count where this host knows them as its own, or a person signed them.
        """
        folder = f"{ENTRIES}/{registry.host}"
        now, signed = (self._repository.tree_id(one, folder) or NO_ENTRIES for one in (registry.recorded, vouched))
        if known.entries and now not in (*known.entries, signed):
            raise UntrustedRegistryError(
                f"{folder}: somebody else has changed what this host recorded",
                remedy=f"Look: git log {(registry.recorded or '')[:10]} -- {folder}. If that is meant: git commit "
                "--allow-empty -S -m 'Vouch for the entries'. Else take it back: git revert.",
            )
        return now


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


def refuse_unsigned(registry: RegistryState, host: HostSettings, manifests: Iterable[str]) -> None:
    """Refuse to write manifests where only a person's signature makes them count.

    Args:
        registry: The registry.
        host: This host's settings.
        manifests: The registry paths that a command is about to commit.

    Raises:
        UntrustedRegistryError: There are some, and signatures are required.
    """
    files = sorted(manifests)
    if files and (registry.settings.require_signed or host.require_signed):
        where = "registry.yaml (git.require_signed)" if registry.settings.require_signed else "this host's config.toml"
        raise UntrustedRegistryError(
            f"{files[0]}: {where} requires signed commits, which the controller cannot make",
            remedy="Write the file and sign it yourself: git commit -S. `reconcile` then brings the model.",
        )
