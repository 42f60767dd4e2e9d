"""Declare a model by naming it: choose, write the manifest, and reconcile just that one in the same commit."""

from imageworks.detection.file_names import Container
from imageworks.foundation.errors import UsageError
from imageworks.naming.model_names import with_producer
from imageworks.operations.download.analyze import Analysis
from imageworks.operations.download.chosen import Choose, Chosen, choose_files
from imageworks.operations.download.declare_source import propose_source
from imageworks.operations.download.declared_files import named_files, same_files, shown
from imageworks.operations.download.draft import DeclarationDraft, DeclareError, DownloadRequest
from imageworks.operations.download.manifest_text import edited_manifest, modeline, new_manifest
from imageworks.operations.download.match_declared import branch_of, is_of
from imageworks.plan.facts import Blocker, TargetFolder
from imageworks.plan.plan import Action, Change, Plan, Reason
from imageworks.plan.report import ModelResult, OperationCancelledError, Report
from imageworks.providers.locations import LINUX, NOT_TO_BE_USED
from imageworks.providers.named_source import NamedSource
from imageworks.providers.selection.model import Selection
from imageworks.providers.selection.requested_files import request_of
from imageworks.reconcile.run import Run
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import FOLDER, Manifest, RepositorySource, State, is_commit


def propose(run: Run, wish: DownloadRequest, choose: Choose) -> DeclarationDraft:
    """Return the manifest that a wish leads to, asking the hub what there is and the person what stays open."""
    if isinstance(wish.identifier, NamedSource):
        return propose_source(run, wish, wish.identifier)
    run.check_signing()
    chosen = choose_files(run, wish, choose)
    analysis, selection = chosen.analysis, chosen.selection
    entry = run.registry.entries.get(analysis.name)
    location, notes = _location(run, chosen)
    manifest = _declared(run, chosen, entry)
    file = manifest.file if manifest is not None else f"{FOLDER}/{analysis.name}.yaml"
    if run.uncommitted(file):
        raise DeclareError(
            f"{file} has uncommitted changes",
            remedy=f"Commit them, then `reconcile {analysis.name}`; or take them back.",
        )
    before = run.committed(file) if manifest is not None else None
    if manifest is None or before is None:
        content = new_manifest(chosen, location, schema=modeline(run))
    else:
        notes += _check_files(manifest, chosen)
        content = edited_manifest(manifest, before, chosen)
        notes += _newer(manifest, analysis, wish)
    notes += (*selection.warnings, *_differing(analysis), *_lacking(analysis))
    if analysis.renamed_from is not None:
        notes += (f"{analysis.renamed_from} is {analysis.resolved.repo} on the hub by now",)
    return DeclarationDraft(
        name=analysis.name,
        file=file,
        content=content,
        analysis=analysis,
        entry=entry,
        installed=entry is not None and _stands(run, entry, chosen),
        changed=content != before,
        notes=notes,
        beside=_other_pins(run, analysis, branch_of(wish.hub.revision)),
        label=chosen.label,
        left_out=selection.left_out,
    )


def _stands(run: Run, entry: Entry, chosen: Chosen) -> bool:
    """Return whether a recorded model is here whole, with all files that would be chosen now."""
    seen = run.observe(entry)
    return seen is not None and seen.intact and not _lacks(entry, chosen.analysis.resolved.commit, chosen.selection)


def install(run: Run, proposal: DeclarationDraft, *, force: bool, kept: bool = True) -> Plan:
    """Return the plan of what a proposal needs, once the run has it declared."""
    if not kept and proposal.name in run.registry.manifests:
        raise UsageError(f"{proposal.name} is declared already, in {proposal.file}; --no-manifest is for a new model")
    files = {proposal.file: proposal.content} if proposal.changed else {}
    before = set(run.registry.diagnostics)
    run.declare(files, (proposal.name,), title=f"Download {proposal.name}", kept=kept)
    run.recheck()
    harmed = [one for one in run.registry.diagnostics if one not in before]
    if harmed and proposal.name not in run.registry.blocked:  # what is wrong with itself, its plan says
        raise DeclareError(f"{proposal.file} would make another manifest wrong: {harmed[0].render()}")
    if force and proposal.entry is not None:
        run.distrust(proposal.entry)
    return run.plan()


def check_plan(proposal: DeclarationDraft, plan: Plan) -> None:
    """Raise where a download cannot be carried out, before anything is written for it."""
    stopped = next((change for change in plan.changes if change.action is Action.BLOCKED), None)
    if stopped is not None:
        remedy = proposal.beside if stopped.reason is Reason.INVALID_MANIFEST else None
        raise DeclareError(f"{stopped.name}: {stopped.message} ({stopped.reason.value})", remedy=remedy)


def carry_out(run: Run, proposal: DeclarationDraft, plan: Plan) -> tuple[Entry, Report]:
    """Carry a download's plan out and return what is recorded, in one commit with the manifest."""
    check_plan(proposal, plan)
    entry = run.registry.entries.get(proposal.name)
    if plan.effective or entry is None or entry.managed:
        report = run.apply(plan)
    else:  # it stood here undeclared, exactly as it is declared now
        managed = Entry(entry.name, {**entry.fields, "managed": True}, entry.files)
        change = Change(proposal.name, Action.ADOPT, Reason.FOUND)
        report = run.record([ModelResult(change, entry=managed, recorded=True)])
    if report.failed and run.cancelled:
        raise OperationCancelledError(report)
    for outcome in report.failed:
        raise DeclareError(
            f"{proposal.name}: {outcome.error}", remedy="What came so far is kept; the same command resumes it."
        )
    return run.registry.entries[proposal.name], report


def shown_name(entry: Entry) -> str:
    """Return the name that people see: the display name, spelt as the repository is where it is the same."""
    display = entry.text("display_name") or entry.name
    tail = (entry.repo or "").rpartition("/")[2]
    return tail if tail.lower() == display.lower() else display


def _differing(analysis: Analysis) -> tuple[str, ...]:
    """Return that a GGUF file's name says another quantization than its header does."""
    if analysis.facts.detection.container is not Container.GGUF:
        return ()
    return tuple(text for text in analysis.facts.detection.warnings if "general.file_type" in text or " says " in text)


def _lacking(analysis: Analysis) -> tuple[str, ...]:
    """Return what a person should know before gigabytes come: that they are not all, or not a model of their own."""
    adapter = analysis.facts.adapter
    told = (adapter.told,) if adapter is not None else ()
    return (*(f"incomplete: {problem.message}" for problem in analysis.facts.problems), *told)


def _lacks(entry: Entry, commit: str, selection: Selection) -> bool:
    """Return whether files that would be chosen now were never recorded; what people chose by globs is theirs."""
    if entry.revision != commit or {"include", "exclude", "weights", "subfolder"} & entry.selection.keys():
        return False
    return not {file.path for file in selection.files} <= {file.path for file in entry.files}


def _is_about(obstacle: Blocker, location: str) -> bool:
    """Return whether an obstacle is that of a location, which then is no way round it."""
    return obstacle.message.startswith(f"location {location}:")


def _location(run: Run, chosen: Chosen) -> tuple[str | None, tuple[str, ...]]:
    """Return what a new manifest says of the location, and what a person should know of it."""
    known = run.registry.settings.locations
    asked = chosen.wish.location
    if asked is not None:
        if not asked.startswith(("/", "~")) and asked not in known:
            if (own := run.places.own_root(asked)) is not None:
                return str(own), (
                    f"registry.yaml has no location {asked}, so the manifest names its folder on this host",
                )
            raise UsageError(
                f"--location {asked}: registry.yaml has no such location",
                remedy=f"It has: {', '.join(sorted(known)) or 'none'}. Or give a path.",
            )
        return asked, ()
    place = chosen.analysis.place
    if isinstance(place, TargetFolder):
        return (place.location if place.location in known else None), ()
    if place.reason in NOT_TO_BE_USED and LINUX in known and not _is_about(place, LINUX):
        return LINUX, (f"{place.message}; {LINUX} is taken instead",)
    return None, ()


def _declared(run: Run, chosen: Chosen, entry: Entry | None) -> Manifest | None:
    """Return the manifest that has the name already, if it is one of the same repository."""
    name = chosen.analysis.name
    if problems := run.registry.blocked.get(name):
        raise DeclareError(f"{name}: {problems[0].render()}")
    manifest = run.registry.manifests.get(name)
    source = manifest.source if manifest is not None else None
    other = source.repo if isinstance(source, RepositorySource) else source.label if source else None
    other = other if manifest is not None else entry.repo if entry is not None else None
    if other is not None and not is_of(other, chosen.analysis) and not chosen.wish.force:
        raise DeclareError(
            f"{name} is already the name of {other}",
            remedy=f"Run it again with `--name {_free_name(run, chosen.analysis)}`, or take the name with --force.",
        )
    return manifest


def _free_name(run: Run, analysis: Analysis) -> str:
    """Return a name that tells a model from the one that has its usual name: who made it says that best."""
    taken = {*run.registry.manifests, *run.registry.entries, *run.registry.blocked}
    named = with_producer(analysis.name, analysis.resolved.repo)
    more = (f"{named}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (named, *more) if one not in taken)


def _check_files(manifest: Manifest, chosen: Chosen) -> tuple[str, ...]:
    """Return what to say of other files than declared ones; raise where they are asked for: none goes unasked."""
    if same_files(manifest, chosen.request, chosen.analysis.files, chosen.selection):
        return ()
    declared = f"{manifest.name} is declared with {shown(request_of(manifest))}"
    if not named_files(chosen.request) and chosen.label is None:
        return (f"{declared}; its manifest says which files come",)
    if chosen.wish.force:
        return ()
    raise DeclareError(declared, remedy=f"Change {manifest.file}, or replace what it says with --force.")


def _newer(manifest: Manifest, analysis: Analysis, wish: DownloadRequest) -> tuple[str, ...]:
    pinned = manifest.source.revision if isinstance(manifest.source, RepositorySource) else None
    commit = analysis.resolved.commit
    if wish.force or pinned is None or not is_commit(pinned) or pinned == commit:
        return ()
    return (f"{analysis.resolved.ref} is at {commit[:12]} by now; --force moves the pin from {pinned[:12]}",)


def _other_pins(run: Run, analysis: Analysis, branch: str | None) -> str | None:
    """Return what to do where another model of the repository is pinned elsewhere: they cannot share a folder."""
    repo, commit = analysis.resolved.repo, analysis.resolved.commit
    pins: dict[str, str] = {}
    for manifest in run.registry.manifests.values():
        source = manifest.source
        if not isinstance(source, RepositorySource) or source.repo.lower() != repo.lower():
            continue
        if branch_of(source.ref) != branch:  # it has a folder of its own
            continue
        if is_commit(source.revision) and source.revision != commit and manifest.state is State.PRESENT:
            pins[manifest.name] = source.revision
    other = min((name for name in pins if name != analysis.name), default=None)
    if other is None:
        return None
    return (
        f"{other} is at {pins[other][:12]}: to share its folder, give --revision {pins[other]}; "
        f"else give another --location, or `update {' '.join(sorted(pins))}` first."
    )
