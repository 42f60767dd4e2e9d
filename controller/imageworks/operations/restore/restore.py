"""Bring an earlier state back as a new commit: manifests as they were, what they lead to, and entries that hold."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from imageworks.git.read import TREE_MODE
from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import HOST, RECONCILED_REVISION
from imageworks.git.values import UnsafePathError
from imageworks.operations.restore.entries import EntryDeed, by_place, decide_entry
from imageworks.operations.restore.manifests import Contents, differing_manifests, manifests_of, said, wanted_manifests
from imageworks.operations.restore.model import Restoration, RestoreError, RestoreRequest
from imageworks.plan.plan import Action, Plan
from imageworks.plan.report import OperationCancelledError, Report
from imageworks.reconcile.run import Run
from imageworks.registry.commit_reader import MANY, RevisionReader
from imageworks.registry.documents.diagnostic import Diagnostic, Refusal
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import Entry, InvalidEntryError, entry_file, packed_entry, read_entry
from imageworks.registry.entries.lookup import Named, UnknownModelError, find_name, named_in
from imageworks.registry.entries.packed import pack_text
from imageworks.registry.history.compare import compare, former_names
from imageworks.registry.history.model import FileVersion, ModelChange
from imageworks.registry.history.reader import HistoryReader
from imageworks.registry.history.states import to_be_parsed
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import State, manifest_name
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE
from imageworks.registry.validate import check_entry

_DIGITS: Final = 10


def prepare(run: Run, reader: HistoryReader, wish: RestoreRequest, *, reconciled: bool = True) -> Restoration:
    """Return what bringing a state back would do; the run has its manifests declared then, and nothing is touched."""
    repository = reader.repository
    wish = replace(wish, names=_called(run, repository, wish))
    files: dict[str, bytes | None] = {}
    refused: list[str] = []
    title = wish.title or _title(wish)
    before: Contents = {}
    if wish.manifests:
        before, then = differing_manifests(repository, run.registry.revision, wish.revision)
        wanted = wanted_manifests(before, then, wish.names)
        del then
        if len(wanted) > MANY:
            repository.let_go()
        _refuse_uncommitted(repository, wanted)
        files, refused = _valid(run, wanted, title)
    plan, unreachable = _planned(run, files, title, reconciled=reconciled)
    files = {file: content for file, content in files.items() if file not in unreachable}
    refused += list(dict.fromkeys(unreachable.values()))
    deeds: list[EntryDeed] = []
    if wish.entries:
        settled = _reconciled_names(run.registry) if reconciled and wish.manifests else frozenset[str]()
        deeds, problems = _entries(run, reader, wish, left_out=settled)
        refused += problems
    repository.let_go()  # a walk of the history, and folders of ten thousand names that were compared
    notes = () if wish.names or not wish.manifests else _notes(repository, run.registry.revision, wish.revision)
    return Restoration(wish, files, _in_words(before, files), plan, tuple(deeds), tuple(refused), title, notes)


def carry_out(run: Run, asked: Restoration, *, skipped: Mapping[str, str] | None = None) -> Report:
    """Bring a state back, in one commit of manifests, entries and snapshot."""
    outcomes = [deed.outcome for deed in asked.recorded]
    if asked.plan is None or not asked.plan.effective:
        return run.record(outcomes)
    report = run.apply(asked.plan, skipped=skipped, also=outcomes)
    if report.failed and run.cancelled:
        raise OperationCancelledError(report)
    for outcome in report.failed:
        raise RestoreError(
            f"{outcome.change.name}: {outcome.error}; nothing was committed",
            remedy="What came so far is kept and the same command resumes it; or name the models that can come back.",
        )
    return report


# --- manifests -----------------------------------------------------------------------------------------------------


def _refuse_uncommitted(repository: RegistryRepository, files: Iterable[str]) -> None:
    edited = set(repository.uncommitted(MODELS))
    for file in files:
        if file in edited:
            raise RestoreError(
                f"{file} has uncommitted changes", remedy="Commit them or take them back first; nothing was restored."
            )


def _valid(
    run: Run, wanted: Mapping[str, bytes | Refusal | None], title: str
) -> tuple[dict[str, bytes | None], list[str]]:
    """Return the manifests that can be committed, and what is wrong with the others; every commit validates (I2)."""
    refused = [f"{file} was {content.reason} then" for file, content in wanted.items() if isinstance(content, Refusal)]
    files = {file: content for file, content in wanted.items() if not isinstance(content, Refusal)}
    known = set(run.registry.diagnostics)
    while True:
        run.declare(files, (), title=title)
        fresh = [problem for problem in run.registry.diagnostics if problem not in known]
        bad = {problem.file for problem in fresh if files.get(problem.file) is not None}
        if not bad:
            break
        refused += [_refusal(problem) for problem in fresh if problem.file in bad]
        files = {file: content for file, content in files.items() if file not in bad}
    if fresh:
        run.declare({}, (), title=title)
        raise RestoreError(
            f"{fresh[0].render()}: restoring this would make it so",
            remedy="Name the models to restore, or both of them.",
        )
    return files, refused


def _planned(
    run: Run, files: Mapping[str, bytes | None], title: str, *, reconciled: bool
) -> tuple[Plan | None, dict[str, str]]:
    """Declare manifests and return what they lead to, without those whose bytes cannot be had, by file with the reason.

    What is declared now may work well: it does not make way for what could not be brought.
    """
    left_out: dict[str, str] = {}
    while True:
        wanted = {file: content for file, content in files.items() if file not in left_out}
        names = _concerned(run.registry, wanted)
        run.declare(wanted, names, title=title)
        if not (names and reconciled):
            return None, left_out
        plan = run.plan()
        stopped = {change.name: change for change in plan.changes if change.action is Action.BLOCKED}
        fresh: dict[str, str] = {}
        for file, content in wanted.items():
            change = stopped.get(manifest_name(file)) if content is not None else None
            if change is not None and content is not None:
                why = (
                    f"{change.name} cannot be brought: {change.message or change.reason.value} ({change.reason.value})"
                )
                former = former_names(said(file, content))
                paired = [one for one in wanted if wanted[one] is None and manifest_name(one) in former]
                fresh |= dict.fromkeys([file, *paired], why)
        if not fresh:
            return plan, left_out
        left_out |= fresh


def _refusal(problem: Diagnostic) -> str:
    return f"not valid any more: {problem.render()}"


def _concerned(registry: RegistryState, files: Mapping[str, bytes | None]) -> tuple[str, ...]:
    """Return the names that reconciling the manifests is about."""
    known = {*registry.manifests, *registry.entries, *registry.blocked}
    return tuple(sorted({manifest_name(file) for file in files} & known))


def _reconciled_names(registry: RegistryState) -> frozenset[str]:
    """Return the models whose entry follows from their manifest."""
    return frozenset(manifest.name for manifest in registry.applied if manifest.state is not State.SUSPENDED)


def _notes(repository: RegistryRepository, now: str | None, then: str) -> tuple[str, ...]:
    if repository.tree_id(now, SETTINGS_FILE) == repository.tree_id(then, SETTINGS_FILE):
        return ()
    return (f"{SETTINGS_FILE} was another then and stays as it is: `git checkout {then[:_DIGITS]} -- {SETTINGS_FILE}`",)


def _in_words(before: Contents, files: Mapping[str, bytes | None]) -> Sequence[ModelChange]:
    pairs = {file: (_version(file, before.get(file)), _version(file, content)) for file, content in files.items()}
    return compare(pairs)


def _version(file: str, content: bytes | Refusal | None) -> FileVersion | None:
    return None if content is None else to_be_parsed(file, content)


# --- entries -------------------------------------------------------------------------------------------------------


def _entries(
    run: Run, reader: HistoryReader, wish: RestoreRequest, *, left_out: frozenset[str]
) -> tuple[list[EntryDeed], list[str]]:
    """Return what happens to this host's entries, and which of then cannot be used."""
    registry = run.registry
    recorded = _recorded_then(reader, registry, wish.revision)
    sought = {former for manifest in registry.applied for former in manifest.previously}
    asked = {*wish.names, *(old for name in wish.names for old in _former_names(registry, name))}
    then, refused = entries_at(reader.repository, recorded, registry, left_out - sought, asked=asked)
    moved = {former for manifest in registry.applied for former in manifest.previously if manifest.name in left_out}
    scope = (set(wish.names) or {*then, *registry.entries}) - moved
    deeds, present = [], by_place(registry.entries.values())
    for name in sorted(scope - left_out):
        if name not in then and any(problem.startswith(entry_file(registry.host, name)) for problem in refused):
            continue
        deed = decide_entry(
            then.get(name) or _renamed_entry(registry, name, then),
            registry.entries.get(name),
            declared=name in registry.manifests,
            observe=run.observe,
            present=present,
        )
        if deed is not None:
            deeds.append(deed)
    return deeds, [problem for problem in refused if not wish.names or manifest_name(problem.split(":")[0]) in scope]


def _recorded_then(reader: HistoryReader, registry: RegistryState, revision: str) -> str:
    """Return the commit whose entries belong to a state: another one where they have a branch of their own."""
    own = f"{ENTRIES}/{registry.host}"
    if registry.recorded in {None, registry.revision} or reader.repository.tree_id(revision, own) is not None:
        return revision
    for record in reader.repository.log(own, revision=registry.recorded):
        reconciled = record.trailers.get(RECONCILED_REVISION, "")
        if record.trailers.get(HOST) == registry.host and reconciled and reader.is_ancestor(reconciled, revision):
            return record.id
    raise RestoreError(
        f"{registry.host} had recorded nothing by {revision[:_DIGITS]}",
        remedy="`imageworks-models history` shows what it recorded, and when.",
    )


def _renamed_entry(registry: RegistryState, name: str, then: Mapping[str, Entry]) -> Entry | None:
    """Return the entry that a model had under a former name, as it would be recorded under the present one."""
    former = next((old for old in _former_names(registry, name) if old in then), None)
    return Entry(name, {**then[former].fields, "name": name}, then[former].files) if former is not None else None


def _former_names(registry: RegistryState, name: str) -> Sequence[str]:
    manifest = registry.manifests.get(name)
    return manifest.previously if manifest is not None else ()


def entries_at(
    repository: RegistryRepository,
    revision: str | None,
    registry: RegistryState,
    left_out: Collection[str] = frozenset(),
    *,
    asked: Collection[str] = frozenset(),
) -> tuple[dict[str, Entry], list[str]]:
    """Return a host's entries at a commit by name, all or those asked for, and what is wrong with the unusable ones.

    One that is the same now is not read again, and one that is left out is only judged: there may be ten thousand.
    """
    folder = f"{ENTRIES}/{registry.host}"
    try:
        listed = repository.listing(revision, folder)
        now = repository.listing(registry.recorded, folder)
    except UnsafePathError as error:
        return {}, [error.message]
    reader = RevisionReader(repository, revision)
    found: dict[str, Entry] = {}
    refused: list[str] = []
    for file, at in sorted(listed.items()):
        name = manifest_name(file)
        if file.startswith(".") or at[1] == TREE_MODE or (asked and name not in asked):
            continue
        if now.get(file) == at and name in registry.entries:
            found[name] = registry.entries[name]
            continue
        path = f"{folder}/{file}"
        try:
            entry = usable_entry(path, reader.content(repository.reference(*at)))
        except RestoreError as error:
            refused.append(error.message)
        else:
            found |= {} if name in left_out else {name: entry}
    return found, refused


def usable_entry(file: str, content: bytes | Refusal) -> Entry:
    """Return an entry of an earlier state."""
    checked = check_entry(file, content)
    if checked.diagnostics or isinstance(content, Refusal):
        raise RestoreError(checked.diagnostics[0].render())
    try:
        return packed_entry(read_entry(file, content), pack_text(content))
    except InvalidEntryError as error:
        raise RestoreError(error.message) from error


# --- names ---------------------------------------------------------------------------------------------------------


def _called(run: Run, repository: RegistryRepository, wish: RestoreRequest) -> tuple[str, ...]:
    """Return the variant names of the models that are meant: present ones, or those of the state that is wanted."""
    if not wish.names:
        return ()
    then = {manifest_name(file) for file in manifests_of(repository, wish.revision)}
    then |= {manifest_name(file) for file in repository.list_files(wish.revision, f"{ENTRIES}/{run.registry.host}")}
    now = list(named_in(run.registry))
    gone = [Named(name) for name in sorted(then - {model.name for model in now})]
    try:
        return tuple(dict.fromkeys(find_name(name, [*now, *gone]) for name in wish.names))
    except UnknownModelError as error:
        if not error.matches:
            error.message += f", now or at {wish.revision[:_DIGITS]}"
        raise


def _title(wish: RestoreRequest) -> str:
    what = ", ".join(wish.names[:3]) + (f" and {len(wish.names) - 3} more" if len(wish.names) > 3 else "")  # noqa: PLR2004
    return f"Restore {what or 'the registry'} from {wish.revision[:_DIGITS]}"
