"""The ``import-ollama`` command: record the models that Ollama has on this machine."""

from typing import Annotated

import typer

from imageworks.cli.completion import locations
from imageworks.cli.entry_changes import carry_out, open_ledger, tell_of_backup
from imageworks.cli.options import AsJson, Backend, Backup, DryRun, IncludeTesting, Registry, Wait
from imageworks.cli.output import complain

ServedBy = Annotated[Backend, typer.Option("--backend", help="What serves them.")]
Location = Annotated[
    str | None,
    typer.Option(
        "--location",
        metavar="NAME",
        help="The location to record; linux_wsl for what is new, if none.",
        autocompletion=locations,
    ),
]
Placeholders = Annotated[
    bool, typer.Option("--deprecate-placeholders", help="Mark what older importers left (model-ollama-gguf*) as such.")
]


def import_command(
    dry_run: DryRun = False,
    backend: ServedBy = Backend.OLLAMA,
    location: Location = None,
    deprecate_placeholders: Placeholders = False,
    include_testing: IncludeTesting = False,
    backup: Backup = None,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Record the models that Ollama has.

    Asks its daemon, or reads its store where none answers. Names follow the model's own: `qwen2.5vl:7b` becomes
    qwen2.5vl-7b-ollama-gguf. Entries of models that Ollama has no more go; what a manifest declares is left to
    `reconcile`. Nothing is pulled, and nothing in Ollama changes.

    Examples:
        imageworks-models import-ollama --dry-run
        imageworks-models import-ollama
    """
    from imageworks.operations.import_ollama import import_options, look_here, plan_import

    tell_of_backup(backup)
    options = import_options(
        backend=backend.value,
        location=location,
        deprecate_placeholders=deprecate_placeholders,
        include_testing=include_testing,
    )
    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        found = plan_import(ledger.registry, look_here(complain, ledger.registry.entries.values()), options)
        return carry_out(ledger, found, "Import Ollama's models", apply=not dry_run, as_json=as_json)
