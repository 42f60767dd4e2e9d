"""The ``validate`` command."""

import json
from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.output import complain, one_line, printable, say
from imageworks.cli.registries import path_prefix, registries_here
from imageworks.foundation.errors import ExitCode

FORMAT_VERSION = 1


def validate_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILES]...", help="Manifests, registry.yaml or entries; the whole registry when absent."
        ),
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option("--registry", "-C", metavar="DIR", help="The registry to validate when no files are named."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> int:
    """Check manifests and settings for mistakes.

    Each problem is named as file:line:column: message, with its remedy. Exits with 1 where there is one.

    Examples:
        imageworks-models validate
        imageworks-models validate models/my-model.yaml --json
    """
    if files:
        from imageworks.registry.validate import validate_files

        validations = {"": validate_files(files)}
    else:
        from imageworks.operations.check_registry import check_registry

        roots = registries_here(registry)
        validations = {path_prefix(root): check_registry(root) for root in roots}
    found = [
        {**diagnostic.document(), "file": prefix + diagnostic.file}
        for prefix, validation in validations.items()
        for diagnostic in validation.diagnostics
    ]
    looked_at = sum(validation.files for validation in validations.values())
    if as_json:
        report = {
            "format_version": FORMAT_VERSION,
            "valid": not found,
            "files": looked_at,
            "diagnostics": found,
        }
        say(json.dumps(report, indent=2))
    else:
        for item in found:
            remedy = f"\n  {item['remedy']}" if item["remedy"] else ""
            place = one_line(f"{item['file']}:{item['line']}:{item['column']}")
            say(printable(f"{place}: {item['message']}{remedy}"))
        for note in dict.fromkeys(note for validation in validations.values() for note in validation.notes):
            complain(printable(f"note: {note}"))
        complain(_summary(len(found), len({item["file"] for item in found}), looked_at))
    return ExitCode.FAILURE if found else ExitCode.SUCCESS


def _summary(problems: int, broken: int, files: int) -> str:
    if not problems:
        return f"{_count(files, 'file')}, no problems"
    return f"{_count(problems, 'problem')} in {broken} of {_count(files, 'file')}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
