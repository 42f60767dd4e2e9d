"""The ``stats`` command: how many models of which kind, and how much room they take."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli.output import counted as count_of
from imageworks.cli.output import human_bytes, printable, say, table

if TYPE_CHECKING:
    from imageworks.registry.views import Statistics

FORMAT_VERSION: Final = 1


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("stats")(stats_command)


def stats_command(
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON for scripts.")] = False,
) -> None:
    """Count this host's models by format, quantization, backend and location, with their size.

    Files that several models share through hard links take room once, and are counted once in the bytes on disk.
    """
    from imageworks.config import find_registry, load_host_settings
    from imageworks.registry import views
    from imageworks.registry.snapshot import read_snapshot
    from imageworks.serving.availability import with_availability

    root = find_registry(registry)
    settings = load_host_settings(registry=root)
    host = settings.host
    patterns = os.environ.get(views.TESTING_VARIABLE)
    wanted = views.Wanted(deprecated=True, logical=True, patterns=patterns)
    counted = views.count(with_availability(wanted.choose(read_snapshot(root, host)), settings.state_dir))
    if as_json:
        say(json.dumps(_document(host, counted), indent=2, ensure_ascii=False))
    else:
        say("\n".join(_lines(host, counted)))


def _document(host: str, counted: "Statistics") -> dict[str, object]:
    groups = {
        f"by_{title}": {value: {"models": models, "bytes": size} for value, (models, size) in values.items()}
        for title, values in counted.groups.items()
    }
    return {
        "format_version": FORMAT_VERSION,
        "host": host,
        "models": counted.models,
        "installed": counted.installed,
        "logical": counted.logical,
        "deprecated": counted.deprecated,
        "recorded_bytes": counted.recorded_bytes,
        "bytes_on_disk": counted.bytes_on_disk,
        **groups,
    }


def _lines(host: str, counted: "Statistics") -> Iterator[str]:
    deprecated = f", {counted.deprecated} deprecated" if counted.deprecated else ""
    more = f"; {counted.logical} more without files of their own" if counted.logical else ""
    yield f"{count_of(counted.models, 'model')} on {host}, {counted.installed} installed{deprecated}{more}"
    yield f"{human_bytes(counted.bytes_on_disk)} on disk"
    if counted.recorded_bytes > counted.bytes_on_disk:
        shared = human_bytes(counted.recorded_bytes - counted.bytes_on_disk)
        yield f"{human_bytes(counted.recorded_bytes)} recorded: {shared} are shared, or not there"
    for title, values in counted.groups.items():
        rows = [(printable(value), str(models), human_bytes(size)) for value, (models, size) in values.items()]
        if rows:
            yield ""
            yield table((title.upper(), "MODELS", "SIZE"), rows, right=frozenset({1, 2}))
