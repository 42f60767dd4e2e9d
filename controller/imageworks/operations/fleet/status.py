"""How every host of a registry stands, from git alone: no disk and no other machine is looked at."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from imageworks.fleet.host_report import HostReport
from imageworks.fleet.status import FleetHost, FleetStatus, ModelOnHost, Standing
from imageworks.foundation.errors import ImageworksError
from imageworks.git.remote import Remote
from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import RECONCILED_REVISION
from imageworks.host.settings import HostSettings
from imageworks.operations.fleet.host_entries import HostEntries
from imageworks.operations.fleet.known_models import KnownModels
from imageworks.operations.fleet.report import fetch_reports, last_report, report_counterpart
from imageworks.operations.fleet.standings import Standings
from imageworks.reconcile.commit import RegistryCommitter
from imageworks.reconcile.open_registry import read_registry
from imageworks.reconcile.remote_sync import DECLARED
from imageworks.reconcile.signature_policy import Trust
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import read_manifest
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE
from imageworks.registry.settings.settings import read_settings
from imageworks.registry.validate import check_settings_file

SILENT_SECONDS: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What is asked of the fleet's status.

    Args:
        hosts: The hosts to show; all when empty.
        fetch: Whether the remote is asked first; the checked-out branch stays where it is.
        silent_after: Seconds without a report after which a host that reports is silent.
    """

    hosts: tuple[str, ...] = ()
    fetch: bool = False
    silent_after: float = SILENT_SECONDS


def fleet_status(root: Path, host: HostSettings, options: FleetOptions, *, now: datetime | None = None) -> FleetStatus:
    """Return how every host stands by the newest commit that is here."""
    return _Fleet(root, host, options, now or datetime.now(UTC)).status()


class _Fleet:
    def __init__(self, root: Path, host: HostSettings, options: FleetOptions, now: datetime) -> None:
        self._repository = RegistryRepository.open(root, host=host.host)
        self._host = host
        self._options = options
        self._now = now
        self._recorder = RegistryCommitter(self._repository, host)
        self._known = KnownModels(host, self._repository.root)
        self._behind: dict[str, int | None] = {}
        self._notes: list[str] = []
        self._registry = read_registry(self._repository, host, self._recorder)
        if options.fetch:
            self._fetch()
        self._document = self._settings_document()
        self._declared = [self._repository.tree_id(self._registry.revision, path) for path in DECLARED]
        self._registry = _without_own_entries(self._registry)
        self._standings = Standings(self._registry.manifests.values())
        self._entries = HostEntries(self._repository)

    def _fetch(self) -> None:
        """Take what the remote has for what is, where it follows the checked-out commit."""
        remote, branch = Remote(self._repository.program(os.environ)), self._repository.branch()
        if branch is None:
            self._notes.append("no branch is checked out, so nothing was fetched")
            return
        there = remote.counterpart(branch)
        tip = remote.fetch(there)
        fetch_reports(remote, report_counterpart(remote, branch, self._host.host))
        if before_host := (self._registry.settings.branch or "").partition("{host}")[0]:
            after_host = (self._registry.settings.branch or "").partition("{host}")[2]
            pattern = f"{before_host}*{after_host}"
            remote.fetch_below(there, f"refs/heads/{pattern}", f"refs/remotes/{there.remote}/{pattern}")
        head = self._repository.head()
        if tip is None or tip == head:
            return
        if head is not None and not remote.is_ancestor(head, tip):
            if not remote.is_ancestor(tip, head):
                self._notes.append(f"{there.name} has commits that do not follow the checked-out one; that one counts")
            return
        registry = self._recorder.load(revision=tip)
        Trust(self._repository, self._host).check(registry, remember=False)
        self._registry = registry
        self._notes.append(f"as of {there.name}, which is ahead of the checked-out commit")

    def _settings_document(self) -> Mapping[str, object]:
        content = RevisionReader(self._repository, self._registry.revision).file(SETTINGS_FILE)
        checked = check_settings_file(SETTINGS_FILE, content).document if content is not None else None
        return checked.value if checked is not None and isinstance(checked.value, dict) else {}

    def status(self) -> FleetStatus:
        recorded = self._recorded()
        known = {*self._registry.settings.hosts, *recorded, *self._repository.host_refs.tips()}
        for name in self._options.hosts:
            if name not in known:
                raise ImageworksError(
                    f"no host is called {name!r} in this registry",
                    remedy=f"Known are: {', '.join(sorted(known)) or 'none'}.",
                )
        chosen = sorted(known.intersection(self._options.hosts) if self._options.hosts else known)
        hosts = tuple(self._one(name, recorded.get(name)) for name in chosen)
        self._known.save()
        return FleetStatus(
            self._registry.revision,
            hosts,
            (*self._notes, *(line.render() for line in self._registry.diagnostics)),
        )

    def _recorded(self) -> dict[str, str | None]:
        """Return the commit that holds each host's entries, by the host's name."""
        revision = self._registry.revision
        found: dict[str, str | None] = dict.fromkeys(self._repository.folders(revision, ENTRIES), revision)
        found |= dict(self._repository.branches.of_hosts(self._registry.settings.branch or ""))
        return found

    def _one(self, name: str, recorded: str | None) -> FleetHost:
        settings = read_settings(self._document, name)
        state = replace(self._registry, host=name, settings=settings)
        report = last_report(self._repository, name)
        commit = self._repository.last_applied(name, revision=recorded) if recorded is not None else None
        applied = report.revision if report is not None else None
        applied = applied or (commit.trailers.get(RECONCILED_REVISION) if commit is not None else None)
        times = [one for one in (report.finished if report else None, commit.when if commit else None) if one]
        silent = report is not None and (self._now - report.finished).total_seconds() > self._options.silent_after
        return FleetHost(
            name=name,
            labels=settings.labels,
            revision=applied,
            behind=self._behind_by(applied),
            last=max(times, default=None),
            report=report,
            silent=silent,
            current=name == self._host.host,
            models=_with_failures(self._models(state, recorded), report),
        )

    def _behind_by(self, applied: str | None) -> int | None:
        head = self._registry.revision
        if applied is None or head is None:
            return None
        if applied not in self._behind:
            self._behind[applied] = self._repository.changes_since(applied, head, DECLARED)
        return self._behind[applied]

    def _models(self, state: RegistryState, recorded: str | None) -> Sequence[ModelOnHost]:
        """Return how each model stands by a host's entries; what was found before of the same files is not read."""
        entries = self._repository.tree_id(recorded, f"{ENTRIES}/{state.host}")
        at = ":".join(one or "" for one in (entries, *self._declared))
        found = self._known.get(state.host, at)
        if found is not None:
            return found
        return self._known.put(state.host, at, tuple(self._standings.of(state, self._entries.of(state.host, recorded))))


def _without_own_entries(registry: RegistryState) -> RegistryState:
    """Return a registry without what is wrong with this host's entries, which is no matter of the others."""
    broken = {name for name, found in registry.blocked.items() if found[0].file.startswith(f"{ENTRIES}/")}
    readable = (registry.documents[name] for name in broken if name in registry.documents)
    again = (read_manifest(one.file, one.value) for one in readable if isinstance(one.value, dict))
    return replace(
        registry,
        manifests={**registry.manifests, **{one.name: one for one in again}},
        blocked={name: found for name, found in registry.blocked.items() if name not in broken},
    )


def _with_failures(models: Sequence[ModelOnHost], report: HostReport | None) -> tuple[ModelOnHost, ...]:
    """Return how models stand with what the host's last run could not bring."""
    failed = report.failed if report is not None else {}
    if not failed:
        return tuple(models)
    return tuple(
        replace(model, standing=Standing.FAILED, reason=f"{one.reason}: {one.error}")
        if (one := failed.get(model.name)) is not None and model.standing not in {Standing.SUSPENDED, Standing.BLOCKED}
        else model
        for model in models
    )
