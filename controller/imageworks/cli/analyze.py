"""The ``analyze`` command: what a repository is, without downloading its weights."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.output import counted, human_bytes, printable, say, table
from imageworks.errors import ExitCode

if TYPE_CHECKING:
    from imageworks.detect.facts import ModelFacts
    from imageworks.reconcile.analysis import Analysis
    from imageworks.reconcile.places import Places


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("analyze")(analyze_command)


def analyze_command(  # noqa: PLR0913, PLR0917 # one parameter an option
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="owner/repo, owner/repo@branch, hf.co/owner/repo:Q4_K_M, or a URL.")
    ],
    files: Annotated[bool, typer.Option("--files", help="Show every file.")] = False,
    form: Annotated[str | None, typer.Option("--format", "-f", help="The preferred format.")] = None,
    quant: Annotated[str | None, typer.Option("--quant", help="Which quantization of several, such as q4_k_m.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also name the files that are left out, and why.")
    ] = False,
    backend: Annotated[str | None, typer.Option("--backend", help="The serving backend, for the name.")] = None,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use no network.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON.")] = False,
) -> int:
    """Say what a repository is and what installing it would mean; reads configs and headers, never weights."""
    from imageworks.config import load_host_settings
    from imageworks.identifiers import parse_hub_identifier
    from imageworks.providers.huggingface import HubClient
    from imageworks.reconcile.analysis import analyze

    host = load_host_settings()
    wanted = parse_hub_identifier(identifier, endpoints=[host.hub_endpoint])
    wanted = replace(wanted, quantization=quant or wanted.quantization)
    with HubClient.from_environment(host.environment(), cache_dir=host.cache_dir, offline=offline) as hub:
        analysis = analyze(hub, wanted, _places(registry), container=form, backend=backend)
    if as_json:
        say(json.dumps(analysis.document(), indent=2, ensure_ascii=False))
    else:
        say("\n".join(printable(line) for line in _lines(analysis, verbose=verbose)))
        if files:
            rows = [
                (printable(file.path), human_bytes(file.size), "large" if file.large else "") for file in analysis.files
            ]
            say("\n" + table(("FILE", "SIZE", ""), rows, right=frozenset({1})))
    return ExitCode.SUCCESS


def _places(registry: Path | None) -> "Places":
    from imageworks.config import RegistryNotFoundError, find_registry, load_host_settings
    from imageworks.reconcile.places import Places
    from imageworks.reconcile.settings_view import registry_settings
    from imageworks.registry.settings import RegistrySettings

    host = load_host_settings()
    try:
        return Places(registry_settings(find_registry(registry), host), host)
    except RegistryNotFoundError:
        return Places(RegistrySettings(), host)


def _lines(analysis: "Analysis", *, verbose: bool) -> Iterable[str]:
    resolved, facts = analysis.resolved, analysis.facts
    access = [word for word, is_so in (("gated", resolved.gated), ("private", resolved.private)) if is_so]
    yield f"{resolved.repo} @ {resolved.commit[:12]} ({resolved.ref})" + (f"  [{', '.join(access)}]" if access else "")
    if analysis.renamed_from is not None:
        yield f"  renamed       {analysis.renamed_from} is {resolved.repo} on the hub by now"
    yield f"  kind          {facts.kind.value}" + (f", {facts.task}" if facts.task else "")
    for candidate in facts.candidates:
        sure = f"{candidate.confidence:.0%} sure" if candidate.confidence < 1 else "certain"
        size = f"{counted(candidate.files, 'file')}, {human_bytes(candidate.size)}"
        yield f"  format        {candidate.container.value}: {size}, {sure}"
    if facts.quantization:
        evidence = next(iter(facts.detection.evidence), None)
        yield f"  quantization  {facts.quantization}" + (f" ({evidence.source}: {evidence.text})" if evidence else "")
    for choice in analysis.quantizations:
        yield f"  offers        {choice.label}: {human_bytes(choice.size)} in {counted(choice.files, 'file')}"
    yield from _traits(facts)
    yield from _cautions(facts)
    yield from _servers(analysis)
    yield from _outcome(analysis)
    yield from _left_out(analysis, verbose=verbose)


def _traits(facts: "ModelFacts") -> Iterable[str]:
    """What the model is like."""
    architecture = facts.architecture
    shown = [f"{key.replace('_', ' ')} {architecture[key]}" for key in _SHOWN if architecture.get(key) is not None]
    if shown:
        yield f"  architecture  {', '.join(shown)}"
    able = [flag for flag, has in facts.capabilities.flags.items() if has]
    yield f"  capabilities  {', '.join(able) or 'none known'}"
    template = facts.chat_template
    yield f"  chat template {template.source}" + (f" ({template.path})" if template.path else "")
    yield f"  license       {facts.license or 'unknown'}"


def _cautions(facts: "ModelFacts") -> Iterable[str]:
    """What a person should know before using it."""
    for risky in facts.safety.files:
        yield f"  runs code     {risky.path}: {risky.reason}"
    if facts.safety.remote_code:
        yield f"  runs code     auto_map imports {', '.join(facts.safety.classes)}"
    if facts.adapter is not None:
        yield f"  adapter       {facts.adapter.told}"
    for problem in facts.problems:
        yield f"  incomplete    {problem.message}"
    for backend, missing in facts.preflight.items():
        yield from (f"  preflight     {backend}: {text}" for text in missing)
    for warning in facts.warnings:
        yield f"  warning       {warning}"


def _servers(analysis: "Analysis") -> Iterable[str]:
    """Which servers can serve it, and with what."""
    from imageworks.serving.compatibility import VERSIONS

    for one in analysis.servers:
        told = [", ".join(filter(None, (shlex.join(rule.options), rule.said))) for rule in one.rules]
        yield f"  served by     {one.server} {VERSIONS[one.server]}: {one.answer.word}" + (
            f": {'; '.join(told)}" if told else ""
        )


def _outcome(analysis: "Analysis") -> Iterable[str]:
    """What installing it would mean."""
    from imageworks.reconcile.situation import Place

    yield f"  size          {human_bytes(analysis.total_bytes)} in {counted(len(analysis.files), 'file')}"
    if analysis.selection is None:
        question, *remedy = (analysis.open_question or "").splitlines()
        yield f"  open question {question}"
        yield from (f"  {'':13} {line.strip()}" for line in remedy)
    else:
        chosen = analysis.selection.files
        yield f"  would fetch   {human_bytes(sum(file.size for file in chosen))} in {counted(len(chosen), 'file')}"
    yield f"  would be      {analysis.name}"
    place = analysis.place
    yield f"  would go to   {place.path}" if isinstance(place, Place) else f"  cannot go     {place.message}"


def _left_out(analysis: "Analysis", *, verbose: bool) -> Iterable[str]:
    """What does not come, counted by reason; named where somebody asks."""
    left = analysis.selection.left_out if analysis.selection is not None else ()
    if not left:
        return
    reasons = Counter(one.why.value for one in left)
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    yield f"  left out      {counts}" + ("" if verbose else "; -v names them")
    if verbose:
        yield from (f"  {'':13} {one}" for one in left)


_SHOWN = (
    "model_type",
    "num_layers",
    "hidden_size",
    "num_attention_heads",
    "num_kv_heads",
    "context_length",
    "vocab_size",
    "parameter_count",
)
