"""The ``download`` command: declare a model by naming it, and bring its files."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.options import CHOOSING, DECLARING, AsJson, Backend, Registry, Wait
from imageworks.cli.output import complain
from imageworks.cli.prompts import at_terminal
from imageworks.cli.views.download import (
    choice_lines,
    show_download_plan,
    show_downloaded,
    tell_change,
    tell_proposal,
)
from imageworks.cli.views.progress import show_progress
from imageworks.foundation.errors import UsageError
from imageworks.foundation.texts import human_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imageworks.operations.download.run_download import Choose
    from imageworks.providers.selection.model import QuantChoice


def download_command(  # one parameter an option of the documented command line
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="owner/repo, owner/repo@branch, hf.co/owner/repo:Q4_K_M, the URL of a page, folder or file, "
            "ollama:NAME, qwen2.5vl:7b, or a file's address elsewhere with --sha256.",
        ),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="Preferred formats, the best first: gguf, awq, gptq, safetensors.",
            rich_help_panel=CHOOSING,
        ),
    ] = None,
    location: Annotated[
        str | None,
        typer.Option(
            "--location",
            "-l",
            help="linux_wsl, windows_lmstudio, another location, or a path.",
            autocompletion=completion.locations,
            rich_help_panel=DECLARING,
        ),
    ] = None,
    optional: Annotated[
        bool,
        typer.Option(
            "--include-optional/--no-include-optional",
            "-o",
            help="Also documents, pictures and examples.",
            rich_help_panel=CHOOSING,
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Move the pin, read every byte again, fetch what is not right.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--non-interactive", "--yes", "-y", help="Ask nothing and use the defaults.")
    ] = False,
    quant: Annotated[
        str | None,
        typer.Option("--quant", help="Which quantization of several, such as q4_k_m.", rich_help_panel=CHOOSING),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="GLOB",
            help="Of weights and data only these; may be repeated.",
            rich_help_panel=CHOOSING,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="GLOB", help="Not these files; may be repeated.", rich_help_panel=CHOOSING),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Only these weights, with all that is none; may be repeated.",
            rich_help_panel=CHOOSING,
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit; same as @branch.", rich_help_panel=CHOOSING)
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(
            "--sha256",
            metavar="HEX",
            help="The digest of a file whose address is outside the hub.",
            rich_help_panel=CHOOSING,
        ),
    ] = None,
    backend: Annotated[
        Backend | None,
        typer.Option("--backend", help="What serves it; by the format when absent.", rich_help_panel=DECLARING),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What to call it; else by family, format and so on.",
            rich_help_panel=DECLARING,
        ),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            help="What it is used for; may be repeated.",
            autocompletion=completion.roles,
            rich_help_panel=DECLARING,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show manifest and plan; write nothing, anywhere.")
    ] = False,
    manifest: Annotated[
        bool,
        typer.Option(
            "--manifest/--no-manifest", help="Declare it, or only record what was brought.", rich_help_panel=DECLARING
        ),
    ] = True,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show how far it is.")] = True,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also name the files that are left out, and why.")
    ] = False,
) -> int:
    """Download a model, verify every byte, and declare it.

    Manifest, files and entry arrive in one commit, the manifest pinned to the commit that came. What was interrupted
    resumes when the same command runs again. Exits with 1 where what came is incomplete: a pointer instead of weights,
    shards or a configuration that the repository lacks.

    Examples:
        imageworks-models download Qwen/Qwen3-0.6B
        imageworks-models download bartowski/Qwen3-8B-GGUF --quant q4_k_m
        imageworks-models download microsoft/DialoGPT-medium@dev --dry-run
    """
    from imageworks.operations.download import run_download as downloading
    from imageworks.tools.model_downloader.questions import TerminalQuestions, answered

    if role and not manifest:
        raise UsageError("--role needs a manifest, so --no-manifest excludes it")
    request = downloading.DownloadRequest(
        identifier=downloading.identified(model, revision=revision, quantization=quant, sha256=sha256),
        formats=tuple(one.strip().lower() for one in (form or "").split(",") if one.strip()),
        quantization=quant,
        backend=backend.value if backend else None,
        roles=tuple(role or ()),
        location=downloading.declared_location(location),
        optional=optional,
        force=force,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        weights=tuple(weights or ()),
        name=name,
    )
    nobody = yes or dry_run or not at_terminal()
    asked = None if nobody else TerminalQuestions(size=human_bytes, lines=choice_lines)
    choose = asked.quantization if asked else _take_proposed(shown=dry_run)
    options = downloading.RunOptions(any_time=True, read_only=dry_run)
    with (
        show_progress(wanted=progress) as shown,
        downloading.open_registry_for(registry, complain, dry_run=dry_run) as session,
        downloading.Run.open(session.root, session.host, options, progress=shown, wait=wait) as run,
    ):
        request = downloading.preferring(request, session, compare=asked is not None or dry_run)
        proposal = downloading.proposed(run, request, choose)
        if asked and proposal.entry and proposal.installed and not (request.force or request.location):
            request = answered(request, asked.existing(proposal.name, proposal.entry.path), proposal.label)
            proposal = downloading.proposed(run, request, choose)
        tell_proposal(proposal, verbose=verbose)
        entry = proposal.entry
        if entry is not None and downloading.is_settled(proposal, request, kept=manifest):
            ended = downloading.already_here(proposal, entry, kept=manifest)
        else:
            plan = downloading.install(run, proposal, force=request.force, kept=manifest)
            if dry_run:
                return show_download_plan(proposal, plan, kept=manifest, as_json=as_json)
            ended = downloading.bring(
                run, proposal, plan, request, session, note=_note, starting=tell_change, kept=manifest
            )
    # The bars are gone by now: on a terminal they draw over what is printed meanwhile, whichever stream it is for.
    return show_downloaded(ended, as_json=as_json)


def _take_proposed(*, shown: bool) -> "Choose":
    """Return what takes the usual quantization, showing what there is where that is all that is wanted."""
    from imageworks.tools.model_downloader.questions import take_proposed

    take = partial(take_proposed, told=_note, size=human_bytes)

    def choose(choices: "Sequence[QuantChoice]", proposed: str | None) -> str:
        for line in choice_lines(choices, proposed) if shown else ():
            complain(line)
        return take(choices, proposed)

    return choose


def _note(text: str) -> None:
    complain(f"note: {text}")
