"""Report a host's last run on the ref that only this host writes, here and on the remote."""

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from imageworks import __version__
from imageworks.files.renames import write_durably
from imageworks.fleet.host_report import LARGEST_BYTES, HostReport, ReportedModel, bounded, read_report, short
from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.foundation.plain_files import read_plain_file
from imageworks.foundation.private_files import FILE_MODE, make_private_folder
from imageworks.git.host_refs import FETCHED, OWN, ref_name
from imageworks.git.remote import Counterpart, Remote, RemoteError
from imageworks.git.repository import RegistryRepository
from imageworks.host.settings import HostSettings
from imageworks.plan.plan import Action, Plan
from imageworks.plan.report import ModelResult, Report
from imageworks.reconcile.remote_sync import Sent
from imageworks.registry.load import settings_at

MACHINE_FILE: Final = "machine-id"
PUSH_ATTEMPTS: Final = 3
ALL: Final = "*"
LONGEST_SILENCE: Final = 3600.0
"""Seconds after which a watch reports the same again, so that others know that it lives."""


def machine_id(state_dir: Path) -> str:
    """Return the random id by which this machine is told from another that claims the same host name."""
    file = state_dir / MACHINE_FILE
    with suppress(OSError, UnicodeError):
        if found := read_plain_file(file, 100).decode("ascii").strip():
            return found
    made = secrets.token_hex(8)
    make_private_folder(state_dir)
    write_durably(file, f"{made}\n".encode(), draft=file.with_suffix(".new"), mode=FILE_MODE)
    return made


class RunReport:
    """Reports what one run comes to, where somebody asks for it; made before the run, for its time counts too.

    Args:
        root: The registry.
        host: This host's settings.
        asked: Whether the run is reported; by default as registry.yaml says.
        push: Whether it is sent to the remote; by default where there is one.
        repeats: Whether what was reported within the hour is reported again.
    """

    def __init__(
        self,
        root: Path,
        host: HostSettings,
        *,
        asked: bool | None = None,
        push: bool | None = None,
        repeats: bool = True,
    ) -> None:
        self._root = root
        self._host = host
        self._asked = asked
        self._push = push
        self._repeats = repeats
        self._began = time.monotonic()

    def _is_wanted(self) -> bool:
        if self._asked is None:
            repository = RegistryRepository.open(self._root, host=self._host.host)
            self._asked = settings_at(repository, repository.head(), self._host.host).report
        return self._asked

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Report what ends a run before its time, and let it end so."""
        try:
            yield
        except UsageError:
            raise
        except ImageworksError as error:
            with suppress(ImageworksError):  # what ended the run is the error to tell
                if self._is_wanted():
                    self._write(self._made(None, (), error=error.message))
            raise

    def finished(self, plan: Plan, report: Report | None = None) -> Sent:
        """Report a run that came to its end, and return what a person should know."""
        if not self._is_wanted():
            return Sent()
        return self._write(self.value(plan, report))

    def value(self, plan: Plan, report: Report | None = None) -> HostReport:
        """Return what a run came to; of a plan that nobody applied, what it would change."""
        outcomes = report.outcomes if report is not None else map(ModelResult, plan.effective)
        skipped = dict(report.skipped or {}) if report is not None else {}
        actions = {change.name: change.action.value for change in plan.changes}
        blocked = (change for change in plan.changes if change.action is Action.BLOCKED)
        models = [
            *(ReportedModel(one.name, one.action.value, one.reason.value, one.message or "blocked") for one in blocked),
            *(
                ReportedModel(
                    one.change.name,
                    one.change.action.value,
                    one.reason or one.change.reason.value,
                    one.error or "",
                )
                for one in outcomes
            ),
            *(ReportedModel(name, actions.get(name, ""), "skipped", why) for name, why in skipped.items()),
        ]
        wrong = [line for line in plan.diagnostics if not any(line in one.error for one in models)]
        return self._made(plan.registry_revision, models, error="; ".join(wrong[:3]))

    def _made(self, revision: str | None, models: Iterable[ReportedModel], *, error: str) -> HostReport:
        listed, more = bounded(models)
        return HostReport(
            host=self._host.host,
            machine="",
            version=__version__,
            revision=revision,
            finished=datetime.now(UTC),
            seconds=time.monotonic() - self._began,
            error=short(error),
            models=listed,
            more=more,
        )

    def _write(self, made: HostReport) -> Sent:
        try:
            made = replace(made, machine=machine_id(self._host.state_dir))
            if not self._repeats and self._is_known(made):
                return Sent()
            return Sent(write_report(self._root, self._host, made, push=self._push))
        except ImageworksError as problem:
            return Sent(problem=problem)

    def _is_known(self, report: HostReport) -> bool:
        """Return whether the same was reported a moment ago: a watch would report every few minutes."""
        last = last_report(RegistryRepository.open(self._root, host=self._host.host), report.host)
        age = (report.finished - last.finished).total_seconds() if last is not None else LONGEST_SILENCE
        return last is not None and last.same_outcome(report) and 0 <= age < LONGEST_SILENCE


def write_report(root: Path, host: HostSettings, report: HostReport, *, push: bool | None) -> tuple[str, ...]:
    """Point this host's ref to a report, and send it; returns what a person should know."""
    repository = RegistryRepository.open(root, host=host.host)
    refs, name = repository.host_refs, report.host
    sign = settings_at(repository, repository.head(), name).commits.sign
    if report.revision is None and (before := last_report(repository, name)) is not None:
        report = replace(report, revision=before.revision)  # what was applied last is still what is applied
    message = f"Report of {name}: {'ok' if report.succeeded else 'not as declared'}"

    def write(follows: str | None) -> str:
        signer = repository.signer if sign else None
        return refs.write(name, report.render(), message, follows=follows, signer=signer)

    commit = write(refs.tip(name) or refs.fetched(name))
    remote = Remote(repository.program(os.environ))
    if push is False or (branch := repository.branch()) is None or not remote.names():
        return ()
    there = report_counterpart(remote, branch, name)
    for _ in range(PUSH_ATTEMPTS):
        if remote.push(there, commit, own_branch=True):
            return ()
        fetch_reports(remote, there, name)
        theirs = refs.fetched(name)
        data = refs.content(theirs, limit=LARGEST_BYTES) if theirs is not None else None
        other = read_report(name, data) if data is not None else None
        if other is not None and other.machine != report.machine:
            raise RemoteError(
                f"{there.name}: another machine reports as {name} ({other.machine}, here {report.machine})",
                remedy="Give each host its own name (`host` in config.toml). If this is the same machine with a new "
                f"disk, let the old one be forgotten: git push {there.remote} :{there.ref}",
            )
        if theirs is None or not remote.is_ancestor(theirs, commit):
            commit = write(theirs)
    raise RemoteError(f"{there.name}: the report could not be sent", remedy="Run again; nothing is lost.")


def last_report(repository: RegistryRepository, host: str) -> HostReport | None:
    """Return what a host reported last, as far as is known here."""
    commit = repository.host_refs.tips().get(host)
    data = repository.host_refs.content(commit, limit=LARGEST_BYTES) if commit is not None else None
    return read_report(host, data) if data is not None else None


def report_counterpart(remote: Remote, branch: str, host: str) -> Counterpart:
    """Return where a host's ref lives on the remote of the checked-out branch."""
    name = ref_name(host)
    return replace(remote.counterpart(branch), ref=OWN + name, tracking=FETCHED + name)


def fetch_reports(remote: Remote, there: Counterpart, host: str = "") -> None:
    """Bring what hosts reported on a remote here: of one host, or of all."""
    name = ref_name(host) + ALL if host else ALL
    remote.fetch_below(there, OWN + name, FETCHED + name)


def drop_report(repository: RegistryRepository, host: str) -> tuple[str, ...]:
    """Forget what a retired host reported, here and on the remote; returns what a person should know."""
    refs, remote = repository.host_refs, Remote(repository.program(os.environ))
    reported = refs.tip(host) or refs.fetched(host)
    branch = repository.branch()
    if reported is None:
        return ()
    sent = branch is None or not remote.names() or remote.delete(report_counterpart(remote, branch, host))
    refs.drop(host)
    return () if sent else (f"its report is still on the remote: git push origin :{OWN}{ref_name(host)}",)
