"""Declare a model by naming it: pin, choose, write the manifest, and reconcile just that one in the same commit."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from imageworks.detect.filenames import Container
from imageworks.errors import ImageworksError, UsageError
from imageworks.identifiers import HubIdentifier
from imageworks.naming import family_of
from imageworks.providers.select import select
from imageworks.providers.select_values import (
    DEFAULT_QUANTIZATION,
    LeftOut,
    QuantChoice,
    Request,
    Selection,
    SelectionError,
)
from imageworks.quant_labels import quantization_label
from imageworks.reconcile.analysis import Analysis, analyze
from imageworks.reconcile.choosing import asked_for, check_asked, request_of
from imageworks.reconcile.declared_files import NAMED, named_files, same_files, shown
from imageworks.reconcile.known import Asked, branch_of, is_of, known_name, usual_backend
from imageworks.reconcile.places import LINUX, NOT_TO_BE_USED
from imageworks.reconcile.plan import Action, Change, Plan, Reason
from imageworks.reconcile.report import Outcome, Report
from imageworks.reconcile.run import Run
from imageworks.reconcile.situation import Obstacle, Place
from imageworks.registry.edit import Keys, edit_manifest
from imageworks.registry.entry import Entry
from imageworks.registry.manifest import FOLDER, HuggingFaceSource, Manifest, State, is_commit
from imageworks.transfer.files import RemoteFile

if TYPE_CHECKING:
    from imageworks.registry.document import JsonValue

_FORMATS: Final = frozenset({"safetensors", "gguf", "mlx", "onnx", "pytorch"})
_PLAIN: Final = re.compile(r"[A-Za-z~/][A-Za-z0-9~/._@+-]*")
_SCHEMA: Final = ".schemas/manifest.schema.json"
_COLUMN: Final = 30  # where comments begin

Choose = Callable[[Sequence[QuantChoice], str | None], str]
"""Returns the quantization to take of several; gets the choices and the one that is proposed, if any."""


class DeclareError(ImageworksError):
    """A model cannot be declared as asked."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for.

    Args:
        identifier: The repository, with the revision and the quantization that were named with it.
        formats: Acceptable formats, the preferred one first; any when empty.
        quantization: Which one of several.
        backend: What is to serve it.
        roles: What it is to be used for.
        location: A location's name or a path, as a manifest has it.
        optional: Whether documents, pictures and examples are wanted too.
        force: Whether to move the pin and to read every byte again.
        preferred: Which formats this host takes first of several, where none is asked for.
        include: Globs: of weights and data exactly these.
        exclude: Globs: these do not come.
        weights: Globs over weights: exactly these, with everything that is not weights.
    """

    identifier: HubIdentifier
    formats: tuple[str, ...] = ()
    quantization: str | None = None
    backend: str | None = None
    roles: tuple[str, ...] = ()
    location: str | None = None
    optional: bool = False
    force: bool = False
    preferred: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be declared.

    Args:
        name: The variant name.
        file: The manifest's registry path.
        content: The manifest's bytes.
        analysis: What the repository is.
        entry: What is recorded under that name.
        installed: Whether the recorded files are there and unchanged.
        changed: Whether the manifest is new or not as it was.
        notes: What a person should know.
        beside: What to do where another model of the repository claims the same folder.
        label: The quantization that was chosen of several, if there was a choice.
        left_out: The repository's files that are not chosen, with the reason.
    """

    name: str
    file: str
    content: bytes
    analysis: Analysis
    entry: Entry | None
    installed: bool
    changed: bool
    notes: tuple[str, ...] = ()
    beside: str | None = None
    label: str | None = None
    left_out: tuple[LeftOut, ...] = ()


def propose(run: Run, wish: Wish, choose: Choose) -> Proposal:
    """Return the manifest that a wish leads to, asking the hub what there is and the person what stays open.

    Args:
        run: An open run.
        wish: What is asked for.
        choose: Decides between several quantizations.

    Raises:
        HubError: The repository does not exist, may not be seen, or the hub cannot be reached.
        SelectionError: It has nothing of that format or quantization.
        DeclareError: The name is taken by another model, or the manifest has uncommitted changes.
    """
    hub, asked = run.hub, wish.identifier
    if wish.force:
        hub.ask_anew()
    resolved = hub.resolve(asked.repo, asked.revision or "main")
    hub.check_access(resolved)
    files = hub.listing(resolved.repo, resolved.commit).files
    wanted = replace(asked, repo=resolved.repo, path=None)
    request = _request(wish, files)

    def look(form: str | None, label: str | None) -> Analysis:
        one = replace(wanted, quantization=label)
        return analyze(hub, one, run.places, container=form, backend=wish.backend, request=request)

    form = _choose_format(files, request, wish, look)
    label, selection = _choose_quantization(files, replace(request, format=form), choose)
    renamed = resolved.repo.lower() != asked.repo.lower()
    analysis = replace(look(form, label), renamed_from=asked.repo if renamed else None)
    check_asked(hub, resolved.repo, selection, analysis.facts)
    container = selection.container.value if selection.container is not None else None
    same = _same_files(run, analysis, request, selection)
    meant = Asked(analysis, asked.revision, container, label, wish.backend, same)
    analysis = replace(analysis, name=known_name(run.registry, meant))
    entry = run.registry.entries.get(analysis.name)
    chosen = _Chosen(analysis, selection, label, wish, request)
    location, notes = _location(run, chosen)
    manifest = _declared(run, chosen, entry)
    file = manifest.file if manifest is not None else f"{FOLDER}/{analysis.name}.yaml"
    if run.uncommitted(file):
        raise DeclareError(
            f"{file} has uncommitted changes",
            remedy=f"Commit them, then `reconcile {analysis.name}`; or take them back.",
        )
    before = run.committed(file) if manifest is not None else None
    notes += _check_files(manifest, chosen) if manifest is not None and before is not None else ()
    if manifest is None or before is None:
        content = _render(chosen, location, schema=_modeline(run))
    else:
        content = _edited(manifest, before, chosen)
        notes += _newer(manifest, analysis, wish)
    notes += (*selection.warnings, *_differing(analysis), *_lacking(analysis))
    if renamed:
        notes += (f"{asked.repo} is {resolved.repo} on the hub by now",)
    installed = entry is not None and (seen := run.observe(entry)) is not None and seen.intact
    installed = installed and not (entry is not None and _lacks(entry, resolved.commit, selection))
    beside = _other_pins(run, analysis, branch_of(asked.revision))
    return Proposal(
        name=analysis.name,
        file=file,
        content=content,
        analysis=analysis,
        entry=entry,
        installed=installed,
        changed=content != before,
        notes=notes,
        beside=beside,
        label=label,
        left_out=selection.left_out,
    )


def install(run: Run, proposal: Proposal, *, force: bool, kept: bool = True) -> Plan:
    """Return the plan of what a proposal needs, once the run has it declared.

    Args:
        run: An open run.
        proposal: What is to be declared.
        force: Whether every byte that is there is read again.
        kept: Whether the manifest is committed; else the model is recorded as one that was never declared.

    Raises:
        DeclareError: The manifest would make another one wrong.
    """
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


def check_plan(proposal: Proposal, plan: Plan) -> None:
    """Raise where a download cannot be carried out, before anything is written for it.

    Args:
        proposal: What is to be declared.
        plan: What it needs.

    Raises:
        DeclareError: It is blocked.
    """
    stopped = next((change for change in plan.changes if change.action is Action.BLOCKED), None)
    if stopped is not None:
        remedy = proposal.beside if stopped.reason is Reason.INVALID_MANIFEST else None
        raise DeclareError(f"{stopped.name}: {stopped.message} ({stopped.reason.value})", remedy=remedy)


def carry_out(run: Run, proposal: Proposal, plan: Plan) -> tuple[Entry, Report]:
    """Carry a download's plan out and return what is recorded, in one commit with the manifest.

    Args:
        run: The run that made the plan.
        proposal: What is declared.
        plan: What it needs.

    Raises:
        DeclareError: It is blocked or failed; nothing is declared then.
    """
    check_plan(proposal, plan)
    entry = run.registry.entries.get(proposal.name)
    if plan.effective or entry is None or entry.managed:
        report = run.apply(plan)
    else:  # it stood here undeclared, exactly as it is declared now
        managed = Entry(entry.name, {**entry.fields, "managed": True}, entry.files)
        change = Change(proposal.name, Action.ADOPT, Reason.FOUND)
        report = run.record([Outcome(change, entry=managed, recorded=True)])
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


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What was settled of a wish.

    Args:
        analysis: What the repository is.
        selection: The files that were chosen.
        label: The quantization that was chosen of several, if there was a choice.
        wish: What is asked for.
        request: What the wish asks of the repository's files.
    """

    analysis: Analysis
    selection: Selection
    label: str | None
    wish: Wish
    request: Request

    @property
    def container(self) -> str | None:
        """How the chosen weights are packed."""
        return self.selection.container.value if self.selection.container is not None else None


def _request(wish: Wish, files: Sequence[RemoteFile]) -> Request:
    """Return what a wish asks of a repository's files: by options, by a tag, or by the URL of a file or folder."""
    asked = wish.quantization or wish.identifier.quantization
    request = Request(
        quantization=(quantization_label(asked) or asked) if asked else None,
        include=wish.include,
        exclude=wish.exclude,
        weights=wish.weights,
        optional=wish.optional,
    )
    return asked_for(request, wish.identifier.path, files)


def _choose_format(
    files: Sequence[RemoteFile], request: Request, wish: Wish, look: Callable[[str | None, str | None], Analysis]
) -> str | None:
    """Return the first wanted format that the repository has; ``None`` where it is left to the repository.

    Formats that were asked for are all that is acceptable; those that the host only prefers refuse nothing.
    """
    refusal: SelectionError | None = None
    for form in wish.formats or wish.preferred:
        try:
            select(files, replace(request, format=form))
        except SelectionError as error:
            if not error.choices:
                refusal = refusal or error
                continue
        # awq, gptq and the like are told by the configuration, not by the names of files.
        if form in set(Container) or look(form, request.quantization).facts.quantization == quantization_label(form):
            return form
        refusal = refusal or SelectionError(
            f"there are no {form} weights here",
            remedy="Leave --format out to take what there is.",
            reason="no-such-format",
        )
    if refusal is not None and wish.formats:
        raise refusal
    return None


def _choose_quantization(files: Sequence[RemoteFile], request: Request, choose: Choose) -> tuple[str | None, Selection]:
    label = request.quantization
    try:
        return label, select(files, request)
    except SelectionError as error:
        if label is not None or not error.choices:
            raise
        labels = [choice.label for choice in error.choices]
        label = choose(error.choices, DEFAULT_QUANTIZATION if DEFAULT_QUANTIZATION in labels else None)
    return label, select(files, replace(request, quantization=label))


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


def _same_files(run: Run, analysis: Analysis, request: Request, selection: Selection) -> frozenset[str]:
    """Return the manifests that name files of the repository, and declare just what was chosen."""
    manifests = (one for one in run.registry.manifests.values() if named_files(request_of(one)))
    return frozenset(
        one.name
        for one in manifests
        if isinstance(one.source, HuggingFaceSource)
        and is_of(one.source.repo, analysis)
        and same_files(one, request, analysis.files, selection)
    )


def _is_about(obstacle: Obstacle, location: str) -> bool:
    """Return whether an obstacle is that of a location, which then is no way round it."""
    return obstacle.message.startswith(f"location {location}:")


def _location(run: Run, chosen: _Chosen) -> tuple[str | None, tuple[str, ...]]:
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
    if isinstance(place, Place):
        return (place.location if place.location in known else None), ()
    if place.reason in NOT_TO_BE_USED and LINUX in known and not _is_about(place, LINUX):
        return LINUX, (f"{place.message}; {LINUX} is taken instead",)
    return None, ()


def _declared(run: Run, chosen: _Chosen, entry: Entry | None) -> Manifest | None:
    """Return the manifest that has the name already, if it is one of the same repository."""
    name = chosen.analysis.name
    if problems := run.registry.blocked.get(name):
        raise DeclareError(f"{name}: {problems[0].render()}")
    manifest = run.registry.manifests.get(name)
    source = manifest.source if manifest is not None else None
    other = source.repo if isinstance(source, HuggingFaceSource) else source.label if source else None
    other = other if manifest is not None else entry.repo if entry is not None else None
    if other is not None and not is_of(other, chosen.analysis) and not chosen.wish.force:
        raise DeclareError(
            f"{name} is already the name of {other}",
            remedy="Rename that one (a new file name with `previously:`), or take its name with --force.",
        )
    return manifest


def _edited(manifest: Manifest, before: bytes, chosen: _Chosen) -> bytes:
    """Return an existing manifest with what the wish changes in it; everything else stays as people wrote it."""
    wish, resolved = chosen.wish, chosen.analysis.resolved
    changes: dict[Keys, JsonValue] = {}
    comments: dict[Keys, str] = {}
    source = manifest.source
    asked = wish.identifier.revision
    absent = manifest.state is not State.PRESENT
    if absent:
        changes["state",] = None
    pinned = source.revision if isinstance(source, HuggingFaceSource) else None
    if (wish.force or absent or (is_commit(asked) and asked != pinned)) and pinned != resolved.commit:
        changes["source", "huggingface"] = resolved.repo
        changes["source", "revision"] = resolved.commit
        comments["source", "revision"] = _pin_comment(chosen)
    asked_for_others = named_files(chosen.request) or chosen.label is not None
    if asked_for_others and not same_files(manifest, chosen.request, chosen.analysis.files, chosen.selection):
        changes.update({("source", key): value for key, value in named_files(chosen.request).items()})
        if chosen.label is not None:
            changes["quantization",] = chosen.label
    if wish.optional:
        changes["source", "optional"] = True
    if wish.location is not None:
        changes["location",] = wish.location
    if wish.backend is not None:
        changes["backend",] = wish.backend
    if wish.roles:
        changes["roles",] = list(dict.fromkeys([*manifest.texts("roles"), *wish.roles]))
    return edit_manifest(manifest.file, before, changes, comments=comments)


def _check_files(manifest: Manifest, chosen: _Chosen) -> tuple[str, ...]:
    """Return what to say of other files than declared ones; raise where they are asked for: none goes unasked."""
    if same_files(manifest, chosen.request, chosen.analysis.files, chosen.selection):
        return ()
    declared = f"{manifest.name} is declared with {shown(request_of(manifest))}"
    if not named_files(chosen.request) and chosen.label is None:
        return (f"{declared}; its manifest says which files come",)
    if chosen.wish.force:
        return ()
    raise DeclareError(declared, remedy=f"Change {manifest.file}, or replace what it says with --force.")


def _newer(manifest: Manifest, analysis: Analysis, wish: Wish) -> tuple[str, ...]:
    pinned = manifest.source.revision if isinstance(manifest.source, HuggingFaceSource) else None
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
        if not isinstance(source, HuggingFaceSource) or source.repo.lower() != repo.lower():
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


def _pin_comment(chosen: _Chosen) -> str:
    ref = chosen.wish.identifier.revision or "main"
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return day if is_commit(ref) else f"{ref}, {day}"


def _modeline(run: Run) -> str:
    """Return what editors check a new manifest by: the registry's own copy of the schema, else the published one."""
    if run.committed(_SCHEMA) is not None:
        return f"../{_SCHEMA}"
    from imageworks.registry.schema import load_schema

    return str(load_schema("manifest")["$id"])


def _render(chosen: _Chosen, location: str | None, *, schema: str) -> bytes:
    """Return a new manifest: pinned, with a comment behind each value that a person may want to change."""
    analysis, wish = chosen.analysis, chosen.wish
    resolved, ref = analysis.resolved, wish.identifier.revision
    backend = wish.backend or usual_backend(chosen.container)
    lines = [
        f"# yaml-language-server: $schema={schema}",
        f"# {resolved.repo}, as `imageworks-models download` found it. Change what you like and commit it: the next",
        "# `imageworks-models reconcile` makes this machine be so.",
        "schema_version: 1",
        "source:",
        f"  huggingface: {resolved.repo}",
        f'  revision: "{resolved.commit}" # {_pin_comment(chosen)}',
    ]
    if ref and ref != "main" and not is_commit(ref):
        tail = resolved.repo.rpartition("/")[2]
        lines.append(_line(f'  branch: "{ref}"', f"so its folder is called {tail}@{ref.replace('/', '-')}"))
    for key, value in named_files(chosen.request).items():
        lines.append(_line(f"  {key}: {json.dumps(value, ensure_ascii=False)}", NAMED[key]))
    if wish.optional:
        lines.append(_line("  optional: true", "documents, pictures and examples too"))
    if analysis.model is not None:
        family = family_of(
            analysis.model, revision=ref, download_format=chosen.container, quantization=analysis.facts.quantization
        )
        lines.append(_line(f"family: {json.dumps(family)}", "one of several models of the repository"))
    if chosen.container in _FORMATS:
        lines.append(_line(f"format: {chosen.container}", "how the weights are packed"))
    if chosen.label:
        lines.append(_line(f"quantization: {json.dumps(chosen.label)}", "which one of several"))
    lines.append(_line(f"backend: {backend}", "what serves it"))
    if location:
        lines.append(_line(f"location: {_scalar(location)}", "a location of registry.yaml, or a path"))
    if wish.roles:
        lines.append(_line(f"roles: {json.dumps(list(dict.fromkeys(wish.roles)))}", "what it is used for"))
    return ("\n".join(lines) + "\n").encode()


def _line(text: str, comment: str) -> str:
    return f"{text:<{_COLUMN - 1}} # {comment}"


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
