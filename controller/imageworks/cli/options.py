"""The options that several commands have, declared once: one spelling and one meaning each."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from imageworks.cli import completion

SHARED: Final = "Shared options"
"""The heading of what every command has; it comes last in help."""
CHOOSING: Final = "What is chosen"
DECLARING: Final = "What is declared"
REVIEWING: Final = "For reviews and scripts"
REMOVING: Final = "What is removed"
COMMITTING: Final = "Git"
TRANSFERRING: Final = "Transfer"
WATCHING: Final = "Watching"
COLUMNS: Final = "What is shown"


class Backend(StrEnum):
    """What serves a model; the values are the schema's."""

    VLLM = "vllm"
    OLLAMA = "ollama"
    LMDEPLOY = "lmdeploy"
    GGUF = "gguf"
    LMSTUDIO = "lmstudio"
    UNASSIGNED = "unassigned"


Registry = Annotated[
    Path | None,
    typer.Option("--registry", "-C", metavar="DIR", help="Use this registry.", rich_help_panel=SHARED),
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        min=0,
        show_default=False,
        help="Wait so long for another controller.",
        rich_help_panel=SHARED,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print stable JSON.", rich_help_panel=SHARED)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
YesOrApply = Annotated[bool, typer.Option("--yes", "-y", "--apply", help="Do not ask.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use no network.")]
ShowProgress = Annotated[bool, typer.Option("--progress/--no-progress", help="Show how far downloads are.")]
AnyTime = Annotated[bool, typer.Option("--now", help="Download outside the registry's transfer window too.")]
Prune = Annotated[
    bool, typer.Option("--prune", help="Remove installed models that no manifest declares.", rich_help_panel=REMOVING)
]
Reported = Annotated[
    bool | None,
    typer.Option(
        "--report/--no-report",
        help="Report the run on a ref of its host; else as registry.yaml says.",
        rich_help_panel=COMMITTING,
    ),
]
Mirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        metavar="URL|HOST",
        help="Take bytes from here before the hub; else as the settings say. Repeatable.",
        autocompletion=completion.hosts,
        rich_help_panel=TRANSFERRING,
    ),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        metavar="NAME",
        help="Only for this host. Repeatable.",
        autocompletion=completion.hosts,
        rich_help_panel=CHOOSING,
    ),
]
PrBranch = Annotated[
    str | None,
    typer.Option("--pr-branch", metavar="NAME", help="Commit to this branch instead; the work tree stays as it is."),
]
HostName = Annotated[
    str | None, typer.Option("--host", metavar="NAME", help="Whose entries count.", autocompletion=completion.hosts)
]
IncludeTesting = Annotated[bool, typer.Option("--include-testing", help="Also what tests and demos made.")]
DryRunOrApply = Annotated[
    bool | None, typer.Option("--dry-run/--apply", help="Show the changes (the default), or make them.")
]
Backup = Annotated[bool | None, typer.Option("--backup/--no-backup", help="Accepted: git history is the backup.")]
