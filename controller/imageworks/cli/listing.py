"""The ``list`` command: the recorded models of this host, as the last reconcile left them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.output import human_bytes, say, table


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("list")(list_command)


def list_command(
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON for scripts.")] = False,
    include_logical: Annotated[
        bool, typer.Option("--include-logical", help="Also show models without files of their own.")
    ] = False,
) -> None:
    """List the models that the last reconcile recorded on this host, with format, quantization and size."""
    from imageworks.config import find_registry, load_host_settings
    from imageworks.registry.snapshot import read_snapshot

    root = find_registry(registry)
    host = load_host_settings(registry=root).host
    models = [model for model in read_snapshot(root, host) if include_logical or model.get("download_path")]
    if as_json:
        shown = [{**model, "installed": _installed(model)} for model in models]
        say(json.dumps(shown, indent=2, ensure_ascii=False))
    elif not models:
        say(f"Nothing is recorded for {host} yet: declare a model and run `imageworks-models reconcile`.")
    else:
        rows = [_row(model) for model in models]
        say(table(("NAME", "FORMAT", "QUANT", "PRODUCER", "BACKEND", "SIZE", "LOCATION"), rows, right=frozenset({5})))


def _installed(model: Mapping[str, object]) -> bool:
    path = model.get("download_path")
    return isinstance(path, str) and Path(path).exists()


def _row(model: Mapping[str, object]) -> tuple[str, ...]:
    size = model.get("download_size_bytes")
    texts = (model.get(key) or "" for key in ("name", "download_format", "quantization", "producer", "backend"))
    shown = human_bytes(size) if isinstance(size, int) else ""
    return (*(str(text) for text in texts), shown, str(model.get("download_location") or ""))
