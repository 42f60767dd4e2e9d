"""The ``schema`` command."""

import sys
from typing import Annotated

import typer

from imageworks.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("schema")(schema_command)


def _complete(incomplete: str) -> list[str]:
    from imageworks.registry.schema import SCHEMA_NAMES

    return [name for name in SCHEMA_NAMES if name.startswith(incomplete)]


def schema_command(
    name: Annotated[
        str,
        typer.Argument(help="manifest, entry, snapshot, registry or plan.", autocompletion=_complete),
    ],
) -> None:
    """Print the JSON Schema of a document, for editors and other tools."""
    from imageworks.registry.schema import SCHEMA_NAMES, schema_text
    from imageworks.registry.wording import suggest

    if name not in SCHEMA_NAMES:
        hint = suggest(name, SCHEMA_NAMES, what="schemas")
        listed = "" if hint.startswith("schemas") else f" Schemas: {', '.join(SCHEMA_NAMES)}."
        raise UsageError(f'there is no schema "{name}"', remedy=f"{hint[0].upper()}{hint[1:]}{listed}")
    sys.stdout.write(schema_text(name))
