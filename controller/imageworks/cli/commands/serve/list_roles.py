"""The ``list-roles`` command: which models serve which role, best first."""

import json
import os
from typing import Annotated, Final

import typer

from imageworks.cli.options import AsJson, Registry
from imageworks.cli.output import printable, say, table
from imageworks.operations.session import start_session
from imageworks.registry.entries import queries
from imageworks.serving.availability import with_availability

FORMAT_VERSION: Final = 1


def list_roles_command(
    registry: Registry = None,
    show_capabilities: Annotated[
        bool, typer.Option("--show-capabilities", help="Show what each model can do.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List which models serve which role.

    One row a role and model, the preferred one first; deprecated ones are left out.

    Examples:
        imageworks-models list-roles --show-capabilities
    """
    from imageworks.reconcile.current_models import each_model

    session = start_session(registry)
    root, settings = session.root, session.host
    host = settings.host
    wanted = queries.ModelFilter(logical=True, patterns=os.environ.get(queries.TESTING_VARIABLE))
    models = with_availability(wanted.each(each_model(root, settings)), settings.state_dir)
    # Of each model what is shown alone is kept, as ten thousand at a time would fill the memory.
    rows = queries.role_rows(map(_shown, models))
    if as_json:
        listed = [
            {
                "role": row.role,
                "priority": row.priority,
                "name": row.model.get("name"),
                "backend": row.model.get("backend"),
                "installed": row.model["installed"],
                "capabilities": row.model["abilities"],
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
                printable(queries.text(row.model, "name")),
                str(row.priority),
                queries.text(row.model, "backend"),
                "yes" if row.model["installed"] else "no",
            ]
            for row in rows
        ]
        if show_capabilities:
            headings.append("CAPABILITIES")
            shown = [
                [*cells, ",".join(queries.texts(row.model, "abilities"))]
                for cells, row in zip(shown, rows, strict=True)
            ]
        say(table(headings, shown, right=frozenset({2}), whole=frozenset({1, 2})))


def _shown(model: queries.Model) -> queries.Model:
    kept = {key: model[key] for key in ("name", "backend", "roles", "role_priority") if key in model}
    return {**kept, "installed": queries.is_installed(model), "abilities": queries.abilities(model)}
