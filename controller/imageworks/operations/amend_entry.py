"""Amend what is recorded, as Python code asks for it: people's fields of a model that no manifest declares."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.similar_words import did_you_mean
from imageworks.host.settings import HostSettings
from imageworks.reconcile.ledger import Edits, RecordSession
from imageworks.registry.documents.schema import check
from imageworks.registry.entries.entry import Entry
from imageworks.registry.entries.merge import ENTRY, MANIFEST, Owners, load_owners
from imageworks.registry.load import RegistryState
from imageworks.registry.version_lock import KEY as VERSION_LOCK

if TYPE_CHECKING:
    from imageworks.registry.documents.document import JsonValue

SCHEMA_VERSION: Final = 1
SHOWN_IN_TITLE: Final = 3
WITHOUT_FILES: Final = frozenset(
    {"download_format", "download_location", "download_path", "producer", "source_provider"}
)
"""What may be said of a model that records no files: where another program keeps it."""

Changes = Mapping[str, object]
"""New value by an entry's own keys; ``None`` takes one away."""


class AmendError(ImageworksError):
    """What is recorded cannot be changed as asked."""


def amend_entries(
    root: Path, host: HostSettings, wanted: Mapping[str, Changes], *, read_only: bool, wait: float = 0.0
) -> str | None:
    """Commit changes of fields, or only refuse what is not the caller's to write; return the commit, if any."""
    with RecordSession.open(root, host, read_only=read_only, wait=wait) as ledger:
        edits = amend(ledger.registry, wanted)
        result = None if read_only else ledger.commit(edits)
    return None if result is None else result.id


def amend(registry: RegistryState, changes: Mapping[str, Changes]) -> Edits:
    """Return the edits that change what is recorded of some models; all of them, or none."""
    owners = load_owners()
    amended = {name: _amended(registry, name, said, owners) for name, said in sorted(changes.items()) if said}
    written = {name: entry for name, entry in amended.items() if entry != registry.entries.get(name)}
    names = list(written)
    shown = ", ".join(names) if len(names) <= SHOWN_IN_TITLE else f"{len(names)} models"
    lines = [f"{'~' if name in registry.entries else '+'} {name}: {', '.join(sorted(changes[name]))}" for name in names]
    return Edits(written=written, title=f"Update {shown}", lines=tuple(lines))


def _amended(registry: RegistryState, name: str, changes: Changes, owners: Owners) -> Entry:
    if problems := registry.blocked.get(name):
        raise AmendError(f"{name}: {problems[0].render()}", remedy="Put that right first.")
    manifest, entry = registry.manifests.get(name), registry.entries.get(name)
    if manifest is not None:
        keys = ", ".join(sorted(changes))
        raise AmendError(
            f"{name} is declared by {manifest.file}, which people edit: {keys} cannot be overwritten from here",
            remedy=_where_declared(manifest.file, changes),
        )
    if changes.get("name", name) != name:
        raise AmendError(
            f"{name}: a model's name is its key, and cannot become {changes['name']!r}",
            remedy="`imageworks-models promote` it; then rename the manifest, with `previously: [old-name]`.",
        )
    if entry is None and "name" not in changes:
        raise AmendError(f"{name}: is not recorded any more", remedy="load_registry() shows what is.")
    for key, value in changes.items():
        _check_owner(name, key, value, entry, owners)
    before: Changes = entry.fields if entry is not None else {"schema_version": SCHEMA_VERSION, "managed": False}
    after = {**before, **changes, "name": name, "managed": before.get("managed", False)}
    fields = {key: value for key, value in after.items() if value is not None}
    check_entry(name, fields)
    return Entry(name, fields, entry.files if entry is not None else ())


def check_entry(name: str, fields: Mapping[str, object]) -> None:
    """Raise unless an entry's document is valid."""
    for problem in check("entry", cast("JsonValue", dict(fields))):
        place = ".".join(str(step) for step in problem.pointer)
        raise AmendError(f"{name}: {place + ': ' if place else ''}{problem.message}", remedy=problem.suggestion)


def _where_declared(file: str, changes: Changes) -> str:
    if set(changes) == {VERSION_LOCK}:
        return "`imageworks-model-registry verify NAME --lock` or `--unlock` writes it there."
    return f"Change {file} and commit it; the next `imageworks-models reconcile` records the rest."


def _check_owner(name: str, key: str, value: object, entry: Entry | None, owners: Owners) -> None:
    """Refuse fields that only people declare, or that only a look at the files can say."""
    if key in {"name", "managed"}:
        return
    owner = owners.get(key)
    if owner is None:
        raise AmendError(f"{name}: there is no field {key!r}", remedy=did_you_mean(key, owners))
    if owner == MANIFEST:
        raise AmendError(
            f"{name}: {key} is for people to declare, and nothing declares this model",
            remedy=f"`imageworks-models promote {name}` writes its manifest; {key} goes there.",
        )
    has_files = entry is not None and bool(entry.files)
    on_disk = key == "download_path" and isinstance(value, str) and value.startswith("/")
    if owner == ENTRY and (has_files or on_disk or key not in WITHOUT_FILES):
        raise AmendError(
            f"{name}: {key} is what a look at the files found, and cannot be told",
            remedy="record_download looks at the files and records them; verify compares them with what is recorded.",
        )
