"""The ``download`` command: name a model, and it is declared, brought, verified and recorded."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.ask import at_terminal
from imageworks.cli.output import complain, human_bytes, printable, say, wants_colour
from imageworks.cli.scan import Backend
from imageworks.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from imageworks.config import HostSettings
    from imageworks.reconcile.declare import Proposal, Wish
    from imageworks.reconcile.plan import Plan
    from imageworks.reconcile.run import Run
    from imageworks.registry.entry import Entry


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("download")(download_command)


def download_command(  # noqa: PLR0913, PLR0917 # one parameter an option of the documented command line
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="owner/repo, owner/repo@branch, hf.co/owner/repo:Q4_K_M, or a URL.")
    ],
    form: Annotated[
        str | None,
        typer.Option("--format", "-f", help="Preferred formats, the best first: gguf, awq, gptq, safetensors."),
    ] = None,
    location: Annotated[
        str | None, typer.Option("--location", "-l", help="linux_wsl, windows_lmstudio, another location, or a path.")
    ] = None,
    optional: Annotated[
        bool,
        typer.Option("--include-optional/--no-include-optional", "-o", help="Also documents, pictures and examples."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Move the pin, read every byte again, fetch what is not right.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--non-interactive", "--yes", "-y", help="Ask nothing and use the defaults.")
    ] = False,
    quant: Annotated[str | None, typer.Option("--quant", help="Which quantization of several, such as q4_k_m.")] = None,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="GLOB", help="Of weights and data only these; may be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Not these files; may be repeated.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", metavar="FILE", help="Only these weights, with all that is none; may be repeated."),
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit; same as @branch.")] = None,
    backend: Annotated[
        Backend | None, typer.Option("--backend", help="What serves it; by the format when absent.")
    ] = None,
    role: Annotated[list[str] | None, typer.Option("--role", help="What it is used for; may be repeated.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show manifest and plan; write nothing, anywhere.")
    ] = False,
    manifest: Annotated[
        bool, typer.Option("--manifest/--no-manifest", help="Declare it, or only record what was brought.")
    ] = True,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")] = 0.0,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show how far it is.")] = True,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also name the files that are left out, and why.")
    ] = False,
) -> int:
    """Download a model: pin and declare it, bring and verify its files, record all in one commit.

    What was interrupted resumes when the same command runs again. Exits with 1 where what came is incomplete: a pointer
    instead of weights, shards or a configuration that the repository lacks.
    """
    from imageworks.cli.progress import show_progress
    from imageworks.config import load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile.declare import Wish, install, propose
    from imageworks.reconcile.run import Run, RunOptions
    from imageworks.reconcile.wishes import allow_named, declared_location, identify, is_settled
    from imageworks.registry.completeness import completeness
    from imageworks.tools.model_downloader.questions import TerminalQuestions, answered, take_proposed

    if role and not manifest:
        raise UsageError("--role needs a manifest, so --no-manifest excludes it")
    endpoint = load_host_settings().hub_endpoint
    wish = Wish(
        identifier=identify(model, revision=revision, quantization=quant, endpoint=endpoint),
        formats=tuple(one.strip().lower() for one in (form or "").split(",") if one.strip()),
        quantization=quant,
        backend=backend.value if backend else None,
        roles=tuple(role or ()),
        location=declared_location(location),
        optional=optional,
        force=force,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        weights=tuple(weights or ()),
    )
    root = _registry(registry, dry_run=dry_run)
    host = load_host_settings(registry=root)
    wish = replace(wish, preferred=host.preferred_formats)
    if not dry_run:
        start_logging(host.log_dir)
    asked = TerminalQuestions(size=human_bytes) if not yes and not dry_run and at_terminal() else None
    choose = asked.quantization if asked else partial(take_proposed, told=_note, size=human_bytes)
    options = RunOptions(any_time=True, read_only=dry_run)
    with (
        show_progress(quiet=False, wanted=progress) as shown,
        Run.open(root, host, options, progress=shown, wait=wait) as run,
    ):
        allow_named(run, wish)
        proposal = propose(run, wish, choose)
        if asked and proposal.entry and proposal.installed and not (wish.force or wish.location):
            wish = answered(wish, asked.existing(proposal.name, proposal.entry.path), proposal.label)
            allow_named(run, wish)
            proposal = propose(run, wish, choose)
        _tell_of(proposal, verbose=verbose)
        entry = proposal.entry
        if entry is not None and is_settled(proposal, wish, kept=manifest):
            ended = _Ended(f"Already here: {_name(entry)}; --force reads it anew and moves its pin", entry)
        else:
            plan = install(run, proposal, force=wish.force, kept=manifest)
            if dry_run:
                return _show_plan(proposal, plan, kept=manifest)
            ended = _carry_out(run, proposal, plan, wish, host)
    # The bars are gone by now: on a terminal they draw over what is printed meanwhile, whichever stream it is for.
    condition = completeness(ended.entry.fields)
    status = condition.get("status") if condition is not None else "True"
    say(printable(f"{'✅' if status == 'True' else '⚠️ '} {ended.banner}"))
    for line in _summary(ended.entry):
        say(f"   {printable(line)}")
    if ended.commit:
        declared = f", declared in {proposal.file}" if manifest else ""
        complain(f"{ended.entry.name}{declared}; committed {ended.commit[:10]}")
    return _tell_of_lacks(ended.entry, condition) if condition is not None else ExitCode.SUCCESS


def _tell_of_lacks(entry: "Entry", condition: "Mapping[str, object]") -> int:
    """Say that what came, byte for byte as the hub has it, is not all that loading it needs."""
    from imageworks.registry.completeness import shown

    base = entry.part("metadata").get("adapter_of")
    if isinstance(base, str):
        complain(printable(f"note: {entry.name} is an adapter: it runs only with its base, {base}"))
    if condition.get("status") == "Unknown":
        complain(printable(f"warning: it cannot be told whether {entry.name} can be loaded: {shown(condition)}"))
    if condition.get("status") != "False":
        return ExitCode.SUCCESS
    complain(printable(f"error: {entry.name} is incomplete: {shown(condition)}"))
    complain(
        "  The files are here as the hub has them, and recorded; no server is started with them. Choose another "
        f"revision or repository, or `imageworks-models remove {entry.name} --delete-files`."
    )
    return ExitCode.FAILURE


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a download ended with.

    Args:
        banner: In a few words.
        entry: What is recorded.
        commit: The commit that records it, if one was made.
    """

    banner: str
    entry: "Entry"
    commit: str | None = None


def _show_plan(proposal: "Proposal", plan: "Plan", *, kept: bool) -> int:
    from imageworks.cli.plan_view import plan_text
    from imageworks.reconcile.plan import Action

    if kept and proposal.changed:
        say(f"{proposal.file}:\n\n{printable(proposal.content.decode())}")
    say(plan_text(plan, colour=wants_colour(sys.stdout)))
    return ExitCode.FAILURE if plan.count(Action.BLOCKED) else ExitCode.SUCCESS


def _carry_out(run: "Run", proposal: "Proposal", plan: "Plan", wish: "Wish", host: "HostSettings") -> _Ended:
    from imageworks.reconcile.declare import carry_out, check_plan
    from imageworks.reconcile.plan import Action
    from imageworks.reconcile.wishes import keep_allowed

    check_plan(proposal, plan)
    keep_allowed(host, wish, _note)
    for change in plan.effective:
        target = f" -> {change.path[1]}" if str(change.path[1]) not in change.message else ""
        complain(f"{change.action.value}: {change.message}{target}")
    entry, report = carry_out(run, proposal, plan)
    for note in report.notes:
        complain(f"note: {note}")
    words = {Action.ADOPT: "Found here, every byte right", Action.MOVE: "Moved"}
    unchanged = "Right as it was" if wish.force else "Declared"
    said = next((words.get(change.action, "Successfully downloaded") for change in plan.effective), unchanged)
    return _Ended(f"{said}: {_name(entry)}", entry, report.commit)


def _tell_of(proposal: "Proposal", *, verbose: bool) -> None:
    for note in proposal.notes:
        _note(note)
    for one in proposal.left_out if verbose else ():
        complain(printable(f"left out: {one}"))


def _note(text: str) -> None:
    complain(f"note: {text}")


def _registry(given: Path | None, *, dry_run: bool) -> Path:
    """Return the registry to use; the first download makes one, and says so."""
    from imageworks.config import RegistryNotFoundError, find_registry, registry_to_make
    from imageworks.reconcile.wishes import registry_or_new

    if not dry_run:
        return registry_or_new(given, complain)
    try:
        return find_registry(given)
    except RegistryNotFoundError as error:
        raise RegistryNotFoundError(
            error.message, remedy=f"Without --dry-run, download makes one at {registry_to_make()}."
        ) from error


def _name(entry: "Entry") -> str:
    from imageworks.reconcile.declare import shown_name

    return shown_name(entry)


def _summary(entry: "Entry") -> Iterable[str]:
    """Yield what the seed's summary says of a model, a line each; what is not known is left out."""
    metadata, template = entry.part("metadata"), entry.part("chat_template")
    architecture = metadata.get("architecture")
    kind = architecture.get("model_type") if isinstance(architecture, Mapping) else None
    yield f"📁 Files stored at: {entry.path}"
    if label := entry.text("download_location"):
        yield f"🗂️  Location label: {label}"
    form, quantization = entry.text("download_format") or "unknown", entry.text("quantization")
    yield f"🔧 Format: {form}" + (f" ({quantization})" if quantization else "")
    yield f"💾 Size: {human_bytes(entry.size, digits=2)}"
    yield f"📄 Files downloaded: {len(entry.files)}"
    hints = {"Model type": kind or metadata.get("model_type"), "library": metadata.get("library")}
    if known := [f"{key}: {value}" for key, value in hints.items() if value]:
        yield f"🧩 {', '.join(known)}"
    path = template.get("path")
    if template.get("source") == "external":
        yield f"💬 Chat template detected: external file ({path})"
    elif template.get("source") == "embedded":
        yield f"💬 Chat template detected: embedded ({path})"
    else:
        yield "💬 Chat template: none found"
