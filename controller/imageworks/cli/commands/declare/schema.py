"""The ``schema`` command."""

import sys
from typing import Annotated

import typer

from imageworks.foundation.errors import UsageError


def _complete(incomplete: str) -> list[str]:
    from imageworks.registry.documents.schema import SCHEMA_NAMES

    return [name for name in SCHEMA_NAMES if name.startswith(incomplete)]


def schema_command(
    name: Annotated[
        str,
        typer.Argument(help="manifest, entry, snapshot, registry or plan.", autocompletion=_complete),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Accepted: a schema is JSON.")] = True,  # noqa: ARG001
) -> None:
    """Print the JSON Schema of a document.

    For editors and other tools.

    Examples:
        imageworks-models schema manifest
    """
    from imageworks.registry.documents.schema import SCHEMA_NAMES, schema_text
    from imageworks.registry.documents.schema_messages import suggest

    if name not in SCHEMA_NAMES:
        hint = suggest(name, SCHEMA_NAMES, what="schemas")
        listed = "" if hint.startswith("schemas") else f" Schemas: {', '.join(SCHEMA_NAMES)}."
        raise UsageError(f'there is no schema "{name}"', remedy=f"{hint[0].upper()}{hint[1:]}{listed}")
    sys.stdout.write(schema_text(name))
