"""The ``analyze`` command: what a repository is, without downloading its weights."""

import json
from typing import Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.options import AsJson, Offline, Registry
from imageworks.cli.output import printable, say, table
from imageworks.foundation.errors import ExitCode
from imageworks.foundation.texts import human_bytes


def analyze_command(  # one parameter an option
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="owner/repo, owner/repo@branch, hf.co/owner/repo:Q4_K_M, or a URL.")
    ],
    files: Annotated[bool, typer.Option("--files", help="Show every file.")] = False,
    form: Annotated[str | None, typer.Option("--format", "-f", help="The preferred format.")] = None,
    quant: Annotated[str | None, typer.Option("--quant", help="Which quantization of several, such as q4_k_m.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also name the files that are left out, and why.")
    ] = False,
    backend: Annotated[
        str | None,
        typer.Option("--backend", help="The serving backend, for the name.", autocompletion=completion.backends),
    ] = None,
    fit: Annotated[
        str | None, typer.Option("--fit", metavar="SIZE", help="Say whether it fits into this memory, such as 24GiB.")
    ] = None,
    context: Annotated[
        int | None, typer.Option("--context", metavar="N", help="The context in tokens that memory is reckoned for.")
    ] = None,
    kv_type: Annotated[
        str, typer.Option("--kv-type", metavar="TYPE", help="The type of the cache: f16, fp8, q8_0, q4_0 and others.")
    ] = "f16",
    registry: Registry = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> int:
    """Show what a repository holds and what would come.

    Formats, quantizations, sizes, licence and safety, what would be fetched and where to, and with --fit whether it
    fits and how long a context; reads no weights.

    Examples:
        imageworks-models analyze Qwen/Qwen3-8B --files
        imageworks-models analyze bartowski/Qwen3-8B-GGUF --fit 24GiB
    """
    from imageworks.cli.views.analysis import analysis_lines
    from imageworks.operations.download.analyze_named import analyze_named

    named = {"container": form, "quantization": quant, "backend": backend}
    analysis, question = analyze_named(
        identifier, registry, offline=offline, memory=(fit, context, kv_type), chosen=named
    )
    if as_json:
        say(json.dumps(analysis.document(question), indent=2, ensure_ascii=False))
        return ExitCode.SUCCESS
    say("\n".join(printable(line) for line in analysis_lines(analysis, question, verbose=verbose)))
    if files:
        rows = [
            (printable(file.path), human_bytes(file.size), "large" if file.large else "") for file in analysis.files
        ]
        say("\n" + table(("FILE", "SIZE", ""), rows, right=frozenset({1})))
    return ExitCode.SUCCESS
