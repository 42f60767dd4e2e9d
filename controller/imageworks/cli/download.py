"""The ``download`` command: name a model, and it is declared, brought, verified and recorded."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.output import complain, human_bytes, printable, say, wants_colour
from imageworks.cli.scan import Backend
from imageworks.errors import ExitCode, ImageworksError, UsageError

if TYPE_CHECKING:
    from imageworks.config import HostSettings
    from imageworks.identifiers import HubIdentifier
    from imageworks.providers.select_values import QuantChoice
    from imageworks.reconcile.declare import Proposal, Wish
    from imageworks.reconcile.plan import Plan
    from imageworks.reconcile.run import Run
    from imageworks.registry.entry import Entry


class ChoiceError(ImageworksError):
    """Something is left open, and nobody can be asked."""


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
    yes: Annotated[bool, typer.Option("--non-interactive", "-y", help="Ask nothing and use the defaults.")] = False,
    quant: Annotated[str | None, typer.Option("--quant", help="Which quantization of several, such as q4_k_m.")] = None,
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
) -> int:
    """Download a model: pin and declare it, bring and verify its files, record all in one commit.

    What was interrupted resumes when the same command runs again.
    """
    from imageworks.cli.progress import show_progress
    from imageworks.config import load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile.declare import Wish, install, propose
    from imageworks.reconcile.run import Run, RunOptions

    if role and not manifest:
        raise UsageError("--role needs a manifest, so --no-manifest excludes it")
    wish = Wish(
        identifier=_identifier(model, revision, quant),
        formats=tuple(one.strip().lower() for one in (form or "").split(",") if one.strip()),
        quantization=quant,
        backend=backend.value if backend else None,
        roles=tuple(role or ()),
        location=_location(location),
        optional=optional,
        force=force,
    )
    root = _registry(registry, dry_run=dry_run)
    host = load_host_settings(registry=root)
    wish = replace(wish, preferred=host.preferred_formats)
    if not dry_run:
        start_logging(host.log_dir)
    asks = not yes and not dry_run and _at_terminal()
    options = RunOptions(any_time=True, read_only=dry_run)
    with (
        show_progress(quiet=False, wanted=progress) as shown,
        Run.open(root, host, options, progress=shown, wait=wait) as run,
    ):
        choose = _ask_quantization if asks else _default_quantization
        _allow(run, wish)
        proposal = propose(run, wish, choose)
        if asks and proposal.installed and not (wish.force or wish.location):
            wish = _ask_existing(proposal, wish)
            _allow(run, wish)
            proposal = propose(run, wish, choose)
        for note in proposal.notes:
            complain(f"note: {note}")
        entry = proposal.entry
        settled = not proposal.changed or (not manifest and entry is not None and not entry.managed)
        if entry is not None and proposal.installed and settled and not wish.force:
            ended = _Ended(f"Already here: {_name(entry)}; --force reads it anew and moves its pin", entry)
        else:
            plan = install(run, proposal, force=wish.force, kept=manifest)
            if dry_run:
                return _show_plan(proposal, plan, kept=manifest)
            ended = _carry_out(run, proposal, plan, wish, host)
    # The bars are gone by now: on a terminal they draw over what is printed meanwhile, whichever stream it is for.
    say(printable(f"✅ {ended.banner}"))
    for line in _summary(ended.entry):
        say(f"   {printable(line)}")
    if ended.commit:
        declared = f", declared in {proposal.file}" if manifest else ""
        complain(f"{ended.entry.name}{declared}; committed {ended.commit[:10]}")
    return ExitCode.SUCCESS


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
    from imageworks.config import allow_root
    from imageworks.reconcile.declare import carry_out
    from imageworks.reconcile.plan import Action

    root = _custom_root(wish.location)
    if root is not None and not host.allows(root):
        complain(f"note: models may be below {root} on this host from now on: added to roots in {allow_root(root)}")
    for change in plan.effective:
        complain(f"{change.action.value}: {change.message} -> {change.path[1]}")
    entry, report = carry_out(run, proposal, plan)
    for note in report.notes:
        complain(f"note: {note}")
    words = {Action.ADOPT: "Found here, every byte right", Action.MOVE: "Moved"}
    unchanged = "Right as it was" if wish.force else "Declared"
    said = next((words.get(change.action, "Successfully downloaded") for change in plan.effective), unchanged)
    return _Ended(f"{said}: {_name(entry)}", entry, report.commit)


def _at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _identifier(model: str, revision: str | None, quant: str | None) -> "HubIdentifier":
    from imageworks.config import load_host_settings
    from imageworks.identifiers import parse_hub_identifier

    found = parse_hub_identifier(model, endpoints=[load_host_settings().hub_endpoint])
    if revision and found.revision and revision != found.revision:
        raise UsageError(f"--revision {revision} and {found.revision} of MODEL exclude each other")
    if quant and found.quantization and quant.lower() != found.quantization.lower():
        raise UsageError(f"--quant {quant} and :{found.quantization} of MODEL exclude each other")
    if revision:
        checked = parse_hub_identifier(f"{found.repo}@{revision}")
        return replace(found, revision=checked.revision)
    return found


def _location(given: str | None) -> str | None:
    """Return a location as a manifest has it: a name as it is, a path absolute or below the home folder."""
    if given is None or ("/" not in given and not given.startswith(("~", "."))):
        return given
    path = Path(os.path.normpath(Path(given).expanduser().absolute()))
    if path.parent == path:
        raise UsageError(f"--location {given}: models cannot be strewn over the whole filesystem")
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) and path != home else str(path)


def _custom_root(location: str | None) -> Path | None:
    return Path(location).expanduser() if location and location.startswith(("/", "~")) else None


def _allow(run: "Run", wish: "Wish") -> None:
    """Let the run put models below a path that the user named; who names it on the command line allows it."""
    root = _custom_root(wish.location)
    if root is not None:
        run.allow(root)


def _registry(given: Path | None, *, dry_run: bool) -> Path:
    """Return the registry to use; the first download makes one, and says so."""
    from imageworks.config import RegistryNotFoundError, find_registry, load_host_settings, registry_to_make
    from imageworks.registry.scaffold import make_registry

    try:
        return find_registry(given)
    except RegistryNotFoundError as error:
        if dry_run:
            raise RegistryNotFoundError(
                error.message, remedy=f"Without --dry-run, download makes one at {registry_to_make()}."
            ) from error
    made = make_registry(registry_to_make(), load_host_settings())
    complain(f"Made a registry at {made.root}, a git repository with a manifest for each model.")
    return made.root


def _default_quantization(choices: "Sequence[QuantChoice]", proposed: str | None) -> str:
    if proposed is None:
        listed = ", ".join(f"{choice.label} ({human_bytes(choice.size)})" for choice in choices)
        raise ChoiceError(f"there are {len(choices)} quantizations", remedy=f"Choose one with --quant: {listed}.")
    complain(f"note: of {len(choices)} quantizations {proposed} is taken; --quant chooses another")
    return proposed


def _ask_quantization(choices: "Sequence[QuantChoice]", proposed: str | None) -> str:
    complain(f"There are {len(choices)} quantizations:")
    for number, choice in enumerate(choices, 1):
        mark = "  (proposed)" if choice.label == proposed else ""
        complain(f"  {number:>2}  {choice.label:<10} {human_bytes(choice.size):>10}{mark}")
    labels = {choice.label: choice.label for choice in choices}
    labels |= {str(number): choice.label for number, choice in enumerate(choices, 1)}
    return _ask("Which one", labels, default=proposed)


def _ask_existing(proposal: "Proposal", wish: "Wish") -> "Wish":
    """Ask what is to become of a model that is here already; return the wish that follows."""
    entry = proposal.entry
    complain(f"{proposal.name} is already here: {entry.path if entry else ''}")
    words = {"u": "use", "use": "use", "r": "again", "e": "elsewhere"}
    answer = _ask("[u]se it, [r]e-download it, or keep it [e]lsewhere", words, default="u")
    if answer == "again":
        return replace(wish, force=True)
    if answer == "elsewhere":
        return replace(wish, location=_location(typer.prompt("Location or path", err=True).strip()))
    return wish


def _ask(question: str, answers: dict[str, str], *, default: str | None) -> str:
    while True:
        given: str = typer.prompt(question, default=default, err=True)
        if given.strip().lower() in answers:
            return answers[given.strip().lower()]
        complain(f"one of: {', '.join(answers)}")


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
