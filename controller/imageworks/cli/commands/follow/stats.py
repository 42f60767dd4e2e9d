"""The ``stats`` command: how many models of which kind, and how much room they take."""

import json
import os
from collections.abc import Iterator
from typing import Final

from imageworks.cli.options import AsJson, Registry
from imageworks.cli.output import AS_RECORDED, complain, printable, say, table
from imageworks.cli.output import counted as count_of
from imageworks.foundation.texts import human_bytes
from imageworks.operations.session import start_session
from imageworks.registry.entries import queries
from imageworks.registry.entries.statistics import Statistics, count
from imageworks.serving.availability import with_availability

FORMAT_VERSION: Final = 1


def stats_command(
    registry: Registry = None,
    as_json: AsJson = False,
) -> None:
    """Count models and the room that they take.

    By format, quantization, backend and location. Files that several models share through hard links take room once,
    and are counted once in the bytes on disk.

    Examples:
        imageworks-models stats
    """
    from imageworks.reconcile.current_models import each_model

    session = start_session(registry)
    root, settings = session.root, session.host
    host = settings.host
    patterns = os.environ.get(queries.TESTING_VARIABLE)
    wanted = queries.ModelFilter(deprecated=True, logical=True, patterns=patterns)
    counted = count(with_availability(wanted.each(each_model(root, settings)), settings.state_dir))
    if as_json:
        say(json.dumps(_document(host, counted), indent=2, ensure_ascii=False))
    else:
        say("\n".join(_lines(host, counted)))
        complain(AS_RECORDED)


def _document(host: str, counted: Statistics) -> dict[str, object]:
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


def _lines(host: str, counted: Statistics) -> Iterator[str]:
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
