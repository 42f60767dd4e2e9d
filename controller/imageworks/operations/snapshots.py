"""Snapshots beside the controller's own commits: made anew of what is in the tree, and merged by git's merge driver.

Neither looks at a disk or at the network: a snapshot follows from manifests and entries alone.
"""

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Final

from imageworks.files.renames import write_durably
from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.errors import ImageworksError
from imageworks.git.index import read_index
from imageworks.git.libgit2 import blob_id
from imageworks.git.program import GitProgram
from imageworks.git.repository import RegistryRepository
from imageworks.host.settings import HostSettings, load_host_settings
from imageworks.reconcile.open_registry import open_registry
from imageworks.registry.documents.cache import ParsedDocuments, cache_file
from imageworks.registry.documents.diagnostic import Diagnostic, Refusal, whole_file
from imageworks.registry.documents.git_leftovers import CONFLICT, CONFLICT_REMEDY, conflict_line
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import Entry
from imageworks.registry.entries.merge import SNAPSHOT_FOLDER, in_snapshot, render_snapshot, snapshot_file
from imageworks.registry.entries.merge_snapshots import merge_snapshots
from imageworks.registry.entries.packed import as_text, has_a_model_a_line, models_of
from imageworks.registry.load import RegistryState, load_registry
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.reader import RegistryReader, WorkTreeReader
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE
from imageworks.registry.settings.settings import read_settings
from imageworks.registry.snapshot import expected_snapshot, snapshot_lines
from imageworks.registry.snapshot_check import SnapshotCheck, check_snapshots
from imageworks.registry.validate import Validation, valid_entries, validate_registry

DRIVER: Final = "imageworks-snapshot"
_MERGE_HEAD: Final = "GITHEAD_"
"""What `git merge` calls the variables that name the commits which it merges."""


class SnapshotRebuildError(ImageworksError):
    """What snapshots follow from cannot be read, so they cannot be made anew."""

    def __init__(self, problems: Sequence[Diagnostic]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{first.render()}{more}", remedy=first.remedy)
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class RebuiltSnapshot:
    """A snapshot that was looked at.

    Args:
        file: Its registry path.
        changed: Whether it is another one now.
        settled: Whether a conflict about it was settled.
    """

    file: str
    changed: bool
    settled: bool = False


def check_registry(root: Path) -> SnapshotCheck:
    """Return what is wrong with the snapshots of a registry."""
    host = load_host_settings(registry=root)
    cache = ParsedDocuments(cache_file(host.cache_dir, root), host=host.host)
    return check_snapshots(RegistryRepository.open(root, host=host.host), host.host, cache)


def committed_snapshot(root: Path, host: HostSettings, name: str | None = None) -> Iterator[object] | object:
    """Return a host's snapshot as it was committed last, after a look through the one door.

    Its models come one by one, unless it is written otherwise than a controller does.
    """
    repository, found = open_registry(root, host._replace(host=name or host.host))
    reference = repository.find_file(found.recorded, snapshot_file(found.host))
    del found  # with the models that the snapshot was held against
    data = repository.read_blob(reference.id) if reference is not None else b"[]\n"
    return models_of(data) if has_a_model_a_line(data) else read_json(data)


def merge_here(base: Path, ours: Path, theirs: Path, path: str) -> None:
    """Merge a snapshot for git by this host's own settings."""
    merge_driver(base, ours, theirs, path, load_host_settings())


def rebuild_snapshots(
    root: Path, host: HostSettings, hosts: Sequence[str] = (), *, dry_run: bool = False
) -> list[RebuiltSnapshot]:
    """Let the files of snapshots be what the manifests and entries in the work tree give; commits nothing."""
    repository = RegistryRepository.open(root, host=host.host)
    with repository.lock():
        reader = WorkTreeReader(repository.root)
        if unsettled := list(_conflicts(reader)):
            raise SnapshotRebuildError(unsettled)
        git = repository.program(os.environ)
        index = read_index(git, [repository.layout.repository_path(SNAPSHOT_FOLDER)])
        known = {repository.layout.registry_path(path): entry for path, entry in index.items()}
        validation = validate_registry(reader)
        rebuilt = []
        for name in hosts or _hosts(reader, known):
            file = snapshot_file(name)
            state = state_of(reader, validation, name)
            changed = not reader.is_made_of(file, snapshot_lines(state))
            if changed and not dry_run:
                (repository.root / SNAPSHOT_FOLDER).mkdir(exist_ok=True)
                write_durably(repository.root / file, snapshot_lines(state))
            del state  # before the next host's entries are read
            settled = file in known and known[file].conflict
            if settled and not dry_run:
                git.run("add", "--sparse", "--", repository.layout.repository_path(file))
            rebuilt.append(RebuiltSnapshot(file, changed, settled))
        return rebuilt


def _conflicts(reader: WorkTreeReader) -> Iterator[Diagnostic]:
    own = {SETTINGS_FILE: reader.file(SETTINGS_FILE)}
    for file, found in reader.files(SNAPSHOT_FOLDER).items():
        if isinstance(found, Refusal):  # what is written below it would go to wherever it leads
            yield whole_file(file, f"is {found.reason}", f"remove it: git rm -r -- {shlex.quote(file)}")
    for file, content in chain(reader.files(MODELS).items(), reader.files(ENTRIES).items(), own.items()):
        line = conflict_line(content) if isinstance(content, bytes) else None
        if line is not None:
            yield Diagnostic(file, line, 1, CONFLICT, f"{CONFLICT_REMEDY}, then run this again")


def _hosts(reader: WorkTreeReader, known: Iterable[str]) -> list[str]:
    files = [*reader.files(SNAPSHOT_FOLDER), *known]
    found = {PurePosixPath(file).stem for file in files if file.endswith(".json") and file.count("/") == 1}
    return sorted(found | {PurePosixPath(file).parts[1] for file in reader.files(ENTRIES) if file.count("/") > 1})


def state_of(reader: RegistryReader, validation: Validation, host: str) -> RegistryState:
    """Return what one host sees of a registry that was read whole; what is broken is left out, as everywhere.

    Of entries only what they say: that is what a snapshot is made of.
    """
    document = validation.settings.value if validation.settings is not None else None
    broken = {
        PurePosixPath(one.file).stem for one in validation.diagnostics if one.file.startswith(f"{ENTRIES}/{host}/")
    }
    return RegistryState(
        revision=None,
        host=host,
        settings=read_settings(document if isinstance(document, dict) else {}, host),
        manifests={name: one.manifest for name, one in validation.manifests.items() if name not in broken},
        entries={
            name: Entry(name, as_text(fields))  # beside a snapshot of as much
            for name, fields in valid_entries(reader, validation, host)
        },
    )


# --- merging --------------------------------------------------------------------------------------------------------


class SnapshotConflictError(ImageworksError):
    """Both sides changed the same of a snapshot, because they changed the same of what it follows from."""


def merge_driver(base: Path, ours: Path, theirs: Path, path: str, host: HostSettings) -> None:
    """Merge a snapshot for git: what both sides give together goes to the file that has ours.

    Either side may be older than its manifests: where git says which commit it is of, what that commit gives counts.
    """
    root, name = Path.cwd() / PurePosixPath(path).parent.parent, PurePosixPath(path).stem
    repository = RegistryRepository.open(root, host=host.host)
    cache = ParsedDocuments(cache_file(host.cache_dir, repository.root))
    merging = [key.removeprefix(_MERGE_HEAD) for key in os.environ if key.startswith(_MERGE_HEAD)]

    def current(file: Path, revisions: Iterable[str | None]) -> list[Mapping[str, object]]:
        data = file.read_bytes()
        for revision in revisions:
            found = repository.find_file(revision, snapshot_file(name))
            if found is not None and found.id == blob_id(data):
                state = load_registry(repository, name, revision=revision, cache=cache, recorded=revision)
                return _models(path, expected_snapshot(state))
        return _models(path, data)

    sides = (_models(path, base.read_bytes()), current(ours, [repository.head()]), current(theirs, merging))
    merged = merge_snapshots(*sides)
    ours.write_bytes(render_snapshot(merged.models))
    if merged.conflicts:
        raise SnapshotConflictError(
            f"{path}: both sides changed {', '.join(merged.conflicts[:3])}",
            remedy="Settle the manifests and entries; `imageworks-models snapshot rebuild` then settles this file.",
        )


def _models(path: str, data: bytes) -> list[Mapping[str, object]]:
    try:
        models = read_json(data) if data.strip() else []
    except ValueError as error:
        raise SnapshotConflictError(
            f"{path}: one side is no snapshot: {error}",
            remedy="`imageworks-models snapshot rebuild` makes it anew of what is in the tree.",
        ) from error
    return [in_snapshot(one) for one in models if isinstance(one, dict)] if isinstance(models, list) else []


def driver_settings() -> Mapping[str, str]:
    """Return git's settings that make this program the merge driver of snapshots."""
    # The interpreter and isolated: a name would be looked for on PATH, and an `imageworks` folder in the repository.
    program = shlex.join([sys.executable, "-I", "-m", "imageworks", "snapshot", "merge-driver"])
    return {
        f"merge.{DRIVER}.name": "snapshots of imageworks-models",
        f"merge.{DRIVER}.driver": f"{program} %O %A %B %P",
    }


def set_up_driver(git: GitProgram) -> None:
    """Make this program the merge driver of snapshots in one clone."""
    for key, value in driver_settings().items():
        answer = git.run("config", "--local", key, value)
        if answer.code:
            raise ImageworksError(f"git config {key}: {answer.reason}", remedy="Look at the clone's .git/config.")
