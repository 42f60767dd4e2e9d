"""A registry as Python code and notebooks use it: each method does what the command of its name does."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Self, Unpack

from imageworks.api.download import DownloadOptions, download
from imageworks.api.progress import ProgressWish, progress_for
from imageworks.api.results import COMMITS, PROBLEMS, STATUS, UPDATES, VERIFIED, PinMoves, ScanReport
from imageworks.files.progress import Progress
from imageworks.foundation.home import expanded
from imageworks.foundation.tables import ResultTable
from imageworks.host.settings import ARGUMENT, HostSettings, allow_root, find_registry, load_host_settings
from imageworks.model_loader.download_adapter import RemovedDownload, remove_download
from imageworks.model_loader.entries import RegistryEntry, recorded_entry
from imageworks.model_loader.registry import DEFAULT_WAIT_SECONDS, find_by_role, get_entry, model_table
from imageworks.operations.check_registry import check_registry
from imageworks.operations.history import called, open_history
from imageworks.operations.init_registry import make_registry
from imageworks.operations.promote import edits, promote
from imageworks.operations.restore.model import Restoration, RestoreRequest
from imageworks.operations.restore.restore import carry_out, prepare
from imageworks.operations.scan.record import record
from imageworks.operations.scan.scan import ScanOptions, root_of, survey
from imageworks.operations.updates.check_upstream import open_sources
from imageworks.operations.updates.pin import Moves, outdated, pin, update
from imageworks.operations.verify.verify import verify
from imageworks.plan.facts import PruneOptions
from imageworks.plan.plan import Action, Plan, StalePlanError
from imageworks.plan.report import OperationCancelledError, Report
from imageworks.plan.status import ModelStatus, model_statuses
from imageworks.plan.updates import Age, ModelUpdate
from imageworks.plan.verification import Verified
from imageworks.providers.locations import LINUX
from imageworks.providers.upstream import SourceResolver
from imageworks.reconcile.ledger import RecordSession
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.documents.diagnostic import Diagnostic
from imageworks.registry.entries.completeness import why_incomplete
from imageworks.registry.entries.lookup import find_in
from imageworks.registry.history.model import HistoryCommit
from imageworks.registry.history.reader import HistoryReader
from imageworks.tools.model_downloader.downloader import ModelDownloader
from imageworks.tools.model_downloader.values import DownloadedModel


class Registry:
    """A registry and this host's models in it, opened by `Registry.open`.

    Nothing is printed and nobody is asked. Methods may be called from several threads and processes: each waits for
    its turn where it has to.
    """

    def __init__(self, root: Path, *, progress: ProgressWish = "auto", wait: float = DEFAULT_WAIT_SECONDS) -> None:
        self.root = root
        self._progress = progress
        self._wait = wait

    @classmethod
    def open(
        cls, path: str | Path | None = None, *, progress: ProgressWish = "auto", wait: float = DEFAULT_WAIT_SECONDS
    ) -> Self:
        """Return a registry.

        Args:
            path: Its folder; found as every command finds it when absent.
            progress: ``auto`` for a bar at a terminal or in a notebook and nothing elsewhere; a callback, which may be
                called from any thread and gets a `ProgressEvent`; or ``None``.
            wait: Seconds to wait for another process that holds the registry.

        Raises:
            RegistryNotFoundError: There is none.
        """
        return cls(
            find_registry(None if path is None else expanded(path), named_by=ARGUMENT), progress=progress, wait=wait
        )

    @classmethod
    def create(cls, path: str | Path, *, progress: ProgressWish = "auto", wait: float = DEFAULT_WAIT_SECONDS) -> Self:
        """Make a registry, a fresh git repository or a folder in one, and return it.

        Args:
            path: Where.
            progress: As for `open`.
            wait: As for `open`.

        Raises:
            ImageworksError: Something stands there already.
        """
        made = make_registry(expanded(path).absolute(), load_host_settings())
        return cls(made.root, progress=progress, wait=wait)

    def __repr__(self) -> str:
        return f"<Registry {self.root} on {self.host}>"

    @property
    def host(self) -> str:
        """What this host is called in the registry."""
        return self._settings.host

    @property
    def _settings(self) -> HostSettings:
        return load_host_settings(registry=self.root)

    # --- as declared --------------------------------------------------------------------------------------------------

    def plan(self, *names: str, offline: bool = False, prune: bool = False) -> Plan:
        """Return what `reconcile` would do; writes nothing, anywhere.

        Args:
            names: The models to consider; all when none is given.
            offline: Whether the network may not be used.
            prune: Whether installed models that nothing declares are removed.
        """
        options = RunOptions(names, PruneOptions(enabled=prune), offline, read_only=True, mends_snapshot=True)
        with self._run(options) as run:
            return run.plan()

    def reconcile(
        self,
        *names: str,
        plan: Plan | None = None,
        prune: bool = False,
        confirm: tuple[str, ...] = (),
        offline: bool = False,
        jobs: int | None = None,
        cancel: Event | None = None,
    ) -> Report:
        """Make this host be as the registry declares, and commit what was done; nobody is asked.

        One model that is blocked or fails stops no other: `Report.ok` says whether all went well, and
        `Report.raise_for_failures` raises where it did not.

        Args:
            names: The models to consider; all when none is given.
            plan: What `plan` returned for the same arguments; refused where something else would be done by now.
            prune: Whether installed models that nothing declares are removed.
            confirm: Names of models whose removal asks for a confirmation by name.
            offline: Whether the network may not be used.
            jobs: Models and large files at once; as registry.yaml says when absent.
            cancel: Set by another thread to call it off.

        Raises:
            StalePlanError: Something else would be done than `plan` says.
            OperationCancelledError: `cancel` was set; its `report` says what was done before.
            LockHeldError: Another process still holds the registry after waiting.
        """
        options = RunOptions(
            names, PruneOptions(enabled=prune), offline, jobs=jobs, any_time=True, mends_snapshot=True, cancel=cancel
        )
        with self._run(options) as run:
            found = run.plan()
            if plan is not None and plan.fingerprint() != found.fingerprint():
                raise StalePlanError(
                    "something else would be done than the plan says",
                    remedy="Nothing was done. Look at a new plan, made with the same names and options.",
                )
            blocked = {one.name: one.message for one in found.changes if one.action is Action.BLOCKED}
            blocked |= {line.partition(":")[0]: line for line in found.diagnostics if not _is_said(line, blocked)}
            if found.has_changes:
                run.check_signing()
                report = run.apply(found, skipped=_unconfirmed(run, found, confirm))
            else:
                run.tidy()
                report = Report(found.host)
            sent = run.publish()
        report = replace(report, blocked=blocked, notes=(*found.notes, *report.notes, *sent.notes))
        if run.cancelled and report.failed:
            raise OperationCancelledError(report)
        if sent.problem is not None:
            raise sent.problem
        return report

    def status(self, *names: str, offline: bool = False) -> ResultTable[ModelStatus]:
        """Return whether each model is as declared, and its files are right, with the reason.

        Args:
            names: The models; all when none is given.
            offline: Whether the network may not be used.
        """
        with self._run(RunOptions(names, offline=offline, read_only=True)) as run:
            plan = run.plan()
            found = model_statuses(plan, run.situation, lambda entry: why_incomplete(entry.fields))
        return ResultTable(found, STATUS, "models")

    def validate(self) -> ResultTable[Diagnostic]:
        """Return what is wrong with manifests, settings and what controllers committed: nothing where it is empty."""
        return ResultTable(check_registry(self.root).diagnostics, PROBLEMS, "problems")

    # --- models -------------------------------------------------------------------------------------------------------

    def models(
        self,
        *,
        format: str | None = None,  # noqa: A002 # what `list` calls it
        location: str | None = None,
        backend: str | None = None,
        deprecated: bool = False,
    ) -> ResultTable[RegistryEntry]:
        """Return the recorded models of this host, by name.

        Args:
            format: Only this container or quantization, or several with commas between.
            location: Only this location, or below this folder.
            backend: Only what this backend serves.
            deprecated: Whether models that are kept for going back count.
        """
        found = ModelDownloader(self.root).list_models(
            format, location, backend_filter=backend, include_deprecated=deprecated, include_logical=True
        )
        return model_table(found)

    def model(self, name: str) -> RegistryEntry:
        """Return one model by its variant name, or by whatever else only one model is called.

        Raises:
            UnknownModelError: None or several are called so; it is a ``KeyError``.
        """
        return get_entry(name, registry=self.root)

    def find_by_role(self, role: str) -> ResultTable[RegistryEntry]:
        """Return the models that have a role, the one that the role would choose first."""
        return model_table(find_by_role(role, registry=self.root))

    def download(
        self, model: str, *, cancel: Event | None = None, **options: Unpack[DownloadOptions]
    ) -> DownloadedModel:
        """Declare a model, bring and verify its files, and record all of it in one commit.

        Args:
            model: Whatever `imageworks-models download` takes.
            cancel: Set by another thread to call it off.
            options: See `DownloadOptions`.
        """
        return download(model, registry=self.root, progress=self._progress, wait=self._wait, cancel=cancel, **options)

    def remove(self, name: str, *, delete_files: bool = False, purge: bool = False) -> RemovedDownload:
        """Forget a model's download; a declared model's manifest changes in the same commit.

        Args:
            name: The whole variant name.
            delete_files: Whether its files go: those that are as recorded and that no other model has.
            purge: Whether its entry and its manifest go too.
        """
        return remove_download(
            name, keep_entry=not purge, delete_files=delete_files, registry=self.root, wait=self._wait
        )

    def verify(self, *names: str, full: bool = False) -> ResultTable[Verified]:
        """Return what comparing recorded models with the disk finds: existence, sizes, full hashes, completeness.

        Args:
            names: The models; all when none is given.
            full: Whether files that look unchanged are read too.
        """
        host = self._settings
        with progress_for(self._progress) as shown:
            found = [
                one for name in names or (None,) for one in verify(self.root, host, name, full=full, progress=shown)
            ]
        return ResultTable(found, VERIFIED, "models")

    def scan(self, folder: str | Path | None = None, *, backend: str | None = None) -> ScanReport:
        """Record models that are on this machine already; moves and changes no file.

        Args:
            folder: The folder to look below, which this host then allows models in; the weights root when absent.
            backend: What will serve what is found.
        """
        host = self._settings
        with RecordSession.open(self.root, host, read_only=False, wait=self._wait) as session:
            base = root_of(LINUX, session) if folder is None else expanded(folder).absolute()
            if base is None:
                raise ValueError("this host has no weights root: name the folder to scan")
            options = ScanOptions(base, backend, named=folder is not None)
            found = survey(session, options)
            if found.findings and not host.allows(base):
                allow_root(base)
            with progress_for(self._progress) as shown:
                changes, unread = record(session, found.findings, options, shown)
            result = session.commit(changes)
            recorded = [recorded_entry(session.registry, name) for name in sorted(changes.written)]
        return ScanReport(
            model_table(recorded), (*found.passed, *unread), found.recorded, result.id if result is not None else None
        )

    def promote(self, *names: str) -> tuple[Path, ...]:
        """Write manifests of models that were found or only recorded, in one commit, and return their files.

        Args:
            names: The models.
        """
        with RecordSession.open(self.root, self._settings, read_only=False, wait=self._wait) as session:
            made = [promote(session, name) for name in dict.fromkeys(names)]
            session.commit(edits(made))
        return tuple(self.root / one.file for one in made)

    # --- upstream -----------------------------------------------------------------------------------------------------

    def outdated(self, *names: str, min_age_days: int = 0, offline: bool = False) -> ResultTable[ModelUpdate]:
        """Return how models stand against their sources; what could not be asked says so.

        Args:
            names: The models; all that are declared when none is given.
            min_age_days: How old a newer commit must be to count.
            offline: Whether the network may not be used.
        """
        with self._session(read_only=True, offline=offline) as (session, sources):
            return ResultTable(outdated(session, names, sources, _age(min_age_days)), UPDATES, "models")

    def pin(self, *names: str) -> PinMoves:
        """Turn branches and tags in manifests into full commit ids, in one commit.

        Args:
            names: The models; all that are declared when none is given.
        """
        with self._session(read_only=False) as (session, sources):
            return _moved(session, pin(session, names, sources, datetime.now(UTC).date(), aside=False), "Pin")

    def update(self, *names: str, min_age_days: int = 0) -> PinMoves:
        """Move pins to what their branches are at, in one commit; `reconcile` then brings the bytes.

        Args:
            names: The models; all that are declared when none is given.
            min_age_days: How old a commit must be to be moved to.
        """
        with self._session(read_only=False) as (session, sources):
            moves = update(session, names, sources, _age(min_age_days), aside=False)[0]
            return _moved(session, moves, "Update")

    # --- looking and going back ---------------------------------------------------------------------------------------

    def history(self, name: str | None = None, *, limit: int = 20) -> ResultTable[HistoryCommit]:
        """Return the commits that touched a model, or the registry, newest first.

        Args:
            name: The model; all when absent.
            limit: How many at most.
        """
        with open_history(self.root, cached=name is None) as reader:
            steps = reader.registry_steps() if name is None else reader.steps(called(reader, name, self.host))
            return ResultTable(islice(steps, limit), COMMITS, "commits")

    def plan_restore(self, *names: str, revision: str, entries: bool = False) -> Restoration:
        """Return what `restore` would do; writes nothing.

        Args:
            names: The models; all when none is given.
            revision: The commit, branch, tag, date or age to go back to.
            entries: Whether what this host recorded comes back too.
        """
        with self._restoration(names, revision, entries=entries, options=RunOptions(read_only=True)) as (_, asked):
            return asked

    def restore(
        self, *names: str, revision: str, entries: bool = False, offline: bool = False, cancel: Event | None = None
    ) -> Report:
        """Bring an earlier state back as a new commit, with the bytes that it leads to.

        Args:
            names: The models; all when none is given.
            revision: The commit, branch, tag, date or age to go back to.
            entries: Whether what this host recorded comes back too.
            offline: Whether the network may not be used.
            cancel: Set by another thread to call it off.

        Raises:
            RestoreError: It cannot be brought back.
        """
        options = RunOptions(offline=offline, any_time=True, cancel=cancel)
        with self._restoration(names, revision, entries=entries, options=options) as (run, asked):
            refused = dict.fromkeys(asked.refused, "cannot be brought back")
            if asked.plan is not None:
                refused |= {one.name: one.message for one in asked.plan.changes if one.action is Action.BLOCKED}
            if not asked.has_changes:
                return Report(run.registry.host, blocked=refused, notes=asked.notes)
            skipped = _unconfirmed(run, asked.plan, ()) if asked.plan is not None else {}
            return replace(carry_out(run, asked, skipped=skipped), blocked=refused)

    @contextmanager
    def _restoration(
        self, names: tuple[str, ...], revision: str, *, entries: bool, options: RunOptions
    ) -> "Iterator[tuple[Run, Restoration]]":
        with self._run(options) as run, open_history(self.root) as reader:
            yield run, prepare(run, reader, _wanted(reader, names, revision, entries=entries))

    @contextmanager
    def _run(self, options: RunOptions) -> Iterator[Run]:
        with (
            progress_for(self._progress) as shown,
            Run.open(self.root, self._settings, options, progress=shown, wait=self._wait) as run,
        ):
            yield run

    @contextmanager
    def _session(self, *, read_only: bool, offline: bool = False) -> Iterator[tuple[RecordSession, SourceResolver]]:
        with (
            progress_for(self._progress) as shown,
            RecordSession.open(self.root, self._settings, read_only=read_only, wait=self._wait) as session,
        ):
            yield session, open_sources(session, offline=offline, told=_noting(shown))


def _noting(shown: Progress) -> Callable[[str], None]:
    return lambda text: shown.note("hub", text)


def _wanted(reader: HistoryReader, names: tuple[str, ...], revision: str, *, entries: bool) -> RestoreRequest:
    return RestoreRequest(reader.repository.resolve(revision), tuple(dict.fromkeys(names)), entries=entries)


def _is_said(line: str, blocked: Mapping[str, str]) -> bool:
    return any(line in message for message in blocked.values())


def _unconfirmed(run: Run, plan: Plan, confirm: tuple[str, ...]) -> dict[str, str]:
    """Return the removals that ask for a confirmation by name and have none."""
    confirmed = {find_in(run.registry, name, whole=True) for name in confirm}
    asking = (change for change in plan.effective if change.needs_confirmation and change.name not in confirmed)
    return {change.name: f"its removal is not confirmed; give confirm=({change.name!r},)" for change in asking}


def _age(days: int) -> Age:
    return Age(timedelta(days=days), datetime.now(UTC))


def _moved(session: RecordSession, moves: Moves, verb: str) -> PinMoves:
    result = session.commit(moves.edits(verb)) if moves.made else None
    return PinMoves(moves.made, moves.refused, result.id if result is not None else None)
