"""The ``history`` command: what changed a model, by whom and when, from the registry's commits."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.output import complain, printable, say, table

if TYPE_CHECKING:
    from imageworks.registry.git_values import CommitRecord

FORMAT_VERSION = 1


def register(app: typer.Typer) -> None:
    """Add the ``history`` command to the application.

    Args:
        app: The application's root.
    """
    app.command("history")(history)


def history(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Model whose manifest or entry changed; all by default.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most commits to show.")] = 20,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of columns.")] = False,
    registry: Annotated[Path | None, typer.Option(help="Registry folder to use.")] = None,
) -> None:
    """Show the commits that changed the registry, or one model, newest first."""
    from imageworks.config import find_registry
    from imageworks.registry.git import RegistryRepository

    repository = RegistryRepository.open(find_registry(registry))
    paths = None if name is None else (f"models/{literal(name)}.yaml", f"discovered/*/{literal(name)}.json")
    records = tuple(repository.log(paths, limit=limit))
    if as_json:
        say(json.dumps({"format_version": FORMAT_VERSION, "commits": [as_value(r, name) for r in records]}, indent=2))
    elif records:
        rows = [
            (f"{r.when:%Y-%m-%d %H:%M}", printable(r.author), r.short_id, ",".join(layers(r, name)), r.subject)
            for r in records
        ]
        say(printable(table(("DATE", "AUTHOR", "COMMIT", "CHANGED", "SUBJECT"), rows)))
    else:
        complain("No commit yet." if name is None else f"No commit has changed {name}.")


def literal(name: str) -> str:
    """Return a model's name as a pattern that matches nothing but itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def layers(record: "CommitRecord", name: str | None) -> list[str]:
    """Return which layers a commit changed, of one model or of any: manifest, entry, snapshot, settings.

    Args:
        record: The commit.
        name: The model; ``None`` for any.
    """
    return [layer for layer in ("manifest", "entry", "snapshot", "settings") if _changes(record.changed, layer, name)]


def _changes(changed: Iterable[str], layer: str, name: str | None) -> bool:
    parts = [path.split("/") for path in changed]
    if layer == "settings":
        return name is None and ["registry.yaml"] in parts
    if layer == "snapshot":
        return any(part[0] == "snapshot" for part in parts)
    folder, ending = ("models", ".yaml") if layer == "manifest" else ("discovered", ".json")
    return any(part[0] == folder and (name is None or part[-1] == name + ending) for part in parts)


def as_value(record: "CommitRecord", name: str | None) -> dict[str, object]:
    """Return a commit as JSON has it.

    Args:
        record: The commit.
        name: The model asked for; ``None`` for any.
    """
    return {
        "id": record.id,
        "parents": list(record.parents),
        "when": record.when.isoformat(),
        "author": record.author,
        "email": record.email,
        "subject": record.subject,
        "trailers": dict(record.trailers),
        "layers": layers(record, name),
        "changed": list(record.changed),
    }
