"""The ``list`` command: the recorded models of this host, as the last change left them."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli.output import human_bytes, printable, say, table

if TYPE_CHECKING:
    from imageworks.config import HostSettings
    from imageworks.registry.views import Model

YES: Final = "✓"
NO: Final = "✗"
UNKNOWN: Final = "?"


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("list")(list_command)


def list_command(  # noqa: PLR0913, PLR0917 # one parameter an option of the documented command line
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", "-f", metavar="NAME", help="Only this format or quantization, or several.")
    ] = None,
    location: Annotated[
        str | None, typer.Option("--location", "-l", metavar="NAME", help="Only this location, or below this folder.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", "-b", metavar="NAME", help="Only what this backend serves.")
    ] = None,
    show_deprecated: Annotated[bool, typer.Option("--show-deprecated", help="Also show deprecated models.")] = False,
    details: Annotated[
        bool, typer.Option("--details", "-d", help="Also show variant name, roles, served id, location and path.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON for scripts.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print variant names only, one a line.")] = False,
    include_logical: Annotated[
        bool, typer.Option("--include-logical", help="Also show models without files of their own.")
    ] = False,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Show one of each family, backend, format and quantization.")
    ] = False,
    show_internal_names: Annotated[
        bool, typer.Option("--show-internal-names", help="Show the variant name, which other commands take.")
    ] = False,
    show_backend: Annotated[bool, typer.Option("--show-backend", help="Show the backend.")] = False,
    show_installed: Annotated[
        bool, typer.Option("--show-installed", help=f"Show whether the files are there ({YES}, {NO}, or {UNKNOWN}).")
    ] = False,
    include_testing: Annotated[
        bool, typer.Option("--include-testing", help="Also show what tests and demos made.")
    ] = False,
) -> None:
    """List the recorded models of this host under the names that people read.

    Other commands take these names, and the variant name that --details and --quiet show and that is `name` in --json.
    """
    from imageworks.config import find_registry, load_host_settings
    from imageworks.registry import views
    from imageworks.registry.snapshot import read_snapshot

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    wanted = views.Wanted(
        formats=tuple(part.strip() for part in (form or "").split(",") if part.strip()),
        location=location,
        backend=backend,
        deprecated=show_deprecated,
        logical=include_logical,
        testing=include_testing,
        patterns=os.environ.get(views.TESTING_VARIABLE),
    )
    recorded = read_snapshot(root, host.host)
    models = wanted.choose(recorded)
    models = views.condense(models) if dedupe else models
    if as_json or show_installed:
        from imageworks.serving.availability import with_availability

        models = with_availability(models, host.state_dir)
    if as_json:
        say(_json(models, host))
    elif quiet:
        for model in models:
            say(printable(views.text(model, "name")))
    elif not models:
        say(_nothing(host.host, hidden=len(recorded)))
    else:
        columns = _Columns(
            names=show_internal_names or details,
            backend=show_backend or details,
            installed=show_installed,
            details=details,
        )
        say(columns.table(models, host))


def _json(models: Iterable["Model"], host: "HostSettings") -> str:
    """Return models as a JSON list of one model a line, as the snapshot is: quick to write, good for ``grep``."""
    from imageworks.registry.completeness import known_incomplete
    from imageworks.registry.views import is_installed, producer_for_people, quantization_of, text
    from imageworks.serving.accesses import last_accessed

    weights = _weights(host)
    used = last_accessed(host.state_dir)
    shown = (
        {
            **model,
            "installed": is_installed(model),
            **({"incomplete": why} if (why := known_incomplete(model)) else {}),
            "unavailable": model.get("unavailable"),
            "quantization": quantization_of(model),
            "producer": producer_for_people(model, weights),
            "last_accessed": used.get(text(model, "name")),
        }
        for model in models
    )
    lines = [json.dumps(model, sort_keys=True, ensure_ascii=False) for model in shown]
    return "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"


def _weights(host: "HostSettings") -> Path:
    from imageworks.config import DEFAULT_WEIGHTS

    return host.model_root or DEFAULT_WEIGHTS.expanduser()


def _nothing(host: str, *, hidden: int) -> str:
    if hidden:
        return (
            f"No model of {host} fits; {hidden} are recorded. "
            "--include-logical, --show-deprecated and --include-testing show more."
        )
    return f"Nothing is recorded for {host} yet: declare a model and run `imageworks-models reconcile`."


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
        weights = _weights(host)
        rows = [[self._cell(model, heading, weights) for heading in self._headings] for model in models]
        right = {self._headings.index("SIZE")}
        whole = {self._headings.index(heading) for heading in ("VARIANT", "SIZE", "INST") if heading in self._headings}
        return table(self._headings, rows, right=frozenset(right), whole=frozenset(whole))

    @staticmethod
    def _cell(model: "Model", heading: str, weights: Path) -> str:
        from imageworks.registry import views

        if heading == "NAME":
            from imageworks.registry.completeness import known_incomplete

            mark = " [deprecated]" if model.get("deprecated") is True else ""
            mark += " [incomplete]" if known_incomplete(model) is not None else ""
            return printable(views.name_for_people(model)) + mark
        if heading == "SIZE":
            return human_bytes(views.size_of(model)) if views.size_of(model) else ""
        if heading == "INST":
            return UNKNOWN if model.get("unavailable") else YES if views.is_installed(model) else NO
        if heading == "PRODUCER":
            return printable(views.producer_for_people(model, weights) or "")
        if heading == "QUANT":
            return printable(views.quantization_of(model) or "")
        if heading == "CAPS":
            return ",".join(views.abilities(model))
        if heading == "ROLES":
            return ",".join(views.texts(model, "roles"))
        return printable(views.text(model, _FIELDS[heading]))


_FIELDS: Final = {
    "VARIANT": "name",
    "FORMAT": "download_format",
    "BACKEND": "backend",
    "SERVED AS": "served_model_id",
    "LOCATION": "download_location",
    "PATH": "download_path",
}
