"""The ``import-ollama`` command: record the models that Ollama has on this machine."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.edits import Backup, DryRun, Registry, Wait, carry_out, open_ledger, tell_of_backup
from imageworks.cli.output import complain
from imageworks.cli.scan import Backend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imageworks.reconcile.ollama_import import ImportOptions, Seen
    from imageworks.registry.entry import Entry

TITLE = "Import Ollama's models"
ServedBy = Annotated[Backend, typer.Option("--backend", help="What serves them.")]
Location = Annotated[
    str | None,
    typer.Option("--location", metavar="NAME", help="The location to record; linux_wsl for what is new, if none."),
]
Placeholders = Annotated[
    bool, typer.Option("--deprecate-placeholders", help="Mark what older importers left (model-ollama-gguf*) as such.")
]
Testing = Annotated[bool, typer.Option("--include-testing", help="Also record what tests and demos made.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("import-ollama")(import_command)


def import_command(
    dry_run: DryRun = False,
    backend: ServedBy = Backend.OLLAMA,
    location: Location = None,
    deprecate_placeholders: Placeholders = False,
    include_testing: Testing = False,
    backup: Backup = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Record the models that Ollama has, from its daemon, or from its store where none answers.

    Names follow the model's own: `qwen2.5vl:7b` becomes qwen2.5vl-7b-ollama-gguf. Entries of models that Ollama has no
    more go; what a manifest declares is left to `reconcile`. Nothing is pulled, and nothing in Ollama changes.
    """
    from imageworks.reconcile.ollama_import import plan_import

    tell_of_backup(backup)
    options = import_options(
        backend=backend,
        location=location,
        deprecate_placeholders=deprecate_placeholders,
        include_testing=include_testing,
    )
    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        seen = look_at_ollama(ledger.registry.entries.values())
        found = plan_import(ledger.registry, seen, options)
        carry_out(ledger, found, TITLE, apply=not dry_run, told=True)


def import_options(
    *,
    backend: Backend = Backend.OLLAMA,
    location: str | None = None,
    deprecate_placeholders: bool = False,
    include_testing: bool = False,
) -> "ImportOptions":
    """Return what an import is asked to do, with what the environment says besides.

    Args:
        backend: What serves the models.
        location: The location that is recorded.
        deprecate_placeholders: Whether what older importers left is marked as deprecated.
        include_testing: Whether testing and demo models are recorded too.
    """
    from imageworks.providers.ollama_address import written_address
    from imageworks.reconcile.ollama_import import ImportOptions
    from imageworks.registry.views import TESTING_VARIABLE

    written = written_address(os.environ)
    return ImportOptions(
        host=written.host,
        port=written.port,
        backend=backend.value,
        location=location,
        deprecate_placeholders=deprecate_placeholders,
        include_testing=include_testing,
        patterns=os.environ.get(TESTING_VARIABLE),
    )


def look_at_ollama(recorded: "Iterable[Entry]" = ()) -> "Seen":
    """Return what Ollama has, and tell where that is not the whole truth.

    Args:
        recorded: Entries whose models need not be asked for again while they are the same.
    """
    from imageworks.providers.ollama import OllamaProvider
    from imageworks.reconcile.ollama_import import look
    from imageworks.transfer.content import ollama_stores

    with OllamaProvider.from_environment(os.environ) as provider:
        seen = look(provider, ollama_stores(os.environ), recorded)
    if seen.models.problem is not None:
        complain(f"note: what the store on disk says counts: {seen.models.problem}")
    for path, why in seen.models.damaged:
        complain(f"note: {path}: {why}")
    return seen
