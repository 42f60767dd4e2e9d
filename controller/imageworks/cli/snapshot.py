"""The ``snapshot`` commands: check the generated files, show one host's."""

from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.output import complain, counted, say
from imageworks.errors import ExitCode


def register(app: typer.Typer) -> None:
    """Add the commands to the application.

    Args:
        app: The application's root.
    """
    group = typer.Typer(help="The merged snapshot that each host's controller writes.", no_args_is_help=True)
    group.command("check")(check_command)
    group.command("show")(show_command)
    app.add_typer(group, name="snapshot")


def check_command(
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
) -> int:
    """Check that every committed snapshot is what manifests and entries give, and that nobody edited one."""
    from imageworks.config import find_registry, load_host_settings
    from imageworks.registry.git import RegistryRepository
    from imageworks.registry.parsed import ParsedDocuments, cache_file
    from imageworks.registry.snapshot import check_snapshots

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    cache = ParsedDocuments(cache_file(host.cache_dir, root))
    problems = check_snapshots(RegistryRepository.open(root, host=host.host), cache)
    for problem in problems:
        say(problem)
    complain(counted(len(problems), "problem") if problems else "snapshots are as they should be")
    return ExitCode.FAILURE if problems else ExitCode.SUCCESS


def show_command(
    host: Annotated[str | None, typer.Argument(metavar="[HOST]", help="Whose snapshot; this host's if none.")] = None,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
) -> None:
    """Print a host's snapshot as JSON."""
    import json

    from imageworks.config import find_registry, load_host_settings
    from imageworks.registry.snapshot import read_snapshot

    root = find_registry(registry)
    wanted = host or load_host_settings(registry=root).host
    say(json.dumps(read_snapshot(root, wanted, own=host is None), indent=2, ensure_ascii=False))
