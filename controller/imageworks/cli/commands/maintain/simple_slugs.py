"""The commands that give models simple names: a preview of what they would be, and the change itself."""

from typing import Annotated

import typer

from imageworks.cli.entry_changes import change_entries, open_ledger, tell_of_backup
from imageworks.cli.options import AsJson, Backup, DryRunOrApply, Registry, Wait, Yes
from imageworks.cli.output import complain, printable, say, say_json, table
from imageworks.operations.maintenance.find import find_simple_names, preview_names, strategies
from imageworks.operations.maintenance.simple_names import SlugOptions

IncludeOllama = Annotated[
    bool, typer.Option("--include-ollama/--no-include-ollama", help="With the models that Ollama serves.")
]
IncludeHf = Annotated[bool, typer.Option("--include-hf/--no-include-hf", help="With all other models.")]


def preview_command(
    include_ollama: IncludeOllama = True,
    include_hf: IncludeHf = True,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Show the simple name that each model would get.

    It is `<family> <size>[-extra]` and the quantization; names that would clash are told. Nothing is written;
    `apply-simple-slugs` gives the names.

    Examples:
        imageworks-models preview-simple-slugs --no-include-ollama
    """
    with open_ledger(registry, read_only=True, wait=0.0) as ledger:
        proposals, clashing, models = preview_names(ledger, stores=include_ollama, others=include_hf)
    if as_json:
        say_json({"models": models, "collisions": clashing})
        return
    if not proposals:
        say("No model to name.")
        return
    rows = [[one.name, one.slug, printable(one.display)] for one in proposals]
    say(table(("NAME", "SIMPLE NAME", "SHOWN AS"), rows, whole=frozenset({1})))
    for slug, names in clashing.items():
        complain(f"clash: {slug} would be {', '.join(names)}; --disambiguate of `apply-simple-slugs` tells them apart")


def apply_command(  # one parameter an option of the documented command line
    include_ollama: IncludeOllama = True,
    include_hf: IncludeHf = True,
    disambiguate: Annotated[
        str,
        typer.Option(
            "--disambiguate",
            metavar="HOW",
            help="What is added to names that clash: backend, format, producer, several with commas, or none.",
        ),
    ] = "backend",
    rename_slugs: Annotated[
        bool,
        typer.Option("--rename-slugs/--display-only", help="Change variant names too, or display names only."),
    ] = False,
    allow_skip_on_collision: Annotated[
        bool,
        typer.Option(
            "--allow-skip-on-collision/--no-skip-on-collision",
            help="Leave models that clash as they are, or change nothing at all then.",
        ),
    ] = True,
    dry_run: DryRunOrApply = None,
    yes: Yes = False,
    backup: Backup = None,
    as_json: AsJson = False,
    tests_only: Annotated[bool, typer.Option("--tests-only", help="Only testing and demo models.")] = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Give each model its simple name.

    Without --apply the changes are only shown. A declared model's name is changed in its manifest, comments and all;
    under another variant name the manifest remembers the former one, so that nothing is downloaded again on any host.

    Examples:
        imageworks-models apply-simple-slugs
        imageworks-models apply-simple-slugs --rename-slugs --apply
    """
    tell_of_backup(backup)
    options = SlugOptions(
        stores=include_ollama,
        others=include_hf,
        tests_only=tests_only,
        disambiguate=strategies(disambiguate),
        rename=rename_slugs,
        skip=allow_skip_on_collision,
    )
    return change_entries(
        "Apply simple names",
        lambda ledger: find_simple_names(ledger, options),
        registry=registry,
        wait=wait,
        apply=dry_run is False or (yes and dry_run is None),
        as_json=as_json,
    )
