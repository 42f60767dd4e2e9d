"""The commands that give models simple names: a preview of what they would be, and the change itself."""

import json
import os
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli.edits import (
    Backup,
    DryRunOrApply,
    Registry,
    Wait,
    carry_out,
    open_ledger,
    tell_of_backup,
)
from imageworks.cli.output import complain, printable, say, table
from imageworks.errors import UsageError

if TYPE_CHECKING:
    from imageworks.reconcile.ledger import Ledger
    from imageworks.reconcile.maintain import Prepared
    from imageworks.registry.maintenance import EntryChange
    from imageworks.registry.slugs import Disambiguation, SlugOptions
    from imageworks.registry.views import Model

FORMAT_VERSION: Final = 1
TITLE: Final = "Apply simple names"
IncludeOllama = Annotated[
    bool, typer.Option("--include-ollama/--no-include-ollama", help="With the models that Ollama serves.")
]
IncludeHf = Annotated[bool, typer.Option("--include-hf/--no-include-hf", help="With all other models.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application.

    Args:
        app: The application's root.
    """
    app.command("preview-simple-slugs")(preview_command)
    app.command("apply-simple-slugs")(apply_command)


def preview_command(
    include_ollama: IncludeOllama = True,
    include_hf: IncludeHf = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON for scripts.")] = False,
    registry: Registry = None,
) -> None:
    """Show the simple name of each model, `<family> <size>[-extra]` and its quantization, and which would clash.

    Nothing is written; `apply-simple-slugs` gives the names.
    """
    from imageworks.registry.slugs import SlugOptions, previewed, propose
    from imageworks.registry.views import TESTING_VARIABLE

    options = SlugOptions(ollama=include_ollama, hf=include_hf, patterns=os.environ.get(TESTING_VARIABLE))
    with open_ledger(registry, read_only=True, wait=0.0) as ledger:
        proposals = [one for one in propose(_models(ledger), options) if one.chosen]
    clashing = {one.slug: [*sorted({one.name, *one.clashing})] for one in proposals if one.clashing}
    if as_json:
        document = {"format_version": FORMAT_VERSION, "models": list(previewed(proposals)), "collisions": clashing}
        say(json.dumps(document, indent=2, ensure_ascii=False))
        return
    if not proposals:
        say("No model to name.")
        return
    rows = [[one.name, one.slug, printable(one.display)] for one in proposals]
    say(table(("NAME", "SIMPLE NAME", "SHOWN AS"), rows, whole=frozenset({1})))
    for slug, names in clashing.items():
        complain(f"clash: {slug} would be {', '.join(names)}; --disambiguate of `apply-simple-slugs` tells them apart")


def apply_command(  # noqa: PLR0913, PLR0917 # one parameter an option of the documented command line
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
    backup: Backup = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON for scripts.")] = False,
    tests_only: Annotated[bool, typer.Option("--tests-only", help="Only testing and demo models.")] = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Show or give each model its simple name; without --apply nothing is written.

    A declared model's name is changed in its manifest, comments and all; under another variant name the manifest
    remembers the former one, so that nothing is downloaded again on any host.
    """
    from imageworks.reconcile.maintain import prepare
    from imageworks.registry.slugs import SlugOptions, apply_slugs
    from imageworks.registry.views import TESTING_VARIABLE

    apply = dry_run is False
    tell_of_backup(backup)
    options = SlugOptions(
        ollama=include_ollama,
        hf=include_hf,
        tests_only=tests_only,
        disambiguate=_strategies(disambiguate),
        rename=rename_slugs,
        skip=allow_skip_on_collision,
        patterns=os.environ.get(TESTING_VARIABLE),
    )
    with open_ledger(registry, read_only=not apply, wait=wait) as ledger:
        found = apply_slugs(ledger.registry, _models(ledger), options)
        if as_json:
            document = _changed(ledger, prepare(ledger, found, TITLE), options, apply=apply)
            say(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            carry_out(ledger, found, TITLE, apply=apply, told=True)


def _models(ledger: "Ledger") -> "list[Model]":
    from imageworks.registry.merge import load_owners, merge

    return list(merge(ledger.registry.applied, ledger.registry.entries.values(), load_owners()))


def _strategies(text: str) -> "tuple[Disambiguation, ...]":
    from imageworks.registry.slugs import Disambiguation

    known = [one.value for one in Disambiguation]
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise UsageError(f"--disambiguate: {word!r} is none of {', '.join(known)}")
    return tuple(Disambiguation(word) for word in words)


def _changed(ledger: "Ledger", prepared: "Prepared", options: "SlugOptions", *, apply: bool) -> dict[str, object]:
    """Commit when asked, and return what was or would be done."""
    result = ledger.commit(prepared.edits) if apply and prepared.changes else None
    return {
        "format_version": FORMAT_VERSION,
        "dry_run": not apply,
        "rename_slugs": options.rename,
        "operations": [
            {"name": one.name, "new_name": _new_name(one), "differences": list(one.differences)}
            for one in prepared.changes
        ],
        "skipped": [{"name": one.name, "why": one.why} for one in prepared.kept],
        "commit": result.id if result else None,
    }


def _new_name(change: "EntryChange") -> str:
    from imageworks.registry.manifest import manifest_name

    if change.entry is not None:
        return change.entry.name
    return manifest_name(change.manifest.becomes) if change.manifest and change.manifest.becomes else change.name
