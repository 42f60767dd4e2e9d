"""Which models a role may mean, for people."""

from typing import TYPE_CHECKING

from imageworks.cli.output import printable, say, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imageworks.serving.roles import RoleCandidate


def show_candidates(found: "Iterable[RoleCandidate]") -> None:
    """Print the models with a role, the chosen one first."""
    rows = [
        (
            printable(str(one.model.get("name"))),
            str(one.priority),
            str(one.model.get("backend") or ""),
            "yes" if one.installed else "no",
            "yes" if one.model.get("deprecated") is True else "no",
        )
        for one in found
    ]
    headings = ("VARIANT", "PRIORITY", "BACKEND", "INSTALLED", "DEPRECATED")
    say(table(headings, rows, right=frozenset({1}), whole=frozenset({1})))
