"""The ``list`` command: the recorded models of this host, as the last change left them."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli import completion
from imageworks.cli.options import CHOOSING, COLUMNS, AsJson, Registry
from imageworks.cli.output import AS_RECORDED, columns, complain, counted, printable, say, table, terminal_width
from imageworks.foundation.texts import human_bytes
from imageworks.operations.session import start_session
from imageworks.reconcile.current_models import each_model
from imageworks.registry.entries import queries
from imageworks.registry.entries.completeness import known_incomplete
from imageworks.registry.entries.queries import is_installed, producer_for_people, quantization_of, text

if TYPE_CHECKING:
    from imageworks.host.settings import HostSettings
    from imageworks.registry.entries.queries import Model

YES: Final = "✓"
NO: Final = "✗"
UNKNOWN: Final = "?"
SPARE: Final = ("WHERE", "PARAMS", "AGE")
"""What a narrow terminal does without, in this order, and everybody where it says nothing."""
CUT_FIRST: Final = ("CAPS", "PRODUCER")
"""What is cut where there is little room, and left out where there is less."""
WHOLE: Final = ("VARIANT", "SIZE", "PARAMS", "AGE", "INST")
WIDEST: Final = 10_000
"""As many columns as what is piped has."""
AGES: Final = (("y", 365 * 86_400), ("w", 7 * 86_400), ("d", 86_400), ("h", 3_600), ("m", 60))


def list_command(  # one parameter an option of the documented command line
    registry: Registry = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="NAME",
            help="Only this format or quantization, or several.",
            rich_help_panel=CHOOSING,
        ),
    ] = None,
    location: Annotated[
        str | None,
        typer.Option(
            "--location",
            "-l",
            metavar="NAME",
            help="Only this location, or below this folder.",
            autocompletion=completion.locations,
            rich_help_panel=CHOOSING,
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            "-b",
            metavar="NAME",
            help="Only what this backend serves.",
            autocompletion=completion.backends,
            rich_help_panel=CHOOSING,
        ),
    ] = None,
    show_deprecated: Annotated[
        bool, typer.Option("--show-deprecated", help="Also show deprecated models.", rich_help_panel=CHOOSING)
    ] = False,
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            "-d",
            help="Also show variant name, roles, served id, location and path.",
            rich_help_panel=COLUMNS,
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print variant names only, one a line.")] = False,
    include_logical: Annotated[
        bool,
        typer.Option(
            "--include-logical", help="Also show models without files of their own.", rich_help_panel=CHOOSING
        ),
    ] = False,
    dedupe: Annotated[
        bool,
        typer.Option(
            "--dedupe", help="Show one of each family, backend, format and quantization.", rich_help_panel=CHOOSING
        ),
    ] = False,
    show_internal_names: Annotated[
        bool,
        typer.Option(
            "--show-internal-names", help="Show the variant name, which other commands take.", rich_help_panel=COLUMNS
        ),
    ] = False,
    show_backend: Annotated[
        bool, typer.Option("--show-backend", help="Show the backend.", rich_help_panel=COLUMNS)
    ] = False,
    show_installed: Annotated[
        bool,
        typer.Option(
            "--show-installed",
            help=f"Show whether the files are there ({YES}, {NO}, or {UNKNOWN}).",
            rich_help_panel=COLUMNS,
        ),
    ] = False,
    include_testing: Annotated[
        bool, typer.Option("--include-testing", help="Also show what tests and demos made.", rich_help_panel=CHOOSING)
    ] = False,
) -> None:
    """List the models of this machine.

    The recorded models of this host under the names that people read. Other commands take these names, and the variant
    name that --details and --quiet show and that is `name` in --json.

    Examples:
        imageworks-models list
        imageworks-models list --details --format gguf
        imageworks-models list --quiet --backend ollama
    """
    session = start_session(registry)
    root, host = session.root, session.host
    if (form or "").strip().lower() == "json":  # no model is of that format, and other programs take it so
        form, as_json = None, True
    wanted = queries.ModelFilter(
        formats=tuple(part.strip() for part in (form or "").split(",") if part.strip()),
        location=location,
        backend=backend,
        deprecated=show_deprecated,
        logical=include_logical,
        testing=include_testing,
        patterns=os.environ.get(queries.TESTING_VARIABLE),
    )
    short = not (as_json or details or dedupe or show_installed)
    seen = _Counted(each_model(root, host, summaries=short))
    models = wanted.each(seen)
    models = queries.condense(models) if dedupe else models
    if as_json or show_installed:
        from imageworks.serving.availability import with_availability  # opens the state, of which a table shows nothing

        models = with_availability(models, host.state_dir)
    if as_json:
        _say_json(models, host)
        return
    chosen = _Counted(models)
    if quiet:
        for model in chosen:
            say(printable(queries.text(model, "name")))
        return
    shown = _Columns(
        names=show_internal_names or details,
        backend=show_backend or details,
        installed=show_installed,
        details=details,
    )
    listed = shown.table(chosen, host)
    if chosen.number:
        say(listed)
        complain(f"{counted(chosen.number, 'model')}, {human_bytes(chosen.size)}, {AS_RECORDED}")
    else:
        say(_nothing(host.host, hidden=seen.number))


class _Counted:
    """Models that are taken once, one by one, and then known by their number and recorded bytes."""

    def __init__(self, models: Iterable["Model"]) -> None:
        self._models = models
        self.number = 0
        self.size = 0

    def __iter__(self) -> Iterator["Model"]:
        for model in self._models:
            self.number += 1
            self.size += queries.size_of(model)
            yield model


def _say_json(models: Iterable["Model"], host: "HostSettings") -> None:
    """Print models as a JSON list of one model a line, as the snapshot is: quick to write, good for ``grep``."""
    from imageworks.serving.last_used import last_accessed

    weights = _weights(host)
    used = last_accessed(host.state_dir)
    line = "["
    for model in models:
        shown = {
            **model,
            "installed": is_installed(model),
            **({"incomplete": why} if (why := known_incomplete(model)) else {}),
            "unavailable": model.get("unavailable"),
            "quantization": quantization_of(model),
            "producer": producer_for_people(model, weights),
            "last_accessed": used.get(text(model, "name")),
        }
        say(line if line == "[" else f"{line},")
        line = json.dumps(shown, sort_keys=True, ensure_ascii=False)
    say("[]" if line == "[" else f"{line}\n]")


def _weights(host: "HostSettings") -> Path:
    from imageworks.host.settings import DEFAULT_WEIGHTS

    return host.model_root or DEFAULT_WEIGHTS.expanduser()


def _nothing(host: str, *, hidden: int) -> str:
    if hidden:
        return (
            f"No model of {host} fits, of {hidden} that {'is' if hidden == 1 else 'are'} recorded. "
            "--include-logical, --show-deprecated and --include-testing show more."
        )
    return (
        f"Nothing is recorded for {host} yet: `imageworks-models download OWNER/REPO` brings a model, and "
        "`imageworks-models reconcile` what is declared."
    )


class _Columns:
    """Which columns are shown.

    Args:
        names: Whether the variant name is.
        backend: Whether the backend is.
        installed: Whether it is said that the files are there.
        details: Whether everything else is.
    """

    def __init__(self, *, names: bool, backend: bool, installed: bool, details: bool) -> None:
        self.names = names
        shown = {
            "NAME": True,
            "VARIANT": names,
            "FORMAT": True,
            "QUANT": True,
            "PRODUCER": True,
            "CAPS": True,
            "SIZE": True,
            "PARAMS": True,
            "AGE": True,
            "WHERE": not details,
            "BACKEND": backend,
            "INST": installed,
            "ROLES": details,
            "SERVED AS": details,
            "LOCATION": details,
            "PATH": details,
        }
        self._headings = [heading for heading, wanted in shown.items() if wanted]

    def table(self, models: Iterable["Model"], host: "HostSettings") -> str:
        """Return the models as a table.

        Args:
            models: Merged models.
            host: This host's settings.
        """
        cells = _cells(_weights(host))
        rows = [[cells[heading](model) for heading in self._headings] for model in models]
        filled = dict(zip(self._headings, zip(*rows, strict=True), strict=False))  # without a row there is no column
        filled = {heading: column for heading, column in filled.items() if heading not in SPARE or any(column)}
        if (room := terminal_width()) < WIDEST:
            widths = {heading: max(map(columns, [heading, *column])) + 2 for heading, column in filled.items()}
            for spare in SPARE:  # a column that is not there says more than nine that are cut
                if sum(widths.values()) - 2 > room and widths.pop(spare, 0):
                    del filled[spare]
            least = {heading: len(heading) + 2 if heading in CUT_FIRST else width for heading, width in widths.items()}
            for spare in CUT_FIRST:  # else a table of long names falls apart into blocks
                if sum(least.values()) - 2 > room and least.pop(spare, 0):
                    del filled[spare]
        shown = list(filled)
        right = frozenset(shown.index(heading) for heading in ("SIZE", "PARAMS", "AGE") if heading in filled)
        whole = frozenset(shown.index(heading) for heading in WHOLE if heading in filled)
        return table(shown, list(zip(*filled.values(), strict=True)), right=right, whole=whole)


def _cells(weights: Path) -> "Mapping[str, Callable[[Model], str]]":
    """Return what fills each column."""

    def name(model: "Model") -> str:
        mark = " [deprecated]" if model.get("deprecated") is True else ""
        mark += " [incomplete]" if known_incomplete(model) is not None else ""
        return printable(queries.name_for_people(model)) + mark

    def size(model: "Model") -> str:
        found = queries.size_of(model)
        return human_bytes(found) if found else ""

    def installed(model: "Model") -> str:
        return UNKNOWN if model.get("unavailable") else YES if queries.is_installed(model) else NO

    def field(key: str) -> "Callable[[Model], str]":
        return lambda model: printable(queries.text(model, key))

    def age(model: "Model") -> str:
        try:
            seconds = now - datetime.fromisoformat(queries.text(model, "downloaded_at")).timestamp()
        except ValueError:
            return ""  # nobody said when it came
        return next((f"{int(seconds // length)}{unit}" for unit, length in AGES if seconds >= length), "now")

    now = time.time()
    return {
        "NAME": name,
        "VARIANT": field("name"),
        "FORMAT": field("download_format"),
        "QUANT": lambda model: printable(queries.quantization_of(model) or ""),
        "PRODUCER": lambda model: printable(queries.producer_for_people(model, weights) or ""),
        "CAPS": lambda model: ",".join(queries.abilities(model)),
        "SIZE": size,
        "PARAMS": lambda model: printable(queries.parameter_size(model) or "").upper(),
        "AGE": age,
        "WHERE": field("download_location"),
        "BACKEND": field("backend"),
        "INST": installed,
        "ROLES": lambda model: ",".join(queries.texts(model, "roles")),
        "SERVED AS": field("served_model_id"),
        "LOCATION": field("download_location"),
        "PATH": field("download_path"),
    }
