"""How every host of a registry stands, from git alone: no disk and no other machine is looked at."""

import os
from collections.abc import Iterator, Mapping, Sequence
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
from imageworks.git.values import CommitRecord
from imageworks.host.settings import HostSettings
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
        self._notes: list[str] = []
        recorder = RegistryCommitter(self._repository, host)
        self._registry = read_registry(self._repository, host, recorder)
        if options.fetch:
            self._fetch(recorder)
        self._document = self._settings_document()
        self._registry = _without_own_entries(self._registry)
        del recorder  # with what it read of this host's entries, which is half of what a look takes
        self._known = KnownModels(host, self._repository.root)
        self._standings = Standings(self._repository, self._registry, self._known)

    def _fetch(self, recorder: RegistryCommitter) -> None:
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
        registry = recorder.load(revision=tip)
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
        hosts = tuple(self._hosts({name: recorded.get(name) for name in chosen}))
        self._known.save(known)
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

    def _hosts(self, recorded: Mapping[str, str | None]) -> Iterator[FleetHost]:
        """Yield hosts, given the commit that holds each one's entries."""
        head = self._registry.revision
        reports = {name: last_report(self._repository, name) for name in recorded}
        commits = self._last_applied(recorded)
        applied = {name: _applied(reports[name], commits.get(name)) for name in recorded}
        behind = self._repository.changes_since(filter(None, applied.values()), head, DECLARED) if head else {}
        self._standings.look_ahead(recorded)
        for name, revision in applied.items():
            report, commit = reports[name], commits.get(name)
            settings = read_settings(self._document, name)
            state = replace(self._registry, host=name, settings=settings)
            times = [one for one in (report.finished if report else None, commit.when if commit else None) if one]
            silent = report is not None and (self._now - report.finished).total_seconds() > self._options.silent_after
            yield FleetHost(
                name=name,
                labels=settings.labels,
                revision=revision,
                behind=behind.get(revision or ""),
                last=max(times, default=None),
                report=report,
                silent=silent,
                current=name == self._host.host,
                models=_with_failures(tuple(self._standings.of(state, recorded[name])), report),
            )

    def _last_applied(self, recorded: Mapping[str, str | None]) -> Mapping[str, CommitRecord]:
        """Return the last commit of each host's controller."""
        by_tip: dict[str, list[str]] = {}
        for name, tip in recorded.items():
            by_tip.setdefault(tip or "", []).append(name)
        found = [self._repository.last_applied_by(names, tip) for tip, names in by_tip.items() if tip]
        return {name: commit for some in found for name, commit in some.items()}


def _applied(report: HostReport | None, commit: CommitRecord | None) -> str | None:
    """Return the commit of the registry that a host applied last, as far as is known."""
    revision = report.revision if report is not None else None
    return revision or (commit.trailers.get(RECONCILED_REVISION) if commit is not None else None)


def _without_own_entries(registry: RegistryState) -> RegistryState:
    """Return a registry without this host's entries, and what is wrong with them is no matter of the others."""
    broken = {name for name, found in registry.blocked.items() if found[0].file.startswith(f"{ENTRIES}/")}
    readable = (registry.documents[name] for name in broken if name in registry.documents)
    again = (read_manifest(one.file, one.value) for one in readable if isinstance(one.value, dict))
    return replace(
        registry,
        entries={},
        documents={},
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
