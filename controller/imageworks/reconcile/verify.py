"""Verify recorded models: are the files there, of their size, and byte for byte as recorded. Repairs on request."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from imageworks.config import HostSettings
from imageworks.errors import ExitCode
from imageworks.foundation.isolation import InternalError, isolated
from imageworks.reconcile.compose import emptied_entry
from imageworks.reconcile.decide import has_files, stands_in_ollama
from imageworks.reconcile.ledger import Edits, Ledger
from imageworks.reconcile.places import Places
from imageworks.reconcile.plan import Action
from imageworks.reconcile.report import Report
from imageworks.reconcile.run import Run, RunOptions
from imageworks.registry.completeness import completeness, shown
from imageworks.registry.entry import ArtifactFile, Entry, aggregate_sha256
from imageworks.registry.load import RegistryState
from imageworks.registry.lookup import find_in
from imageworks.registry.version_lock import lock_of
from imageworks.transfer.digests import Algorithm, Digest, hash_files
from imageworks.transfer.files import Progress
from imageworks.transfer.locations import Locations
from imageworks.transfer.paths import NOT_THERE, is_there
from imageworks.transfer.state import STATE_FILE, Fingerprint, StateDatabase, StateError

FORMAT_VERSION: Final = 1

Result = TypeVar("Result")
Told = Callable[[int, int], None]
"""Gets the bytes hashed so far and those to hash, from any thread."""


class Verdict(StrEnum):
    """What came of verifying a model."""

    INTACT = "intact"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"
    MISSING = "missing"
    UNVERIFIED = "unverified"


class Fault(StrEnum):
    """What is wrong with one file, or with the model as a whole."""

    MISSING = "file-missing"
    SIZE = "size-mismatch"
    DIGEST = "digest-mismatch"
    UNREADABLE = "unreadable"
    LOCATION_ABSENT = "location-absent"
    LOCATION_CHANGED_DISK = "location-changed-disk"
    LOCATION_UNREADABLE = "location-unreadable"
    LOCK = "version-lock"
    NO_RECORD = "nothing-recorded"
    INTERNAL = "internal-error"
    MANIFEST = "manifest-mismatch"
    INCOMPLETE = "incomplete"
    UNRECOGNISED = "unrecognised"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Args:
        fault: What it is, as a word.
        message: What it is, as a sentence.
        path: The file's relative path; ``None`` for the whole model.
    """

    fault: Fault
    message: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of verifying one model.

    Args:
        name: The variant name.
        verdict: In one word.
        files: How many files are recorded.
        size: Their bytes.
        hashed: Bytes that were read; the others look as they did when they were hashed.
        problems: What is wrong.
    """

    name: str
    verdict: Verdict
    files: int = 0
    size: int = 0
    hashed: int = 0
    problems: tuple[Problem, ...] = ()

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "files": self.files,
            "size_bytes": self.size,
            "hashed_bytes": self.hashed,
            "problems": [{"path": p.path, "reason": p.fault.value, "message": p.message} for p in self.problems],
        }


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
        renewed: Files whose digests hold although they look otherwise than when they were hashed.
    """

    locations: Locations
    away: Mapping[str, Problem]
    faults: dict[Path, tuple[Fault, str]] = field(default_factory=dict)
    stats: dict[Path, os.stat_result] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)
    renewed: list[tuple[Path, Fingerprint, os.stat_result]] = field(default_factory=list)

    def is_as_it_was(self, path: Path, known: Fingerprint, found: os.stat_result) -> bool:
        """Return whether a file looks as when it was hashed, as far as its disk's numbers mean anything."""
        if not _may_read(path):
            return False
        if known.matches(found):
            return True
        if not known.matches(found, self.locations.numbers(path)):
            return False
        self.renewed.append((path, known, found))
        return True


def verify(
    root: Path, host: HostSettings, name: str | None, *, full: bool, told: Told | None = None
) -> tuple[Verified, ...]:
    """Return what came of verifying one recorded model or all of this host.

    Nothing is locked and the registry is not written; computed digests are remembered, so that unchanged files are not
    read again.

    Args:
        root: The registry folder.
        host: This host's settings.
        name: The model; all of the host when absent.
        full: Whether files that look unchanged are read too.
        told: Hears how far hashing is.

    Raises:
        UnknownModelError: No model has that name.
    """
    # Imported here: it gives results of this module's own kinds, and few registries have such entries.
    from imageworks.reconcile.file_list import lists_files_only, verify_list

    with Ledger.open(root, host, read_only=True) as ledger:
        registry = ledger.registry
        name = None if name is None else find_in(registry, name)
        known = {} if full else ledger.state.load_below(Path("/"))
        wanted = [ledger.places.current(entry) for entry in _wanted(registry, name)]
        away = {entry.name: why for entry in wanted if (why := _away(entry, ledger.places)) is not None}
        lists = [entry for entry in wanted if lists_files_only(entry) and entry.name not in away]
        listed = [_isolated(entry, lambda entry: verify_list(ledger, entry, told)[1]) for entry in lists]
        entries = [entry for entry in wanted if entry not in lists]
        look = _Look(ledger.places.locations, away)
        looked = [_isolated(entry, lambda entry: _look(entry, look, known)) for entry in entries]
    unseen = {failed.name: failed for failed in looked if failed is not None}
    _hash(look, host, told)
    entries = [entry for entry in entries if entry.name not in unseen]
    results = [_isolated(entry, lambda entry: _judge(entry, look, registry, anew=full)) for entry in entries]
    results = [*_with_manifests(entries, results), *listed, *unseen.values()]
    results += [
        Verified(broken, Verdict.UNVERIFIED, problems=(Problem(Fault.NO_RECORD, diagnostics[0].render()),))
        for broken, diagnostics in registry.blocked.items()
        if broken not in registry.entries and diagnostics and name in {None, broken}
    ]
    return tuple(sorted(results, key=lambda result: result.name))


def _wanted(registry: RegistryState, name: str | None) -> list[Entry]:
    if name is None:
        from imageworks.reconcile.file_list import lists_files_only

        entries = registry.entries.values()
        return [one for one in entries if has_files(one) or stands_in_ollama(one) or lists_files_only(one)]
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
        return Verified(entry.name, Verdict.UNVERIFIED, problems=(Problem(Fault.INTERNAL, error.render()),))


def _away(entry: Entry, places: Places) -> Problem | None:
    """Return why nothing can be said of a model: its disk is away, another, or does not answer."""
    if entry.path is None or stands_in_ollama(entry):
        return None
    obstacle = places.obstacle_at(entry.path)
    return None if obstacle is None else Problem(Fault(obstacle.reason.value), obstacle.message)


def _look(entry: Entry, look: _Look, known: Mapping[str, Fingerprint]) -> None:
    """Look at every file once, however many models record it, without reading any."""
    for file in entry.files if has_files(entry) and entry.name not in look.away else ():
        path = entry.base / file.path
        if path in look.faults or path in look.stats or path in look.digests:
            continue
        try:
            found = path.stat()
        except OSError as error:
            gone = error.errno in NOT_THERE
            what = (Fault.MISSING, "is gone") if gone else (Fault.UNREADABLE, f"cannot be looked at: {error.strerror}")
            look.faults[path] = what
            continue
        fingerprint = known.get(str(path)) or known.get(str(look.locations.former(path)))
        if found.st_size != file.size:
            look.faults[path] = (Fault.SIZE, f"has {found.st_size} bytes, recorded are {file.size}")
        elif fingerprint is not None and fingerprint.sha256 and look.is_as_it_was(path, fingerprint, found):
            look.digests[path] = fingerprint.sha256
        else:
            look.stats[path] = found


def _may_read(path: Path) -> bool:
    """Return whether this user may read a file; what nobody here can read is not called intact from memory."""
    return os.access(path, os.R_OK)


def _hash(look: _Look, host: HostSettings, told: Told | None) -> None:
    """Read what must be read, on all cores, and remember what it is where that can be written."""
    if look.renewed:
        with suppress(StateError), StateDatabase.open(host.state_dir / STATE_FILE) as state:
            state.renew(look.renewed)
    if not look.stats:
        return
    total, done = sum(found.st_size for found in look.stats.values()), 0

    def count(read: int) -> None:
        nonlocal done
        done += read
        if told is not None:
            told(done, total)

    learned: list[tuple[Path, os.stat_result, Digest]] = []
    for path, digest in hash_files(list(look.stats), Algorithm.SHA256, progress=count):
        if isinstance(digest, OSError):
            look.faults[path] = (Fault.UNREADABLE, f"cannot be read: {digest.strerror}")
            continue
        look.digests[path] = digest.value
        learned.append((path, look.stats[path], digest))
    with suppress(StateError), StateDatabase.open(host.state_dir / STATE_FILE) as state:
        state.remember_all(learned)


def _judge(entry: Entry, look: _Look, registry: RegistryState, *, anew: bool) -> Verified:
    if entry.name in look.away:
        away = (look.away[entry.name],)
        return Verified(entry.name, Verdict.UNVERIFIED, len(entry.files), entry.size, problems=away)
    if not has_files(entry):
        why = "no files are recorded, so there is nothing to compare"
        if stands_in_ollama(entry):
            why = f"no blobs of {entry.text('served_model_id')} are recorded, so only Ollama can tell"
        reason = Problem(Fault.NO_RECORD, why)
        return Verified(entry.name, Verdict.UNVERIFIED, problems=(reason,))
    paths = {file: entry.base / file.path for file in entry.files}
    problems = [problem for file, path in paths.items() if (problem := _problem(file, path, look)) is not None]
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
    hashed = sum(file.size for file, path in paths.items() if path in look.stats)
    return Verified(entry.name, verdict, len(entry.files), entry.size, hashed, tuple(problems))


def _complete(entry: Entry, *, anew: bool) -> tuple[Verdict, list[Problem]]:
    """Return whether right bytes are all that loading the model needs: an upload may lack something itself."""
    try:
        condition = completeness(entry.fields, anew=anew)
    except OSError as error:
        return Verdict.UNVERIFIED, [Problem(Fault.UNREADABLE, f"cannot be read: {error.strerror}", error.filename)]
    if condition is None or condition.get("status") == "True":
        return Verdict.INTACT, []
    if condition.get("status") == "False":
        return Verdict.INCOMPLETE, [Problem(Fault.INCOMPLETE, shown(condition))]
    return Verdict.INTACT, [Problem(Fault.UNRECOGNISED, shown(condition))]


def _with_manifests(entries: Sequence[Entry], results: list[Verified]) -> list[Verified]:
    """Return results with what Ollama's manifests say: the blobs may be there, and the name stand for others."""
    if not any(stands_in_ollama(entry) for entry in entries):
        return results
    from imageworks.reconcile.ollama_verify import StoreManifests

    manifests = StoreManifests()
    judged = []
    for entry, result in zip(entries, results, strict=True):
        found = manifests.problem(entry) if stands_in_ollama(entry) and result.verdict is not Verdict.MISSING else None
        if found is None:
            judged.append(result)
            continue
        told = result.verdict if found[0] is Fault.UNREADABLE and result.problems else Verdict.UNVERIFIED
        verdict = told if found[0] is Fault.UNREADABLE else Verdict.DAMAGED
        judged.append(replace(result, verdict=verdict, problems=(*result.problems, Problem(*found))))
    return judged


def _problem(file: ArtifactFile, path: Path, look: _Look) -> Problem | None:
    if path in look.faults:
        return Problem(*look.faults[path], file.path)
    if look.digests[path] != file.sha256:
        return Problem(Fault.DIGEST, f"is {look.digests[path][:12]}, recorded is {file.sha256[:12]}", file.path)
    return None


def _lock_drift(entry: Entry, registry: RegistryState) -> Iterable[Problem]:
    """Yield a locked digest that is not the recorded files' own."""
    expected = lock_of(registry.manifests.get(entry.name), entry).digest
    actual = aggregate_sha256(entry.files)
    if expected is not None and expected != actual:
        yield Problem(Fault.LOCK, f"version_lock expects {expected[:12]}, recorded is {actual[:12]}")


def clear_missing(
    root: Path, host: HostSettings, results: Collection[Verified], *, wait: float = 0.0
) -> tuple[str, ...]:
    """Clear what is recorded of files that are all gone, in one commit; entries stay, to be downloaded again.

    Args:
        root: The registry folder.
        host: This host's settings.
        results: What verifying found; each is looked at again under the lock.
        wait: Seconds to wait for another controller.

    Returns:
        The names of the cleared entries.
    """
    gone = {result.name for result in results if result.verdict is Verdict.MISSING}
    if not gone:
        return ()
    with Ledger.open(root, host, read_only=False, wait=wait) as ledger:
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
    """Reconcile just what is damaged or gone: the wrong files are fetched at the recorded commit, nothing else is.

    Args:
        root: The registry folder.
        host: This host's settings.
        results: What verifying found.
        progress: Who is told.
        wait: Seconds to wait for another controller.

    Returns:
        What was done, and by name why a model was left as it is.
    """
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
