"""The ``imageworks-model-registry`` console script: look at recorded models, verify one, and lock it to its bytes."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from imageworks.cli import app as commands
from imageworks.cli import completion
from imageworks.cli.commands.follow.verify import show_results
from imageworks.cli.group import Commands
from imageworks.cli.options import AsJson, Registry, Wait
from imageworks.cli.output import complain, one_line, printable, say, say_json, say_json_value, table
from imageworks.cli.views.progress import show_progress
from imageworks.foundation.errors import UsageError
from imageworks.foundation.texts import human_bytes
from imageworks.model_loader.registry import each_entry, show_entry
from imageworks.operations.session import start_session
from imageworks.operations.verify.one_model import exit_code, unlock_model, verify_and_lock, verify_model

app = Commands("Look at the models of the registry, verify one, and lock it to its bytes.")

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The model, by any name that `list` prints.", autocompletion=completion.names),
]


def main() -> None:
    """Run the command line and exit with its code."""
    commands.main(app)


@app.command("verify")
def verify_command(
    name: Name,
    lock: Annotated[
        bool, typer.Option("--lock", help="Hold it to the bytes that it has, once they are verified.")
    ] = False,
    unlock: Annotated[bool, typer.Option("--unlock", help="Let it have other bytes again.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Read files too that look unchanged.")] = False,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Compare a model's files with what is recorded of them and with its lock; exit with 1 where they differ.

    --lock writes version_lock into the model's manifest, or into its entry where nothing declares it: from then on
    other bytes fail verification, and reconcile puts none in their place.
    """
    if lock and unlock:
        raise UsageError("--lock and --unlock exclude each other")
    session = start_session(registry, writes=lock or unlock)
    if unlock:
        complain(unlock_model(session, name, wait=wait))
    with show_progress() as hashed:
        if lock:
            result, said = verify_and_lock(session, name, hashed, full=full, wait=wait)
        else:
            result, said = verify_model(session, name, hashed, full=full), ()
    for line in said:
        complain(line)
    if as_json:
        say_json({"host": session.host.host, "models": [result.document()]})
    else:
        show_results((result,))
    return exit_code((result,))


@app.command("list")
def list_command(as_json: AsJson = False, registry: Registry = None) -> None:
    """List every model by its variant name, also those without files, deprecated ones and those of tests."""
    models = each_entry(registry=registry)
    if as_json:
        say_json_value((dict(model.fields) for model in models), sort_keys=True)
        return
    rows = [
        [
            printable(model.name),
            model.backend,
            printable(model.download_format or ""),
            printable(model.quantization or ""),
            "yes" if model.installed else "no",
            (model.version_lock.expected_aggregate_sha256 or "yes")[:12] if model.version_lock.locked else "",
            printable(",".join(model.roles)),
        ]
        for model in models
    ]
    headings = ("VARIANT", "BACKEND", "FORMAT", "QUANT", "INSTALLED", "LOCKED TO", "ROLES")
    empty = "Nothing is recorded here yet: declare a model and run `imageworks-models reconcile`."
    say(table(headings, rows, whole=frozenset({5})) if rows else empty)


@app.command("show")
def show_command(name: Name, as_json: AsJson = False, registry: Registry = None) -> None:
    """Show one model as manifest and entry together say it is."""
    model = show_entry(name, registry=registry)
    if as_json:
        say(json.dumps(dict(model.fields), indent=2, sort_keys=True, ensure_ascii=False))
        return
    say(one_line(f"{model.name}: {model.title}"))
    rows = list(_rows("", {key: value for key, value in model.fields.items() if key not in {"name", "artifacts"}}))
    rows += _rows("artifacts", {"aggregate_sha256": model.artifacts.aggregate_sha256})
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        say(printable(f"  {key:{width}}  {value}"))
    for file in model.artifacts.files:
        say(printable(f"  {file.sha256[:12]}  {human_bytes(file.size):>10}  {file.path}"))


def _rows(above: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield each value below a field by the keys that lead to it; what says nothing is left out."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _rows(f"{above}.{key}" if above else str(key), below)
    elif value not in (None, "", []):
        if isinstance(value, list):
            yield above, ", ".join(item if isinstance(item, str) else json.dumps(item) for item in value)
        else:
            yield above, value if isinstance(value, str) else json.dumps(value)
