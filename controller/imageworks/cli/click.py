"""The names of typer's own copy of click that it gives no public door to: types, errors and completion."""

from typer._click import Context, HelpFormatter, Parameter
from typer._click.core import Command
from typer._click.exceptions import ClickException, UsageError
from typer._click.shell_completion import CompletionItem

__all__ = ["ClickException", "Command", "CompletionItem", "Context", "HelpFormatter", "Parameter", "UsageError"]
