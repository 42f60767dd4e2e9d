"""What migrations of this host have done so far, kept in the registry: so that a second run does nothing.

It names each step that was committed and what it wrote. A file that is not as a migration wrote it is somebody else's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from imageworks.migration.model import MigrationError
from imageworks.registry.documents.json_reader import parse_json
from imageworks.registry.entries.entry import bring_back

FOLDER: Final = "migrated"
VERSION: Final = 1


def record_file(host: str) -> str:
    """Return the record's path within the registry."""
    return f"{FOLDER}/{host}.json"


@dataclass(frozen=True, slots=True)
class Done:
    """One migration as far as it has come.

    Args:
        steps: Which steps are committed, in order.
        names: The name here by the name there, where the two differ.
        written: The git blob id of each file that it wrote and did not delete since, by registry path.
    """

    steps: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)


def read_record(file: str, data: bytes | None) -> tuple[Done, ...]:
    """Return the migrations that a record tells of."""
    if data is None:
        return ()
    document = parse_json(data, file).value
    migrations = document.get("migrations") if isinstance(document, dict) else None
    try:
        if not isinstance(migrations, list):
            raise TypeError  # noqa: TRY301 # told as any other wrong form
        return tuple(
            Done(tuple(map(str, one["steps"])), dict(one["names"]), dict(one["written"]))  # type: ignore[index,call-overload,arg-type] # told below
            for one in migrations
        )
    except (KeyError, TypeError, ValueError):
        raise MigrationError(
            f"{file}: not a record of migrations", remedy=f"Restore it with `{bring_back(file)}` and commit."
        ) from None


def render_record(migrations: Sequence[Done]) -> bytes:
    """Return a record's bytes."""
    document = {
        "schema_version": VERSION,
        "migrations": [
            {"steps": list(one.steps), "names": dict(one.names), "written": dict(one.written)} for one in migrations
        ],
    }
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def common(steps: Sequence[str], done: Done) -> int:
    """Return how many steps, from the first on, a migration has done already."""
    if set(steps) <= set(done.steps):
        return len(steps)  # a backup that somebody deleted since takes nothing back
    count = 0
    for planned, there in zip(steps, done.steps, strict=False):
        if planned != there:
            break
        count += 1
    return count


def choose(steps: Sequence[str], migrations: Sequence[Done]) -> int | None:
    """Return which migration a plan continues: the one with the most steps in common, if any has one."""
    shared = [len(set(steps) & set(one.steps)) for one in migrations]
    return max(range(len(shared)), key=shared.__getitem__) if any(shared) else None
