"""How somebody wants to see a plan, and what is said where there is nothing to see; light to load."""

from dataclasses import dataclass
from enum import StrEnum

from imageworks.cli.output import counted


class Format(StrEnum):
    """How a plan is printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


@dataclass(frozen=True, slots=True)
class PlanView:
    """How a person or a program wants to see a plan.

    Args:
        form: How it is printed.
        base: The commit that it is compared with in Markdown.
        labels: Those of the pull request.
        quiet: Whether errors only are said.
        verbose: Whether revisions, paths and files are shown.
        detailed: Whether the exit code tells that there are changes.
    """

    form: Format
    base: str | None
    labels: tuple[str, ...]
    quiet: bool
    verbose: bool
    detailed: bool


def no_changes(models: int, host: str) -> str:
    """Return what is said of a host on which everything is as declared."""
    return f"No changes. {counted(models, 'model')} as declared on {host}."
