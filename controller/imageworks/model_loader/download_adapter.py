"""Record, list and remove downloads from Python: the one route into the registry for what stands on this machine.

Each change is one commit of entry and snapshot, made under the registry's lock: several processes may make theirs at
once, and each waits for its turn.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.files.progress import Progress, TotalProgress
from imageworks.foundation.home import expanded
from imageworks.foundation.texts import several
from imageworks.host.settings import ARGUMENT, find_registry, load_host_settings
from imageworks.model_loader.entries import RegistryEntry, recorded_entry
from imageworks.model_loader.registry import DEFAULT_WAIT_SECONDS, load_registry
from imageworks.operations.download.request import registry_or_new
from imageworks.operations.record_download import Described, ImportSkipped, RecordError, give_roles, record_model
from imageworks.operations.remove import carry_out, prepare
from imageworks.reconcile.ledger import RecordSession
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.entries import queries

__all__ = [
    "ImportSkipped",
    "RecordError",
    "RegistryEntry",
    "RemovedDownload",
    "list_downloads",
    "record_download",
    "remove_download",
]

OLLAMA_SCHEMES: Final = ("ollama:/",)

Told = Callable[[int, int], None]
"""Gets the bytes hashed so far and those to hash, from any thread."""


@dataclass(frozen=True, slots=True)
class RemovedDownload:
    """What removing a download did.

    Args:
        name: The model.
        deleted_files: How many files were deleted.
        bytes_freed: What the filesystem got back.
        entry_kept: Whether its entry still describes it.
        commit: The commit that records it.
        notes: What a person should know, such as what its manifest says from now on.
    """

    name: str
    deleted_files: int
    bytes_freed: int
    entry_kept: bool
    commit: str | None
    notes: tuple[str, ...] = ()


def record_download(  # noqa: PLR0913 # the documented signature, all of it by name
    *,
    hf_id: str | None = None,
    backend: str = "unassigned",
    format_type: str | None = None,
    quantization: str | None = None,
    path: str | Path,
    location: str | None = None,
    family_override: str | None = None,
    served_model_id: str | None = None,
    files: Sequence[str] | None = None,  # noqa: ARG001 # the documented signature
    size_bytes: int | None = None,  # noqa: ARG001
    source_provider: str | None = None,
    roles: Sequence[str] | str | None = None,
    role_priority: Mapping[str, int] | None = None,
    extra_metadata: Mapping[str, object] | None = None,
    display_name: str | None = None,
    include_testing: bool = False,
    registry: Path | None = None,
    wait: float = DEFAULT_WAIT_SECONDS,
    told: Told | None = None,
) -> RegistryEntry:
    """Record a model that stands on this machine: its files are hashed, described and committed as an adopted entry.

    What a look at the files shows wins over ``format_type`` and ``quantization``, which only fill in what it does not.
    A model that was recorded as ``unassigned`` is migrated to a concrete backend instead of being recorded twice; one
    that is recorded already, with the same bytes, is returned as it is, and nothing is committed.

    Args:
        hf_id: The repository that it came from, perhaps with ``@branch``; without one the path's tail names it.
        backend: What serves it.
        format_type: Its format, where none can be detected.
        quantization: Its quantization, where none can be detected.
        path: Its folder, or its only file.
        location: The name of the location that it stands in; found from the path when absent.
        family_override: The first part of its name, instead of the repository's.
        served_model_id: What clients call it.
        files: Not needed: the files that stand there are listed.
        size_bytes: Not needed: they are counted.
        source_provider: Which provider it came from.
        roles: What it is used for, besides what it is used for already. Only manifests say that, so one is written
            where nothing declares the model yet, in a second commit.
        role_priority: By role, the number by which the role chooses; the highest wins.
        extra_metadata: What else is known of it; what a look at the files shows wins.
        display_name: The name that people see.
        include_testing: Whether a model that a test or a demo made is recorded too.
        registry: The registry; found as every command finds it when absent, and made where there is none.
        wait: Seconds to wait for another process that holds the registry.
        told: Told how far hashing is.

    Raises:
        ImportSkipped: A test or a demo made it.
        RecordError: Nothing that can be recorded stands there, or a manifest or a lock has a say in it.
        PromoteError: It has roles, and no manifest can declare it.
        LockHeldError: Another process still holds the registry after waiting.
    """
    said = Described(
        path=Path(os.path.normpath(expanded(path).absolute())),
        backend=backend,
        repo=hf_id,
        container=format_type,
        quantization=quantization,
        location=location,
        family=family_override,
        served_model_id=served_model_id,
        include_testing=include_testing,
        patterns=os.environ.get(queries.TESTING_VARIABLE),
        display_name=display_name,
        provider=source_provider,
        metadata=extra_metadata or {},
    )
    if str(path).startswith(OLLAMA_SCHEMES):
        raise RecordError(
            f"{path}: stands in Ollama, and not in a folder", remedy="`imageworks-models import-ollama` records it."
        )
    with (
        registry_or_new(registry, _nobody) as root,
        RecordSession.open(root, load_host_settings(registry=root), read_only=False, wait=wait) as ledger,
    ):
        entry, edits = record_model(ledger, said, Progress() if told is None else TotalProgress(told))
        ledger.commit(edits)
        if roles or role_priority:
            ledger.commit(give_roles(ledger, entry.name, several(roles), role_priority or {}))
        return recorded_entry(ledger.registry, entry.name)


def list_downloads(
    only_installed: bool = False,  # noqa: FBT001, FBT002 # the documented signature
    *,
    include_deprecated: bool = True,
    include_testing: bool = False,
    registry: Path | None = None,
) -> list[RegistryEntry]:
    """Return the recorded models that have files, by name.

    Args:
        only_installed: Whether only those count whose path exists.
        include_deprecated: Whether models that are kept for going back count.
        include_testing: Whether models made by tests and demos do.
        registry: The registry; found as every command finds it when absent.
    """
    wanted = queries.ModelFilter(
        deprecated=include_deprecated, testing=include_testing, patterns=os.environ.get(queries.TESTING_VARIABLE)
    )
    models = load_registry(registry=registry)
    chosen = wanted.choose(model.fields for model in models.values())
    downloads = [models[queries.text(model, "name")] for model in chosen]
    return [model for model in downloads if model.installed or not only_installed]


def remove_download(
    name: str,
    *,
    keep_entry: bool = True,
    delete_files: bool = False,
    registry: Path | None = None,
    wait: float = DEFAULT_WAIT_SECONDS,
) -> RemovedDownload:
    """Forget a download, in one commit; a declared model's manifest changes with it, or it would come back.

    Args:
        name: The model.
        keep_entry: Whether its entry stays, to describe it without files; else entry and manifest go.
        delete_files: Whether its files go too: those that are as recorded and that no other model has.
        registry: The registry; found as every command finds it when absent.
        wait: Seconds to wait for another process that holds the registry.

    Raises:
        RemoveError: There is no such model, or nothing of it to remove, or its manifest has uncommitted changes.
        LockHeldError: Another process still holds the registry after waiting.
    """
    root = find_registry(registry, named_by=ARGUMENT)
    host = load_host_settings(registry=root)
    with Run.open(root, host, RunOptions(offline=True), wait=wait) as run:
        asked = prepare(run, name, delete_files=delete_files, purge=not keep_entry)
        report = carry_out(run, asked)
    dropped = len(asked.change.drop) if asked.change is not None else 0
    return RemovedDownload(
        name=asked.name,
        deleted_files=dropped,
        bytes_freed=asked.bytes_freed if dropped else 0,
        entry_kept=keep_entry and asked.entry is not None,
        commit=report.commit,
        notes=(*asked.said, *report.notes),
    )


def _nobody(_text: str) -> None:
    """Nobody is told that a registry was made."""
