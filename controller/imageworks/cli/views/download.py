"""What a download brings, brought or lacks, for people and as JSON."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from imageworks.cli.output import complain, is_quiet, printable, say, say_json, wants_colour
from imageworks.cli.views.choices import here_already, quantization_lines
from imageworks.cli.views.plan import plan_text
from imageworks.foundation.errors import ExitCode
from imageworks.foundation.texts import human_bytes
from imageworks.host.hardware import this_machine
from imageworks.plan.plan import Action
from imageworks.registry.entries.completeness import completeness, shown

if TYPE_CHECKING:
    from imageworks.operations.download.draft import DeclarationDraft
    from imageworks.operations.download.run_download import Downloaded
    from imageworks.plan.plan import Change, Plan
    from imageworks.providers.selection.model import QuantChoice
    from imageworks.registry.entries.entry import Entry


def show_downloaded(ended: "Downloaded", *, as_json: bool) -> int:
    """Print what is here now; return the exit code, which says whether all is there that loading it needs."""
    condition = completeness(ended.entry.fields)
    status = condition.get("status") if condition is not None else "True"
    if as_json:
        say_json({**_document(ended.entry), "manifest": ended.declared, "commit": ended.commit})
        return _tell_of_lacks(ended.entry, condition) if condition is not None else ExitCode.SUCCESS
    if is_quiet():
        return _tell_of_lacks(ended.entry, condition) if condition is not None else ExitCode.SUCCESS
    say(printable(f"{'✅' if status == 'True' else '⚠️ '} {ended.banner}"))
    for line in _summary(ended.entry, fetched=ended.fetched):
        say(f"   {printable(line)}")
    if ended.commit:
        declared = f", declared in {ended.declared}" if ended.declared else ""
        complain(f"{ended.entry.name}{declared}; committed {ended.commit[:10]}")
    return _tell_of_lacks(ended.entry, condition) if condition is not None else ExitCode.SUCCESS


def tell_change(change: "Change") -> None:
    """Say what is about to be done, and what of it is on this machine already."""
    if (here := here_already(change, os.environ)) is not None:
        complain(here)
    target = f" -> {change.path[1]}" if str(change.path[1]) not in change.message else ""
    complain(f"{change.action.value}: {change.message}{target}")


def _tell_of_lacks(entry: "Entry", condition: "Mapping[str, object]") -> int:
    """Say that what came, byte for byte as the hub has it, is not all that loading it needs."""
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


def _document(entry: "Entry") -> dict[str, object]:
    form, quantization = entry.text("download_format"), entry.text("quantization")
    recorded = {"name": entry.name, "path": str(entry.path), "location": entry.text("download_location")}
    return {**recorded, "format": form, "quantization": quantization, "bytes": entry.size, "files": len(entry.files)}


def show_download_plan(proposal: "DeclarationDraft", plan: "Plan", *, kept: bool, as_json: bool) -> int:
    """Print manifest and plan of what is not written; return the exit code."""
    if as_json:
        text = proposal.content.decode() if kept and proposal.changed else None
        say_json({"dry_run": True, "manifest": {"file": proposal.file, "text": text}, "plan": plan.document()})
        return ExitCode.FAILURE if plan.count(Action.BLOCKED) else ExitCode.SUCCESS
    if kept and proposal.changed:
        say(f"{proposal.file}:\n\n{printable(proposal.content.decode())}")
    for change in plan.effective:
        if (here := here_already(change, os.environ)) is not None:
            complain(here)
    say(plan_text(plan, colour=wants_colour(sys.stdout)))
    return ExitCode.FAILURE if plan.count(Action.BLOCKED) else ExitCode.SUCCESS


def choice_lines(choices: "Sequence[QuantChoice]", proposed: str | None) -> list[str]:
    """Return what there is to choose from, and what of it fits this machine."""
    return quantization_lines(choices, proposed, this_machine())


def tell_proposal(proposal: "DeclarationDraft", *, verbose: bool) -> None:
    """Say what a person should know before anything comes."""
    for note in proposal.notes:
        complain(f"note: {note}")
    for one in proposal.left_out if verbose else ():
        complain(printable(f"left out: {one}"))


def _summary(entry: "Entry", *, fetched: bool) -> Iterable[str]:
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
    yield f"📄 Files{' downloaded' if fetched else ''}: {len(entry.files)}"
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
