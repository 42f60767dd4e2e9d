"""What a repository holds and what would come of it, for people."""

import shlex
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from imageworks.cli.output import counted, table
from imageworks.foundation.texts import human_bytes
from imageworks.plan.facts import TargetFolder
from imageworks.serving.compatibility import VERSIONS

if TYPE_CHECKING:
    from imageworks.detection.model_facts import ModelFacts
    from imageworks.operations.download.analyze import Analysis
    from imageworks.operations.download.fit import Fit, MemoryAnswer, MemoryQuestion


def analysis_lines(analysis: "Analysis", question: "MemoryQuestion", *, verbose: bool) -> Iterable[str]:
    """Yield what a repository is, a line each."""
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
    yield from _memory(analysis.memory(question))
    yield from _outcome(analysis)
    yield from _left_out(analysis, verbose=verbose)


def _traits(facts: "ModelFacts") -> Iterable[str]:
    """What the model is like."""
    architecture = facts.architecture
    shown = [f"{key.replace('_', ' ')} {architecture[key]}" for key in _SHOWN if architecture.get(key) is not None]
    if shown:
        yield f"  architecture  {', '.join(shown)}"
    if count := facts.parameters:
        active = f", {_billions(count.active)} active" if count.active else ""
        yield f"  parameters    {_billions(count.total)}{active} (counted by {count.counted})"
    able = [flag for flag, has in facts.capabilities.flags.items() if has]
    yield f"  capabilities  {', '.join(able) or 'none known'}"
    template = facts.chat_template
    yield f"  chat template {template.source}" + (f" ({template.path})" if template.path else "")
    yield f"  license       {facts.license or 'unknown'}"


def _billions(count: int) -> str:
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"  # noqa: PLR2004 # a billion


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
    for one in analysis.servers:
        told = [", ".join(filter(None, (shlex.join(rule.options), rule.said))) for rule in one.rules]
        yield f"  served by     {one.server} {VERSIONS[one.server]}: {one.answer.word}" + (
            f": {'; '.join(told)}" if told else ""
        )


def _memory(answer: "MemoryAnswer") -> Iterable[str]:
    """What it needs to run: in a line, or in a table where there are several forms of it."""
    asked, forms = answer.question, answer.forms
    if not forms:
        return
    tokens = f"{asked.context:,} tokens"
    if len(forms) > 1:
        yield f"  memory        for {tokens} (cache {asked.kv_type}):"
        rows = [_memory_row(one, asked.available) for one in forms]
        titles = ["", "WEIGHTS", "CACHE", "NEEDS"] + (
            [f"FITS {human_bytes(asked.available)}"] if asked.available else []
        )
        yield from (f"  {'':13} {line}" for line in table(titles, rows, right=frozenset({1, 2, 3})).splitlines())
    else:
        need = forms[0].need
        split = f"weights {human_bytes(need.weights)}, cache ({asked.kv_type}) {human_bytes(need.cache)}"
        yield f"  memory        {human_bytes(need.total)} for {tokens}: {split}, overhead {human_bytes(need.overhead)}"
        if asked.available:
            yield f"  fits          {human_bytes(asked.available)}: {_fits(forms[0], asked.available)}"
    if not answer.cached:
        yield f"  {'':13} without its cache: the config does not say what a token of context costs"
    elif answer.longest is not None and asked.context is not None and asked.context > answer.longest:
        yield f"  {'':13} the model is made for {answer.longest:,} tokens"


def _memory_row(one: "Fit", available: int | None) -> tuple[str, ...]:
    need = one.need
    row = (one.label or "", human_bytes(need.weights), human_bytes(need.cache), human_bytes(need.total))
    return (*row, _fits(one, available)) if available else row


def _fits(one: "Fit", available: int) -> str:
    if one.need.total <= available:
        return f"yes, up to {one.longest:,} tokens" if one.longest is not None else "yes"
    return f"no, up to {one.longest:,} tokens" if one.longest is not None else "no"


def _outcome(analysis: "Analysis") -> Iterable[str]:
    """What installing it would mean."""
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
    yield f"  would go to   {place.path}" if isinstance(place, TargetFolder) else f"  cannot go     {place.message}"


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
    "original_context_length",
    "vocab_size",
)
