"""The ``list-roles`` command: which models serve which role, best first."""

import json
import os
from pathlib import Path
from typing import Annotated, Final

import typer

from imageworks.cli.output import printable, say, table

FORMAT_VERSION: Final = 1


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("list-roles")(list_roles_command)


def list_roles_command(
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    show_capabilities: Annotated[
        bool, typer.Option("--show-capabilities", help="Show what each model can do.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON for scripts.")] = False,
) -> None:
    """List every model that has a role, one row a role, the preferred model first; deprecated ones are left out."""
    from imageworks.config import find_registry, load_host_settings
    from imageworks.registry import views
    from imageworks.registry.snapshot import read_snapshot
    from imageworks.serving.availability import with_availability

    root = find_registry(registry)
    settings = load_host_settings(registry=root)
    host = settings.host
    wanted = views.Wanted(logical=True, patterns=os.environ.get(views.TESTING_VARIABLE))
    rows = views.role_rows(with_availability(wanted.choose(read_snapshot(root, host)), settings.state_dir))
    if as_json:
        listed = [
            {
                "role": row.role,
                "priority": row.priority,
                "name": row.model.get("name"),
                "backend": row.model.get("backend"),
                "installed": views.is_installed(row.model),
                "capabilities": views.abilities(row.model),
            }
            for row in rows
        ]
        say(json.dumps({"format_version": FORMAT_VERSION, "host": host, "roles": listed}, indent=2, ensure_ascii=False))
    elif not rows:
        say("No model has a role: declare `roles: [caption]` in a manifest and reconcile.")
    else:
        headings = ["ROLE", "VARIANT", "PRIORITY", "BACKEND", "INSTALLED"]
        shown = [
            [
                row.role,
                printable(views.text(row.model, "name")),
                str(row.priority),
                views.text(row.model, "backend"),
                "yes" if views.is_installed(row.model) else "no",
            ]
            for row in rows
        ]
        if show_capabilities:
            headings.append("CAPABILITIES")
            shown = [[*cells, ",".join(views.abilities(row.model))] for cells, row in zip(shown, rows, strict=True)]
        say(table(headings, shown, right=frozenset({2}), whole=frozenset({1, 2})))
