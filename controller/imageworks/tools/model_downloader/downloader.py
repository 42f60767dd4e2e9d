"""Download, list, verify and remove models from Python, by the same route as the command line.

What ``download`` does is what ``imageworks-models download`` does: declare the model, reconcile just that one, and
commit manifest, entry and snapshot together.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Final

from imageworks.files.progress import Progress
from imageworks.foundation.terminal import at_terminal
from imageworks.foundation.texts import several
from imageworks.host.settings import ARGUMENT, find_registry, load_host_settings
from imageworks.model_loader.download_adapter import RemovedDownload, remove_download
from imageworks.model_loader.entries import RegistryEntry, recorded_entry
from imageworks.model_loader.registry import DEFAULT_WAIT_SECONDS, load_registry
from imageworks.operations.download.declare import carry_out, check_plan, install, propose, shown_name
from imageworks.operations.download.draft import DeclarationDraft, DeclareError, DownloadRequest
from imageworks.operations.download.request import (
    allow_named,
    declared_location,
    identify,
    is_settled,
    keep_allowed,
    registry_or_new,
)
from imageworks.operations.verify.verify import verify
from imageworks.plan.facts import Blocker
from imageworks.plan.plan import Action, Plan
from imageworks.plan.report import Report
from imageworks.plan.verification import Verdict, Verified
from imageworks.providers.named_source import NamedSource
from imageworks.providers.selection.model import Why
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.documents.yaml_reader import parse_yaml
from imageworks.registry.entries import queries
from imageworks.registry.entries.completeness import why_incomplete
from imageworks.registry.entries.entry import Entry
from imageworks.registry.entries.lookup import UnknownModelError
from imageworks.registry.entries.statistics import Statistics, count
from imageworks.registry.manifests.manifest import Manifest, read_manifest
from imageworks.tools.model_downloader.questions import (
    NobodyToAsk,
    Questions,
    TerminalQuestions,
    answered,
)
from imageworks.tools.model_downloader.values import ChatTemplate, DownloadedModel, FilePartition, RepositoryMetadata

UNCHANGED: Final = "none"


@dataclass(frozen=True, slots=True)
class _Brought:
    """What came of bringing a model.

    Args:
        entry: What is recorded of it.
        action: What was done.
        report: What the run reports; ``None`` where nothing had to be done.
    """

    entry: Entry
    action: str = UNCHANGED
    report: Report | None = None


class ModelDownloader:
    """Downloads and manages the models of this host.

    Nothing is printed. Several processes may work at once: each waits for the registry's lock.

    Args:
        registry: The registry; found as every command finds it when absent.
        wait: Seconds to wait for another process that holds the registry.
        progress: Who is told how far a download is; nobody when absent.
        questions: Whom an interactive download asks; somebody at the terminal when absent.
        cancel: Set by another thread to call a download off.
    """

    def __init__(
        self,
        registry: Path | None = None,
        *,
        wait: float = DEFAULT_WAIT_SECONDS,
        progress: Progress | None = None,
        questions: Questions | None = None,
        cancel: Event | None = None,
    ) -> None:
        self._registry = registry
        self._cancel = cancel
        self._wait = wait
        self._progress = progress
        self._questions = questions

    def download(  # noqa: PLR0913 # the documented signature
        self,
        model_identifier: str,
        format_preference: Sequence[str] | str | None = None,
        location_override: str | Path | None = None,
        include_optional: bool = False,  # noqa: FBT001, FBT002 # the documented signature
        force_redownload: bool = False,  # noqa: FBT001, FBT002
        interactive: bool = True,  # noqa: FBT001, FBT002
        *,
        quantization: str | None = None,
        revision: str | None = None,
        backend: str | None = None,
        roles: Sequence[str] | str | None = (),
        declare: bool = True,
        include: Sequence[str] | str | None = (),
        exclude: Sequence[str] | str | None = (),
        weights: Sequence[str] | str | None = (),
        sha256: str | None = None,
        name: str | None = None,
    ) -> DownloadedModel:
        """Declare a model, bring and verify its files, and record all of it in one commit.

        Where nobody can be asked (``interactive=False``, or no terminal and no ``questions``), a model that is here is
        used as it is, and of several quantizations the usual one is taken; the result's ``notes`` say what was decided.

        Args:
            model_identifier: ``owner/repo``, ``owner/repo@branch``, ``hf.co/owner/repo:Q4_K_M``, the URL of a page,
                folder or file, ``ollama:NAME``, ``qwen2.5vl:7b``, or a file's address elsewhere with its ``sha256``.
            format_preference: Acceptable formats, the preferred one first; any when absent.
            location_override: A location's name, or a path, below which this host then allows models.
            include_optional: Whether documents, pictures and examples come too.
            force_redownload: Whether the pin moves and every byte is read again; what is not right is fetched.
            interactive: Whether somebody may be asked.
            quantization: Which one of several.
            revision: A branch, tag or commit, instead of ``@branch``.
            backend: What is to serve it; by the format when absent.
            roles: What it is to be used for.
            declare: Whether a manifest is written; else the model is only recorded.
            include: Globs: of weights and data only these, with the configuration that belongs to them.
            exclude: Globs: not these files.
            weights: Only these weights, with everything that is not weights.
            sha256: The digest of a file that an address outside the hub names.
            name: What it is to be called; by family, format and so on when absent.

        Raises:
            ImageworksError: It names no model, cannot be had, has no such format or quantization, or is blocked; what
                came so far is kept, and the same call resumes it.
            LockHeldError: Another process still holds the registry after waiting.
        """
        notes: list[str] = []
        repository = self._build_repository_metadata(
            model_identifier, revision=revision, quantization=quantization, sha256=sha256
        )
        wish = DownloadRequest(
            identifier=repository.identifier,
            formats=tuple(form.strip().lower() for form in several(format_preference)),
            quantization=quantization,
            backend=backend,
            roles=several(roles),
            location=declared_location(None if location_override is None else os.fspath(location_override)),
            optional=include_optional,
            force=force_redownload,
            include=several(include),
            exclude=several(exclude),
            weights=several(weights),
            name=name,
        )
        questions = self._whom_to_ask(notes, interactive=interactive)
        options = RunOptions(any_time=True, cancel=self._cancel)
        with (
            registry_or_new(self._registry, notes.append) as root,
            Run.open(
                root, host := load_host_settings(registry=root), options, progress=self._progress, wait=self._wait
            ) as run,
        ):
            wish = replace(wish, preferred=host.preferred_formats)
            wish, proposal = self._propose(run, wish, questions, notes)
            partition = self._partition_files(proposal)
            entry = proposal.entry
            if entry is not None and is_settled(proposal, wish, kept=declare):
                brought = _Brought(entry)
            else:
                if proposal.analysis is not None:
                    self._resolve_target_dir(run, proposal)  # refuses before files are looked at and bytes are planned
                plan = install(run, proposal, force=wish.force, kept=declare)
                check_plan(proposal, plan)
                keep_allowed(host, wish, notes.append)
                brought = self._download_selected_files(run, proposal, plan)
            recorded = self._register_download(run, brought)
            manifest = run.registry.manifests.get(recorded.name)
        left = () if include_optional else tuple(file.path for file in partition.optional)
        report = brought.report
        return DownloadedModel(
            name=recorded.name,
            display_name=shown_name(brought.entry),
            path=recorded.path or brought.entry.base,
            format=recorded.download_format,
            quantization=recorded.quantization,
            location=recorded.download_location,
            size_bytes=recorded.download_size_bytes,
            files=recorded.download_files,
            revision=brought.entry.revision,
            action=brought.action,
            manifest=manifest.file if manifest is not None else None,
            commit=report.commit if report is not None else None,
            chat_template=self._inspect_chat_templates(brought.entry),
            left_to_choose=left,
            notes=(*notes, *(report.notes if report is not None else ())),
            entry=recorded,
            incomplete=why_incomplete(brought.entry.fields),
        )

    def list_models(
        self,
        format_filter: str | None = None,
        location_filter: str | None = None,
        *,
        backend_filter: str | None = None,
        include_deprecated: bool = False,
        include_logical: bool = False,
        include_testing: bool = False,
    ) -> list[RegistryEntry]:
        """Return the recorded models of this host, by name.

        Args:
            format_filter: Only this container or quantization, or several with commas between.
            location_filter: Only this location, or below this folder.
            backend_filter: Only what this backend serves.
            include_deprecated: Whether models that are kept for going back count.
            include_logical: Whether models without files of their own do.
            include_testing: Whether models made by tests and demos do.
        """
        wanted = queries.ModelFilter(
            formats=tuple(part.strip() for part in (format_filter or "").split(",") if part.strip()),
            location=location_filter,
            backend=backend_filter,
            deprecated=include_deprecated,
            logical=include_logical,
            testing=include_testing,
            patterns=os.environ.get(queries.TESTING_VARIABLE),
        )
        models = load_registry(registry=self._registry)
        chosen = wanted.choose(model.fields for model in models.values())
        return [models[queries.text(model, "name")] for model in chosen]

    def remove_model(self, model_name: str, *, delete_files: bool = False, purge: bool = False) -> RemovedDownload:
        """Forget a model's download; a declared model's manifest changes in the same commit.

        Args:
            model_name: The variant name.
            delete_files: Whether its files go: those that are as recorded and that no other model has.
            purge: Whether its entry and its manifest go too.

        Raises:
            RemoveError: There is no such model, or nothing of it to remove, or its manifest has uncommitted changes.
        """
        return remove_download(
            model_name, keep_entry=not purge, delete_files=delete_files, registry=self._registry, wait=self._wait
        )

    def verify_model(self, model_name: str, *, full: bool = False) -> bool:
        """Return whether every recorded byte of a model is there and right, and all that loading it needs.

        A name that means no model is not right either; ``inspect_model`` says why.

        Args:
            model_name: The variant name, or anything else that only one model is called.
            full: Whether files that look unchanged are read too.
        """
        try:
            return self.inspect_model(model_name, full=full).verdict is Verdict.INTACT
        except UnknownModelError:
            return False

    def inspect_model(self, model_name: str, *, full: bool = False) -> Verified:
        """Return what verifying a model finds: a verdict, and each problem with its file.

        Args:
            model_name: The variant name, or anything else that only one model is called.
            full: Whether files that look unchanged are read too.

        Raises:
            UnknownModelError: No model, or more than one, is called so.
        """
        root = find_registry(self._registry, named_by=ARGUMENT)
        return verify(root, load_host_settings(registry=root), model_name, full=full)[0]

    def get_stats(self) -> Statistics:
        """Return this host's models, counted by format, quantization, backend and location, with their bytes."""
        wanted = queries.ModelFilter(deprecated=True, logical=True, patterns=os.environ.get(queries.TESTING_VARIABLE))
        return count(wanted.choose(model.fields for model in load_registry(registry=self._registry).values()))

    def _whom_to_ask(self, notes: list[str], *, interactive: bool) -> Questions:
        if not interactive:
            return NobodyToAsk(notes.append)
        if self._questions is not None:
            return self._questions
        why = "nobody can be asked without a terminal, so what was left open is decided as usual"
        return TerminalQuestions() if at_terminal() else NobodyToAsk(notes.append, why=why)

    @staticmethod
    def _build_repository_metadata(
        model_identifier: str,
        *,
        revision: str | None = None,
        quantization: str | None = None,
        sha256: str | None = None,
    ) -> RepositoryMetadata:
        """Return which repository and branch somebody means, whatever way they are written."""
        endpoint = load_host_settings().hub_endpoint
        identifier = identify(
            model_identifier, revision=revision, quantization=quantization, endpoint=endpoint, sha256=sha256
        )
        if isinstance(identifier, NamedSource):
            return RepositoryMetadata(identifier, "", str(identifier), None)
        owner, _, name = identifier.repo.rpartition("/")
        return RepositoryMetadata(identifier, owner, name, identifier.revision)

    @staticmethod
    def _propose(
        run: Run, wish: DownloadRequest, questions: Questions, notes: list[str]
    ) -> tuple[DownloadRequest, DeclarationDraft]:
        """Return what would be declared, once somebody decided what the wish leaves open."""
        allow_named(run, wish)
        proposal = propose(run, wish, questions.quantization)
        entry = proposal.entry
        if entry is not None and proposal.installed and not (wish.force or wish.location):
            decided = answered(wish, questions.existing(proposal.name, entry.path), proposal.label)
            if decided != wish:
                wish = decided
                allow_named(run, wish)
                proposal = propose(run, wish, questions.quantization)
        notes += proposal.notes
        return wish, proposal

    @staticmethod
    def _resolve_target_dir(run: Run, proposal: DeclarationDraft) -> Path:
        """Return the folder that a proposal leads to: by its location, else by the format of its weights.

        Raises:
            DeclareError: This host has no such place, or does not allow it.
        """
        analysis = proposal.analysis
        selection = analysis.selection if analysis is not None else None
        container = selection.container if selection is not None else None
        repo = analysis.resolved.repo if analysis is not None else None
        place = run.places.place(_manifest(proposal), container=container, repo=repo)
        if isinstance(place, Blocker):
            raise DeclareError(f"{proposal.name}: {place.message} ({place.reason.value})")
        return place.path

    @staticmethod
    def _partition_files(proposal: DeclarationDraft) -> FilePartition:
        """Return a repository's files by what is to become of them."""
        analysis = proposal.analysis
        if analysis is None or analysis.selection is None:
            return FilePartition((), (), analysis.files if analysis is not None else ())
        optional = {one.path for one in analysis.selection.left_out if one.why is Why.OPTIONAL}
        left = [one.file for one in analysis.selection.left_out]
        return FilePartition(
            required=analysis.selection.files,
            optional=tuple(file for file in left if file.path in optional),
            left_out=tuple(file for file in left if file.path not in optional),
        )

    @staticmethod
    def _download_selected_files(run: Run, proposal: DeclarationDraft, plan: Plan) -> _Brought:
        """Bring what a plan needs, through aria2c and streams; every byte is verified before it is published."""
        entry, report = carry_out(run, proposal, plan)
        action = next((change.action.value for change in plan.effective), Action.ADOPT.value)
        return _Brought(entry, action if report.outcomes else UNCHANGED, report)

    @staticmethod
    def _inspect_chat_templates(entry: Entry) -> ChatTemplate:
        """Return where the chat template was found among the verified files."""
        found = entry.part("chat_template")
        source, path, digest = (found.get(key) for key in ("source", "path", "sha256"))
        return ChatTemplate(
            source=source if isinstance(source, str) else "none",
            path=entry.base / path if isinstance(path, str) and entry.path is not None else None,
            sha256=digest if isinstance(digest, str) else None,
        )

    @staticmethod
    def _register_download(run: Run, brought: _Brought) -> RegistryEntry:
        """Return what the run's one commit of manifest, entry and snapshot records of the model."""
        return recorded_entry(run.registry, brought.entry.name)


def _manifest(proposal: DeclarationDraft) -> Manifest:
    document = parse_yaml(proposal.content, proposal.file).value
    return read_manifest(proposal.file, document if isinstance(document, dict) else {})
