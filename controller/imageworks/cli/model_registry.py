"""The ``imageworks-model-registry`` console script: look at recorded models, verify one, and lock it to its bytes."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli import app as commands
from imageworks.cli.output import complain, human_bytes, printable, say, table
from imageworks.errors import UsageError

if TYPE_CHECKING:
    from imageworks.config import HostSettings
    from imageworks.reconcile.verify import Verified

FORMAT_VERSION: Final = 1

app = typer.Typer(
    help="Look at the models of the registry, verify one, and lock it to its bytes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Registry = Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The model, by any name that `list` prints.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print stable JSON.")]


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
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")] = 0.0,
) -> int:
    """Compare a model's files with what is recorded of them and with its lock; exit with 1 where they differ.

    --lock writes version_lock into the model's manifest, or into its entry where nothing declares it: from then on
    other bytes fail verification, and reconcile puts none in their place.
    """
    from imageworks.cli.verify import show_results
    from imageworks.config import find_registry, load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile.verify import exit_code

    if lock and unlock:
        raise UsageError("--lock and --unlock exclude each other")
    root = find_registry(registry)
    host = load_host_settings(registry=root)
    if lock or unlock:
        start_logging(host.log_dir)
    if unlock:
        _unlock(root, host, name, wait=wait)
    result = _locked(root, host, name, full=full, wait=wait) if lock else _verified(root, host, name, full=full)
    if as_json:
        say(json.dumps({"format_version": FORMAT_VERSION, "host": host.host, "models": [result.document()]}, indent=2))
    else:
        show_results((result,))
    return exit_code((result,))


def _verified(root: Path, host: "HostSettings", name: str, *, full: bool) -> "Verified":
    from imageworks.cli.hashing import HashProgress
    from imageworks.reconcile.verify import verify

    with HashProgress() as told:
        found = verify(root, host, name, full=full, told=told)
    return found[0]


def _locked(root: Path, host: "HostSettings", name: str, *, full: bool, wait: float) -> "Verified":
    """Verify a model while nobody else changes what is recorded of it, and lock it to what was verified."""
    from imageworks.cli.hashing import HashProgress
    from imageworks.reconcile.file_list import lists_files_only, verify_list
    from imageworks.reconcile.ledger import Ledger
    from imageworks.reconcile.locking import lock
    from imageworks.registry.lookup import find_in

    with Ledger.open(root, host, read_only=False, wait=wait) as ledger:
        name = find_in(ledger.registry, name)
        entry, derived = ledger.registry.entries.get(name), None
        if entry is not None and lists_files_only(entry):
            with HashProgress() as told:
                derived, result = verify_list(ledger, entry, told)
        else:
            result = _verified(root, host, name, full=full)
        edits = lock(ledger, result, derived=derived)
        commit = ledger.commit(edits)
    for line in edits.lines:
        complain(line)
    complain(f"{name}: committed {commit.id[:10]}" if commit else f"{name} is locked to these bytes already")
    return result if derived is None else _verified(root, host, name, full=full)


def _unlock(root: Path, host: "HostSettings", name: str, *, wait: float) -> None:
    from imageworks.reconcile.ledger import Ledger
    from imageworks.reconcile.locking import unlock

    with Ledger.open(root, host, read_only=False, wait=wait) as ledger:
        commit = ledger.commit(unlock(ledger, name))
    complain(f"{name}: unlocked; committed {commit.id[:10]}" if commit else f"{name} is not locked")


@app.command("list")
def list_command(as_json: AsJson = False, registry: Registry = None) -> None:
    """List every model by its variant name, also those without files, deprecated ones and those of tests."""
    from imageworks.model_loader.registry import load_registry

    models = load_registry(registry=registry)
    if as_json:
        say(json.dumps([dict(model.fields) for model in models.values()], indent=2, sort_keys=True, ensure_ascii=False))
    elif not models:
        say("Nothing is recorded here yet: declare a model and run `imageworks-models reconcile`.")
    else:
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
            for model in models.values()
        ]
        headings = ("VARIANT", "BACKEND", "FORMAT", "QUANT", "INSTALLED", "LOCKED TO", "ROLES")
        say(table(headings, rows, whole=frozenset({5})))


@app.command("show")
def show_command(name: Name, as_json: AsJson = False, registry: Registry = None) -> None:
    """Show one model as manifest and entry together say it is."""
    from imageworks.model_loader.registry import get_entry

    model = get_entry(name, registry=registry)
    if as_json:
        say(json.dumps(dict(model.fields), indent=2, sort_keys=True, ensure_ascii=False))
        return
    say(printable(f"{model.name}: {model.title}"))
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
