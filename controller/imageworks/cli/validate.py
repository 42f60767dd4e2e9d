"""The ``validate`` command."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.output import complain, printable, say
from imageworks.errors import ExitCode

FORMAT_VERSION = 1


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("validate")(validate_command)


def validate_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILES]...", help="Manifests, registry.yaml or entries; the whole registry when absent."
        ),
    ] = None,
    registry: Annotated[
        Path | None, typer.Option("--registry", metavar="DIR", help="The registry to validate when no files are named.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> int:
    """Check manifests and settings; name each problem as file:line:column: message, with its remedy."""
    from imageworks.config import find_registry
    from imageworks.registry.reader import WorkTreeReader
    from imageworks.registry.validate import validate_files, validate_registry

    prefix = ""
    if files:
        validation = validate_files(files)
    else:
        root = find_registry(registry)
        prefix = _prefix(root)
        validation = validate_registry(WorkTreeReader(root))
    found = [{**diagnostic.document(), "file": prefix + diagnostic.file} for diagnostic in validation.diagnostics]
    if as_json:
        report = {
            "format_version": FORMAT_VERSION,
            "valid": not found,
            "files": validation.files,
            "diagnostics": found,
        }
        say(json.dumps(report, indent=2))
    else:
        for item in found:
            remedy = f"\n  {item['remedy']}" if item["remedy"] else ""
            say(printable(f"{item['file']}:{item['line']}:{item['column']}: {item['message']}{remedy}"))
        for note in validation.notes:
            complain(f"note: {note}")
        complain(_summary(len(found), len({item["file"] for item in found}), validation.files))
    return ExitCode.FAILURE if found else ExitCode.SUCCESS


def _prefix(root: Path) -> str:
    """Return what leads from here to the registry, so that an editor can open the places that are printed."""
    here = Path(os.path.realpath(Path.cwd()))
    real = Path(os.path.realpath(root))
    shown = real.relative_to(here).as_posix() if real.is_relative_to(here) else root.as_posix()
    return "" if shown == "." else f"{shown}/"


def _summary(problems: int, broken: int, files: int) -> str:
    if not problems:
        return f"{_count(files, 'file')}, no problems"
    return f"{_count(problems, 'problem')} in {broken} of {_count(files, 'file')}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
