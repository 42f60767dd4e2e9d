"""Reconcile only what people signed, where this host or a registry asks for that."""

import json
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.files.renames import write_durably
from imageworks.foundation.bounded_json import read_json_file
from imageworks.foundation.private_files import FILE_MODE, make_private_folder
from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import RECONCILED_REVISION
from imageworks.git.values import UntrustedRegistryError
from imageworks.host.settings import HostSettings, user_config_file
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.load import RegistryState, settings_at
from imageworks.registry.settings.settings import FILE
from imageworks.registry.snapshot_note import signature_notes

if TYPE_CHECKING:
    from imageworks.registry.signatures import SignedHistory


@dataclass(frozen=True, slots=True)
class KnownTip:
    """What this host knows of a registry's signatures by itself, which no commit of anybody can change.

    Args:
        required: Whether the registry.yaml that counted last required them.
        vouched: The commit whose signature counted last; empty when none did.
        entries: The ids of the folders of entries that this host recorded: the last, and one that it was about to.
        registry_id: Which registry it was, as registry.yaml said.
        since: The commit of this host's `require_signed_since` that it followed.
    """

    required: bool = False
    vouched: str = ""
    entries: tuple[str, ...] = ()
    registry_id: str = ""
    since: str = ""


NOTHING_KNOWN = KnownTip()
NO_ENTRIES: Final = "none"


class SignatureMemory:
    """The file in which a host keeps what it knows of a registry's signatures."""

    def __init__(self, host: HostSettings, registry: Path) -> None:
        self.file = signature_notes(host, registry)

    def read(self) -> KnownTip:
        """Return what is known; nothing where no signature was ever demanded."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = read_json_file(self.file)
            entries = tuple(map(str, found["entries"]))
            identity = str(found.get("registry_id", "")), str(found.get("since", ""))
            return KnownTip(bool(found["required"]), str(found["vouched"]), entries, *identity)
        return NOTHING_KNOWN

    def write(self, known: KnownTip) -> None:
        """Keep what is known."""
        make_private_folder(self.file.parent, top=self.file.parent.parent)
        data = json.dumps(asdict(known)).encode()
        write_durably(self.file, data, draft=self.file.with_suffix(".new"), mode=FILE_MODE)

    def rewind(self, commits: Collection[str], base: str) -> None:
        """Go back to a commit before some that are about to be made anew on top of what others sent."""
        known = self.read()
        if known.vouched in commits:
            self.write(replace(known, vouched=base))

    def announce(self, entries: str) -> None:
        """Say that a folder of entries is about to be committed; a kill then leaves either that or the last one."""
        known = self.read()
        if known.entries and entries not in known.entries:
            self.write(replace(known, entries=(*known.entries, entries)))


class Trust:
    """Decides whether what a registry declares may be acted on."""

    def __init__(self, repository: RegistryRepository, host: HostSettings) -> None:
        self._repository = repository
        self._host = host
        self._memory = SignatureMemory(host, repository.root)

    def check(self, registry: RegistryState, *, remember: bool) -> None:
        """Refuse a registry whose manifests must be signed and are not.

        They must where this host's config.toml says so, where registry.yaml does, and where the registry.yaml that
        counted last did: a commit that takes the rule away has to be signed as well. What counted last is known from
        this host's own notes. A registry's history only stands in for lost ones: anybody may write what looks like our
        commit.
        """
        if registry.revision is None:
            return
        known = self._memory.read()
        said = registry.settings.require_signed
        before = _required_before(self._repository, registry) if known is NOTHING_KNOWN else known.required
        if not (self._host.require_signed or said or before):
            return
        from imageworks.registry.signatures import SignedHistory  # most registries ask for no signature

        history = SignedHistory(self._repository, self._repository.program(os.environ))
        since = self._since(history, registry.revision, known)
        if known.vouched:
            self._refuse_other_history(history, registry.revision, known.vouched)
        listed = self._host.require_signed_since
        vouched = history.vouching(registry.revision, accepted=known.vouched or since, trusted=listed)
        identity = self._check_identity(registry, known)
        entries = self._check_entries(history, registry, known)
        required = said or bool(registry.settings_invalid and known.required)
        now = KnownTip(required, vouched, (entries,), identity, since)
        if remember and now != known:
            self._memory.write(now)

    def _since(self, history: "SignedHistory", tip: str, known: KnownTip) -> str:
        """Return the commit of this host's settings that a commit follows; empty where they name none."""
        listed = self._host.require_signed_since
        if not listed or known.since in listed:
            return known.since if listed else ""
        found = history.nearest_of(tip, listed)
        if found is None:
            raise UntrustedRegistryError(
                f"{self._repository.root}: {tip[:10]} follows no commit that require_signed_since names: an older "
                "state, or another registry's",
                remedy=f"{history.hint}Look at `git log`, and at require_signed_since in {user_config_file()}.",
            )
        return found

    def _refuse_other_history(self, history: "SignedHistory", tip: str, accepted: str) -> None:
        """Refuse a commit that does not follow what was accepted: signed as it may be, newer rules are not in it."""
        if history.nearest_of(tip, (accepted,)) is not None:
            return
        forget = f"let this host forget what it accepted: rm '{self._memory.file}'"
        merge = f"git merge -S -s ours --no-ff --no-edit {accepted[:10]}, or "
        raise UntrustedRegistryError(
            f"{self._repository.root}: {tip[:10]} does not follow {accepted[:10]}, which this host accepted before: an "
            "older state, a history that was rewritten, or another registry's",
            remedy=f"{history.hint}If that is meant: {merge if self._repository.has(accepted) else ''}{forget}",
        )

    def _check_identity(self, registry: RegistryState, known: KnownTip) -> str:
        """Return which registry this is: another one's commits, a fork's too, may be signed by the same people."""
        named, wanted = registry.settings.registry_id, self._host.registry_ids
        if registry.settings_invalid:
            return known.registry_id
        if wanted and named not in wanted:
            raise UntrustedRegistryError(
                f"{FILE}: the id of this registry is {named or 'not said'}, and registry_ids of this host names "
                f"{', '.join(sorted(wanted))}",
                remedy=f"Look where this clone comes from, and at registry_ids in {user_config_file()}.",
            )
        if known.registry_id and named != known.registry_id:
            raise UntrustedRegistryError(
                f"{FILE}: the id of this registry is {named or 'not said'} and was {known.registry_id}: this is "
                "another registry, signed by people whom you allow",
                remedy=f"Put `id: {known.registry_id}` back, or let this host forget it: rm '{self._memory.file}'",
            )
        return named

    def _check_entries(self, history: "SignedHistory", registry: RegistryState, known: KnownTip) -> str:
        """Return the id of this host's folder of entries, which decide what is moved and removed here.

        They count where this host knows them as its own, or a person signed them.
        """
        folder = f"{ENTRIES}/{registry.host}"
        recorded = registry.recorded or ""
        now = self._repository.tree_id(recorded, folder) or NO_ENTRIES
        if known.entries and now not in known.entries and not history.vouches_for(recorded, folder):
            raise UntrustedRegistryError(
                f"{folder}: somebody else has changed what this host recorded",
                remedy=f"Look: git log {(registry.recorded or '')[:10]} -- {folder}. If that is meant: git commit "
                "--allow-empty -S -m 'Vouch for the entries'. Else take it back: git revert.",
            )
        return now


def _required_before(repository: RegistryRepository, registry: RegistryState) -> bool:
    applied = repository.last_applied(registry.host, revision=registry.recorded)
    revision = applied.trailers.get(RECONCILED_REVISION) if applied else None
    if revision is not None and RevisionReader(repository, revision).file(FILE) == RevisionReader(
        repository, registry.revision
    ).file(FILE):
        return registry.settings.require_signed  # read already: judging it anew would load the schemas in each run
    return revision is not None and settings_at(repository, revision, registry.host).require_signed


def check_signing(repository: RegistryRepository, registry: RegistryState, host: HostSettings) -> None:
    """Refuse to begin what could not be committed, where the controller is to sign and cannot."""
    if registry.settings.commits.sign:
        repository.check_signing(must_count=registry.settings.require_signed or host.require_signed)


def refuse_unsigned(registry: RegistryState, host: HostSettings, manifests: Iterable[str]) -> None:
    """Refuse to write manifests where only a person's signature makes them count."""
    files = sorted(manifests)
    if files and not registry.settings.commits.sign and (registry.settings.require_signed or host.require_signed):
        where = "registry.yaml (git.require_signed)" if registry.settings.require_signed else "this host's config.toml"
        raise UntrustedRegistryError(
            f"{files[0]}: {where} requires signed commits, and the controller signs none here",
            remedy="Write the file and sign it yourself: git commit -S; `reconcile` then brings the model. Or let the "
            "controller sign with your key: `commit: {sign: true}` in registry.yaml.",
        )
