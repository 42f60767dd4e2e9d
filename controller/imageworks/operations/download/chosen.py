"""What a person asks of a repository and what it holds become one choice: a format, a quantization, the files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from imageworks.detection.file_names import Container
from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.files.safe_paths import free_bytes
from imageworks.naming.quantization_labels import quantization_label
from imageworks.operations.download.analyze import Analysis, analyze
from imageworks.operations.download.declared_files import named_files, same_files
from imageworks.operations.download.draft import DeclareError, DownloadRequest, called_otherwise
from imageworks.operations.download.match_declared import DownloadMatch, is_of, known_name
from imageworks.plan.facts import TargetFolder
from imageworks.plan.plan import Reason
from imageworks.providers.dispatch import PROVIDERS, provider
from imageworks.providers.selection.model import (
    DEFAULT_QUANTIZATION,
    QuantChoice,
    Selection,
    SelectionError,
    SelectionRequest,
)
from imageworks.providers.selection.requested_files import asked_for, check_asked, request_of
from imageworks.providers.selection.select import select
from imageworks.reconcile.run import Run
from imageworks.registry.manifests.manifest import RepositorySource

Choose = Callable[[Sequence[QuantChoice], str | None], str]
"""Returns the quantization to take of several; gets the choices and the one that is proposed, if any."""


@dataclass(frozen=True, slots=True)
class Chosen:
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
    wish: DownloadRequest
    request: SelectionRequest

    @property
    def container(self) -> str | None:
        """How the chosen weights are packed."""
        return self.selection.container.value if self.selection.container is not None else None


def choose_files(run: Run, wish: DownloadRequest, choose: Choose) -> Chosen:
    """Return what a wish leads to, asking the hub what there is and the person what stays open."""
    hub, asked = run.sources.open(), wish.hub
    if wish.force:
        hub.ask_anew()
    try:
        resolved = hub.resolve(asked.repo, asked.revision or "main")
    except LinkError as error:
        if (other := _meant_elsewhere(error, asked.repo)) is not None:
            raise other from error
        raise
    hub.check_access(resolved)
    files = hub.listing(resolved.repo, resolved.commit).files
    wanted = replace(asked, repo=resolved.repo, path=None)
    request = _request(wish, files)

    def look(form: str | None, label: str | None) -> Analysis:
        one = replace(wanted, quantization=label)
        return analyze(hub, one, run.places, container=form, backend=wish.backend, request=request, resolved=resolved)

    form = _choose_format(files, request, wish, look)

    def choose_with_needs(choices: Sequence[QuantChoice], proposed: str | None) -> str:
        first = proposed or choices[0].label
        return choose(_with_needs(choices, look(form, first)) if wish.compare else choices, proposed)

    label, selection = _choose_quantization(files, replace(request, format=form), choose_with_needs)
    renamed = resolved.repo.lower() != asked.repo.lower()
    analysis = replace(look(form, label), renamed_from=asked.repo if renamed else None)
    check_asked(hub, resolved.repo, selection, analysis.facts)
    chosen = Chosen(analysis, selection, label, wish, request)
    same = _same_files(run, chosen)
    meant = DownloadMatch(analysis, asked.revision, chosen.container, label, wish.backend, same)
    named = _named(run, known_name(run.registry, meant), analysis, wish.name)
    return replace(chosen, analysis=replace(analysis, name=named))


def _request(wish: DownloadRequest, files: Sequence[RemoteFile]) -> SelectionRequest:
    """Return what a wish asks of a repository's files: by options, by a tag, or by the URL of a file or folder."""
    asked = wish.quantization or wish.hub.quantization
    request = SelectionRequest(
        quantization=(quantization_label(asked) or asked) if asked else None,
        include=wish.include,
        exclude=wish.exclude,
        weights=wish.weights,
        optional=wish.optional,
    )
    return asked_for(request, wish.hub.path, files)


def _choose_format(
    files: Sequence[RemoteFile],
    request: SelectionRequest,
    wish: DownloadRequest,
    look: Callable[[str | None, str | None], Analysis],
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


def _choose_quantization(
    files: Sequence[RemoteFile], request: SelectionRequest, choose: Choose
) -> tuple[str | None, Selection]:
    label = request.quantization
    try:
        return label, select(files, request)
    except SelectionError as error:
        if label is not None or not error.choices:
            raise
        labels = [choice.label for choice in error.choices]
        label = choose(error.choices, DEFAULT_QUANTIZATION if DEFAULT_QUANTIZATION in labels else None)
    return label, select(files, replace(request, quantization=label))


def _meant_elsewhere(error: LinkError, name: str) -> DeclareError | None:
    """Return a refusal that names other sources with such a name, which people mix up; ``None`` where there is none."""
    if error.reason != Reason.REPOSITORY_NOT_FOUND or "/" in name:
        return None
    others = [key for key in PROVIDERS if provider(key).named(f"{key}:{name}", None) is not None]
    meant = ", ".join(f"`{key}:{name}`" for key in others)
    return (
        DeclareError(error.message, remedy=f"{error.remedy or ''} Or did you mean {meant}?".strip()) if meant else None
    )


def _with_needs(choices: Sequence[QuantChoice], analysis: Analysis) -> list[QuantChoice]:
    """Return quantizations with the memory that each needs, by the header of one of them."""
    answer = analysis.memory()
    needs = {one.label: one.need.total for one in answer.forms} if answer.cached else {}
    count = analysis.facts.parameters.total if analysis.facts.parameters is not None else 0
    free = free_bytes(analysis.place.root) if isinstance(analysis.place, TargetFolder) else None
    return [
        replace(one, need=needs.get(one.label), bits=8 * one.size / count if count else None, free=free)
        for one in choices
    ]


def _same_files(run: Run, chosen: Chosen) -> frozenset[str]:
    """Return the manifests that name files of the repository, and declare just what was chosen."""
    manifests = (one for one in run.registry.manifests.values() if named_files(request_of(one)))
    return frozenset(
        one.name
        for one in manifests
        if isinstance(one.source, RepositorySource)
        and is_of(one.source.repo, chosen.analysis)
        and same_files(one, chosen.request, chosen.analysis.files, chosen.selection)
    )


def _named(run: Run, known: str, analysis: Analysis, asked: str | None) -> str:
    """Return what the model is called: as a person asks, unless it has a name here already."""
    if asked is None or asked == known:
        return known
    manifest, entry = run.registry.manifests.get(known), run.registry.entries.get(known)
    source = manifest.source if manifest is not None else None
    repo = source.repo if isinstance(source, RepositorySource) else entry.repo if entry is not None else None
    if (manifest is not None or entry is not None) and is_of(repo, analysis):
        raise called_otherwise(known, asked, declared=manifest is not None)
    return asked
