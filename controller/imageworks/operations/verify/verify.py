"""Verify recorded models: are the files there, of their size, and byte for byte as recorded. Repairs on request."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from imageworks.files.digests import Algorithm, hash_files
from imageworks.files.locations import Locations
from imageworks.files.progress import Progress
from imageworks.files.safe_paths import NOT_THERE, is_there
from imageworks.files.state import STATE_FILE, Fingerprint, StateDatabase, StateError, fingerprint_of
from imageworks.files.writers import why_shared
from imageworks.foundation.errors import ExitCode
from imageworks.foundation.isolation import InternalError, isolated
from imageworks.host.settings import HostSettings
from imageworks.operations.verify.unhashed import lists_files_only, verify_list
from imageworks.plan.plan import Action
from imageworks.plan.report import Report
from imageworks.plan.verification import Fault, FileProblem, Verdict, Verified
from imageworks.providers.disk import KnownFiles
from imageworks.providers.dispatch import store_of
from imageworks.providers.locations import HostLocations
from imageworks.providers.record import emptied_entry
from imageworks.reconcile.ledger import Edits, RecordSession
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.documents.diagnostic import Diagnostic
from imageworks.registry.entries.completeness import completeness, shown
from imageworks.registry.entries.entry import ArtifactFile, Entry, aggregate_sha256, has_files, stands_in_store
from imageworks.registry.entries.lookup import find_in
from imageworks.registry.load import RegistryState
from imageworks.registry.version_lock import lock_of

FORMAT_VERSION: Final = 1

Result = TypeVar("Result")


def exit_code(results: Iterable[Verified]) -> ExitCode:
    """Return 1 when something is damaged, missing or incomplete, else 3 when something was not verified, else 0."""
    verdicts = {result.verdict for result in results}
    if verdicts & {Verdict.DAMAGED, Verdict.MISSING, Verdict.INCOMPLETE}:
        return ExitCode.FAILURE
    return ExitCode.UNVERIFIED if Verdict.UNVERIFIED in verdicts else ExitCode.SUCCESS


@dataclass(slots=True)
class _Look:
    """What looking at files has found so far.

    Args:
        locations: Knows which disks the files are on, and what their numbers are worth.
        away: Why nothing can be said of a model, by its name.
        faults: Fault and message by path.
        stats: What each file to hash looks like.
        digests: sha256 by path, known or computed.
        renewed: What is known now of files whose digests hold although they look otherwise than when they were hashed.
        trusted: Users besides this one whose files are taken as they are.
        shared: Why somebody else could change a file, by its path; such a file is always read.
    """

    locations: Locations
    away: Mapping[str, FileProblem]
    faults: dict[str, tuple[Fault, str]] = field(default_factory=dict)
    stats: dict[str, Fingerprint] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    renewed: list[Fingerprint] = field(default_factory=list)
    trusted: frozenset[int] = frozenset()
    shared: dict[str, str] = field(default_factory=dict)

    def is_as_it_was(self, path: str, known: Fingerprint, found: os.stat_result) -> bool:
        """Return whether a file looks as when it was hashed, as far as its disk's numbers mean anything."""
        if not _may_read(path) or path in self.shared:
            return False
        if known.matches(found):
            return True
        if not known.matches(found, self.locations.numbers(Path(path))):
            return False
        self.renewed.append(known.renewed(path, found))
        return True


def verify(
    root: Path, host: HostSettings, name: str | None, *, full: bool, progress: Progress | None = None
) -> tuple[Verified, ...]:
    """Return what came of verifying one recorded model or all of this host.

    Nothing is locked and the registry is not written; computed digests are remembered, so that unchanged files are not
    read again.
    """
    told = progress or Progress()
    with RecordSession.open(root, host, read_only=True) as ledger:
        registry = ledger.registry
        name = None if name is None else find_in(registry, name)
        known: Mapping[str, Fingerprint] | KnownFiles = {} if full else KnownFiles(ledger.state)
        wanted = [ledger.places.current(entry) for entry in _wanted(registry, name)]
        away = {entry.name: why for entry in wanted if (why := _away(entry, ledger.places)) is not None}
        lists = [entry for entry in wanted if lists_files_only(entry) and entry.name not in away]
        listed = [_isolated(entry, lambda entry: verify_list(ledger, entry, told)[1]) for entry in lists]
        apart = {entry.name for entry in lists}
        entries = [entry for entry in wanted if entry.name not in apart]
        look = _Look(ledger.places.locations, away, trusted=host.trusted_users)
        looked = [_isolated(entry, lambda entry: _look(entry, look, known)) for entry in entries]
    unseen = {failed.name: failed for failed in looked if failed is not None}
    _hash(look, host, progress)
    entries = [entry for entry in entries if entry.name not in unseen]
    results = [_isolated(entry, lambda entry: _judge(entry, look, registry, anew=full)) for entry in entries]
    results = [*_with_manifests(entries, results), *listed, *unseen.values()]
    results += [
        Verified(broken, Verdict.UNVERIFIED, problems=(FileProblem(Fault.NO_RECORD, _with_remedy(diagnostics[0])),))
        for broken, diagnostics in registry.blocked.items()
        if broken not in registry.entries and diagnostics and name in {None, broken}
    ]
    return tuple(sorted(results, key=lambda result: result.name))


def _with_remedy(problem: Diagnostic) -> str:
    return "; ".join(filter(None, (problem.render(), problem.remedy)))


def _wanted(registry: RegistryState, name: str | None) -> list[Entry]:
    if name is None:
        entries = registry.entries.values()
        return [one for one in entries if has_files(one) or stands_in_store(one) or lists_files_only(one)]
    if name in registry.entries:
        return [registry.entries[name]]
    if name in registry.manifests:
        return [Entry(name, {"name": name})]  # declared and never brought: nothing is recorded of it
    return []  # what is recorded of it cannot be read


def _isolated(entry: Entry, work: Callable[[Entry], Result]) -> Result | Verified:
    """Return what some work gives for a model; what nobody foresaw is said of this one alone (I9)."""
    try:
        with isolated(entry.name):
            return work(entry)
    except InternalError as error:
        return Verified(entry.name, Verdict.UNVERIFIED, problems=(FileProblem(Fault.INTERNAL, error.render()),))


def _away(entry: Entry, places: HostLocations) -> FileProblem | None:
    """Return why nothing can be said of a model: its disk is away, another, or does not answer."""
    if entry.path is None or stands_in_store(entry):
        return None
    obstacle = places.obstacle_at(entry.path)
    return None if obstacle is None else FileProblem(Fault(obstacle.reason.value), obstacle.message)


def _look(entry: Entry, look: _Look, known: Mapping[str, Fingerprint] | KnownFiles) -> None:
    """Look at every file once, however many models record it, without reading any."""
    for path, file in _paths(entry).items() if has_files(entry) and entry.name not in look.away else ():
        if path in look.faults or path in look.stats or path in look.digests:
            continue
        try:
            found = os.stat(path)  # noqa: PTH116 # a Path for each of 50,000 files is 20 MB
        except OSError as error:
            gone = error.errno in NOT_THERE
            what = (Fault.MISSING, "is gone") if gone else (Fault.UNREADABLE, f"cannot be looked at: {error.strerror}")
            look.faults[path] = what
            continue
        if not stands_in_store(entry) and (why := why_shared(path, found, look.trusted)) is not None:
            look.shared[path] = why
        fingerprint = known.get(path) or known.get(str(look.locations.former(Path(path))))
        if found.st_size != file.size:
            look.faults[path] = (Fault.SIZE, f"has {found.st_size} bytes, recorded are {file.size}")
        elif fingerprint is not None and fingerprint.sha256 and look.is_as_it_was(path, fingerprint, found):
            look.digests[path] = fingerprint.sha256
        else:
            look.stats[path] = fingerprint_of(path, found)


def _paths(entry: Entry) -> dict[str, ArtifactFile]:
    """Return an entry's files by where they are."""
    base = str(entry.base).rstrip("/")
    return {f"{base}/{file.path}": file for file in entry.files}


def _may_read(path: str) -> bool:
    """Return whether this user may read a file; what nobody here can read is not called intact from memory."""
    return os.access(path, os.R_OK)


def _hash(look: _Look, host: HostSettings, progress: Progress | None) -> None:
    """Read what must be read, on all cores, and remember what it is where that can be written."""
    if look.renewed:
        with suppress(StateError), StateDatabase.open(host.state_dir / STATE_FILE) as state:
            state.keep(look.renewed)
    if not look.stats:
        return
    for path, digest in hash_files(look.stats, Algorithm.SHA256, progress=progress):
        if isinstance(digest, OSError):
            look.faults[path] = (Fault.UNREADABLE, f"cannot be read: {digest.strerror}")
        else:
            look.digests[path] = digest.value
    learned = ((found, look.digests[path]) for path, found in look.stats.items() if path in look.digests)
    with suppress(StateError), StateDatabase.open(host.state_dir / STATE_FILE) as state:
        state.keep(found._replace(sha256=digest) for found, digest in learned)


def _judge(entry: Entry, look: _Look, registry: RegistryState, *, anew: bool) -> Verified:
    if entry.name in look.away:
        away = (look.away[entry.name],)
        return Verified(entry.name, Verdict.UNVERIFIED, len(entry.files), entry.size, problems=away)
    if not has_files(entry):
        why = "no files are recorded, so there is nothing to compare"
        if (store := store_of(entry)) is not None:
            why = f"no blobs of {entry.text('served_model_id')} are recorded, so only {store.title} can tell"
        reason = FileProblem(Fault.NO_RECORD, why)
        return Verified(entry.name, Verdict.UNVERIFIED, problems=(reason,))
    paths = _paths(entry)
    problems = [problem for path, file in paths.items() if (problem := _problem(file, path, look)) is not None]
    problems += _lock_drift(entry, registry)
    faults = Counter(problem.fault for problem in problems)
    if faults[Fault.MISSING] == len(entry.files):
        verdict = Verdict.MISSING
    elif set(faults) - {Fault.UNREADABLE}:
        verdict = Verdict.DAMAGED
    else:
        verdict = Verdict.UNVERIFIED if faults else Verdict.INTACT
    if verdict is Verdict.INTACT:
        verdict, problems = _complete(entry, anew=anew)
        problems += [
            FileProblem(Fault.SHARED, look.shared[p], file.path) for p, file in paths.items() if p in look.shared
        ]
    hashed = sum(file.size for path, file in paths.items() if path in look.stats)
    return Verified(entry.name, verdict, len(entry.files), entry.size, hashed, tuple(problems))


def _complete(entry: Entry, *, anew: bool) -> tuple[Verdict, list[FileProblem]]:
    """Return whether right bytes are all that loading the model needs: an upload may lack something itself."""
    try:
        condition = completeness(entry.fields, anew=anew)
    except OSError as error:
        return Verdict.UNVERIFIED, [FileProblem(Fault.UNREADABLE, f"cannot be read: {error.strerror}", error.filename)]
    if condition is None or condition.get("status") == "True":
        return Verdict.INTACT, []
    if condition.get("status") == "False":
        return Verdict.INCOMPLETE, [FileProblem(Fault.INCOMPLETE, shown(condition))]
    return Verdict.INTACT, [FileProblem(Fault.UNRECOGNISED, shown(condition))]


def _with_manifests(entries: Sequence[Entry], results: list[Verified]) -> list[Verified]:
    """Return results with what stores' own records say: the bytes may be there, and the name stand for others."""
    stores = {entry.name: store for entry in entries if (store := store_of(entry)) is not None}
    verifiers = {store.name: store.verifier() for store in stores.values()}
    judged = []
    for entry, result in zip(entries, results, strict=True):
        store = stores.get(entry.name) if result.verdict is not Verdict.MISSING else None
        found = verifiers[store.name](entry) if store is not None else None
        if found is None:
            judged.append(result)
            continue
        told = result.verdict if found[0] is Fault.UNREADABLE and result.problems else Verdict.UNVERIFIED
        verdict = told if found[0] is Fault.UNREADABLE else Verdict.DAMAGED
        judged.append(replace(result, verdict=verdict, problems=(*result.problems, FileProblem(*found))))
    return judged


def _problem(file: ArtifactFile, path: str, look: _Look) -> FileProblem | None:
    if path in look.faults:
        return FileProblem(*look.faults[path], file.path)
    if look.digests[path] != file.sha256:
        return FileProblem(Fault.DIGEST, f"is {look.digests[path][:12]}, recorded is {file.sha256[:12]}", file.path)
    return None


def _lock_drift(entry: Entry, registry: RegistryState) -> Iterable[FileProblem]:
    """Yield a locked digest that is not the recorded files' own."""
    expected = lock_of(registry.manifests.get(entry.name), entry).digest
    actual = aggregate_sha256(entry.files)
    if expected is not None and expected != actual:
        yield FileProblem(Fault.LOCK, f"version_lock expects {expected[:12]}, recorded is {actual[:12]}")


def clear_missing(
    root: Path, host: HostSettings, results: Collection[Verified], *, wait: float = 0.0
) -> tuple[str, ...]:
    """Clear what is recorded of files that are all gone, in one commit; entries stay, to be downloaded again."""
    gone = {result.name for result in results if result.verdict is Verdict.MISSING}
    if not gone:
        return ()
    with RecordSession.open(root, host, read_only=False, wait=wait) as ledger:
        entries = [ledger.registry.entries[name] for name in sorted(gone & set(ledger.registry.entries))]
        entries = [ledger.places.current(entry) for entry in entries]
        here = [entry for entry in entries if _away(entry, ledger.places) is None]
        still = [entry for entry in here if has_files(entry) and not _any_left(entry)]
        cleared = {entry.name: emptied_entry(entry, entry.name, "FilesMissing", "files are gone") for entry in still}
        title = f"Verify {host.host}: clear what is gone"
        ledger.commit(Edits(written=cleared, title=title, lines=tuple(f"- {name}" for name in cleared)))
    return tuple(cleared)


def _any_left(entry: Entry) -> bool:
    return any(is_there(path) or os.path.lexists(path) for path in (entry.base / file.path for file in entry.files))


def repair(
    root: Path, host: HostSettings, results: Collection[Verified], progress: Progress, *, wait: float = 0.0
) -> tuple[Report | None, dict[str, str]]:
    """Reconcile just what is damaged or gone: the wrong files are fetched at the recorded commit, nothing else is."""
    damaged = {result.name: result for result in results if result.verdict in {Verdict.DAMAGED, Verdict.MISSING}}
    right = {Verdict.INTACT, Verdict.INCOMPLETE}  # what such a model lacks, its repository may have
    intact = {result.name for result in results if result.verdict in right}
    if not damaged and not intact:
        return None, {}
    options = RunOptions(names=tuple(sorted({*damaged, *intact})), any_time=True, restore_locked=True)
    with Run.open(root, host, options, progress=progress, wait=wait) as run:
        registry = run.registry
        for name, result in damaged.items():
            # What nobody could read was not found wrong, and is left alone.
            wrong = {
                problem.path for problem in result.problems if problem.path and problem.fault is not Fault.UNREADABLE
            }
            run.distrust(replace_files(registry.entries[name], wrong))
        run.recheck(anew=len(results) == 1)  # of all, that would spend what the hub allows in a while
        plan = run.plan()
        wanted = [one for one in plan.changes if one.name in damaged or one.action is Action.REPAIR]
        plan = replace(plan, changes=tuple(wanted))
        report = run.apply(plan) if plan.effective else None
        if report is None:
            run.tidy()
    left = {change.name: change.message for change in plan.changes if change not in plan.effective}
    left |= {outcome.change.name: outcome.error or "" for outcome in (report.failed if report else ())}
    planned = {change.name for change in plan.changes}
    undeclared = "no manifest declares it, so nothing says where its bytes come from; `promote` it first"
    unasked = "its manifest does not ask for files here: it is suspended, absent, or for other hosts"
    left |= {name: unasked if name in registry.manifests else undeclared for name in damaged if name not in planned}
    return report, left


def replace_files(entry: Entry, paths: Collection[str]) -> Entry:
    """Return an entry with only some of its files."""
    return replace(entry, files=tuple(file for file in entry.files if file.path in paths))
