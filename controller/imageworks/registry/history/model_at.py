"""One model as it stood at a commit: what people declared and what a host recorded, merged."""

from collections.abc import Mapping
from dataclasses import dataclass

from imageworks.git.repository import RegistryRepository
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.entries.entry import Entry, InvalidEntryError, entry_file, read_entry
from imageworks.registry.entries.merge import load_owners, merge_one
from imageworks.registry.history.model import FORMAT_VERSION, HistoryError
from imageworks.registry.history.reader import HistoryReader
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import SUFFIXES, Manifest, read_manifest
from imageworks.registry.validate import check_manifest


@dataclass(frozen=True, slots=True)
class ModelAt:
    """A model at a commit.

    Args:
        name: What it was called.
        revision: The commit.
        host: Whose entry is merged in.
        manifest: The manifest's registry path; ``None`` when nothing declared it.
        model: The merged model.
        notes: What a person should know.
    """

    name: str
    revision: str
    host: str
    manifest: str | None
    model: Mapping[str, object]
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, object]:
        """Return the model as stable, versioned JSON values."""
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "revision": self.revision,
            "host": self.host,
            "manifest": self.manifest,
            "model": dict(self.model),
            "notes": list(self.notes),
        }


def model_at(
    repository: RegistryRepository, name: str, revision: str | None, host: str, *, recorded: str | None = None
) -> ModelAt:
    """Return a model as a commit has it, under the name that it had then."""
    if revision is None:
        raise HistoryError(f"no model is called {name!r}: the registry has no commit yet")
    called = HistoryReader(repository).name_at(name, revision, host, recorded=recorded)
    notes = [] if called == name else [f"{name} was called {called} then"]
    manifest = _manifest(repository, called, revision, notes)
    entry = _entry(repository, called, recorded or revision, host, notes)
    if manifest is None and entry is None:
        raise HistoryError(
            "; ".join(notes), remedy="Look at an earlier commit: `imageworks-models history` lists them."
        )
    if manifest is not None and entry is None:
        notes.append(f"{host} records nothing of it")
    file = manifest.file if manifest is not None else None
    return ModelAt(called, revision, host, file, merge_one(manifest, entry, load_owners()), tuple(notes))


def _manifest(repository: RegistryRepository, name: str, revision: str, notes: list[str]) -> Manifest | None:
    for suffix in SUFFIXES:
        file = f"{MODELS}/{name}{suffix}"
        content = RevisionReader(repository, revision).file(file)
        if content is None:
            continue
        checked = check_manifest(file, content)
        if checked.document is not None and isinstance(checked.document.value, dict):
            return read_manifest(file, checked.document.value)
        notes.extend(f"not valid: {problem.render()}" for problem in checked.diagnostics)
    return None


def _entry(repository: RegistryRepository, name: str, revision: str, host: str, notes: list[str]) -> Entry | None:
    file = entry_file(host, name)
    content = RevisionReader(repository, revision).file(file)
    if isinstance(content, Refusal):
        notes.append(f"{file} is {content.reason}")
    elif content is not None:
        try:
            return read_entry(file, content)
        except InvalidEntryError as error:
            notes.append(f"not valid: {error.file}: {error.problem}")
    return None
