"""The ``scan`` command: record the models that are already on this machine."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.output import complain, human_bytes, printable, say
from imageworks.errors import ExitCode, UsageError
from imageworks.foundation.home import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imageworks.config import HostSettings
    from imageworks.reconcile.finding import Passed
    from imageworks.reconcile.ledger import Ledger
    from imageworks.reconcile.scan import Finding, ScanOptions


class Backend(StrEnum):
    """What serves a model; the values are the schema's."""

    VLLM = "vllm"
    OLLAMA = "ollama"
    LMDEPLOY = "lmdeploy"
    GGUF = "gguf"
    LMSTUDIO = "lmstudio"
    UNASSIGNED = "unassigned"


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("scan")(scan_command)


def scan_command(
    base: Annotated[
        Path | None, typer.Option("--base", metavar="DIR", help="Where to look; the weights root if none.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be recorded and write nothing.")] = False,
    include_testing: Annotated[
        bool, typer.Option("--include-testing", help="Also record what tests and demos made.")
    ] = False,
    update_existing: Annotated[
        bool, typer.Option("--update-existing", help="Look again at models that are recorded already.")
    ] = False,
    form: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="The format where none can be detected.")
    ] = None,
    backend: Annotated[
        Backend | None, typer.Option("--backend", help="What will serve them; else vllm, and gguf for GGUF.")
    ] = None,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")] = 0.0,
) -> int:
    """Record models that are already on this machine: owner/repo folders and GGUF files below a folder.

    What is found is hashed, described and committed as discovered entries; no file is moved or changed, and models
    that are declared or recorded already are left alone. `promote` makes a manifest of one.
    """
    from imageworks.cli.hashing import HashProgress
    from imageworks.config import find_registry, load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile.ledger import Ledger
    from imageworks.reconcile.scan import record, survey

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    if not dry_run:
        start_logging(host.log_dir)
    with Ledger.open(root, host, read_only=dry_run, wait=wait) as ledger:
        options = scan_options(
            ledger,
            base,
            backend=backend,
            fallback=form,
            include_testing=include_testing,
            update_existing=update_existing,
        )
        found = survey(ledger, options)
        tell_passed(ledger.notes, found.passed)
        if found.findings:
            keep_allowed(host, options.base, dry_run=dry_run)
        if dry_run:
            show_findings(found.findings)
            say(f"Scan: {len(found.findings)} to record, {found.recorded} recorded already. Nothing was written.")
            return scan_code(found.passed)
        with HashProgress() as progress:
            edits, unread = record(ledger, found.findings, options, progress)
        tell_passed((), unread)
        result = ledger.commit(edits)
    show_findings([finding for finding in found.findings if finding.name in edits.written])
    committed = f"; committed {result.id[:10]}" if result else "; nothing to commit"
    unchanged = found.recorded + len(found.findings) - len(edits.written) - len(unread)
    say(f"Scan: {len(edits.written)} recorded, {unchanged} recorded already{committed}.")
    return scan_code((*found.passed, *unread))


def scan_options(
    ledger: "Ledger",
    base: Path | None,
    *,
    backend: Backend | None = None,
    fallback: str | None = None,
    include_testing: bool = False,
    update_existing: bool = False,
) -> "ScanOptions":
    """Return what a scan is asked to do, with what the environment says besides.

    Args:
        ledger: Whose locations count.
        base: The folder to look below; the weights root if none.
        backend: What will serve what is found.
        fallback: The format where none can be detected.
        include_testing: Whether testing and demo models are recorded too.
        update_existing: Whether recorded models are looked at again.

    Raises:
        UsageError: No folder is named and the host has no weights root.
    """
    from imageworks.reconcile.places import LINUX
    from imageworks.reconcile.scan import ScanOptions, root_of
    from imageworks.registry.views import TESTING_VARIABLE

    where = base or root_of(LINUX, ledger)
    if where is None:
        raise UsageError("this host has no weights root", remedy="Name the folder to scan.")
    return ScanOptions(
        base=expanded(where).absolute(),
        backend=backend.value if backend else None,
        fallback=fallback,
        include_testing=include_testing,
        update_existing=update_existing,
        patterns=os.environ.get(TESTING_VARIABLE),
        named=base is not None,
    )


def keep_allowed(host: "HostSettings", base: Path, *, dry_run: bool) -> None:
    """Let models stand below a folder that a person named from now on, and say so.

    Args:
        host: This host's settings, as they were before.
        base: The folder.
        dry_run: Whether nothing may be written.
    """
    from imageworks.config import allow_root, user_config_file

    if host.allows(base):
        return
    if dry_run:
        complain(f"note: {base} would be added to roots in {user_config_file()}, so that models may be below it")
    else:
        complain(f"models may be below {base} on this host from now on: added to roots in {allow_root(base)}")


def show_findings(findings: "Iterable[Finding]") -> None:
    """Print the models that are recorded, with where they stand.

    Args:
        findings: What a survey found.
    """
    for finding in findings:
        facts, old = finding.facts, finding.old
        kind = ", ".join(filter(None, (facts.download_format, facts.quantization, finding.backend)))
        say(f"{'~' if old else '+'} {finding.name}  ({kind})")
        if old is not None and old.name != finding.name:
            say(f"    was {old.name}")
        say(printable(f"    at {finding.candidate.path}"))
        files = len(finding.candidate.model.files)
        say(f"    {files} {'file' if files == 1 else 'files'}, {human_bytes(finding.candidate.model.total_bytes)}")
        for problem in facts.problems:
            say(printable(f"    incomplete: {problem.message}"))


def tell_passed(notes: "Iterable[str]", passed: "Iterable[Passed]") -> None:
    """Say what a person should know, and what was passed over.

    Args:
        notes: Of the registry.
        passed: What is not recorded, and why.
    """
    for note in notes:
        complain(f"note: {note}")
    for one in passed:
        complain(f"{'error' if one.failed else 'passed over'}: {one.path}: {one.why}")


def scan_code(passed: "Iterable[Passed]") -> int:
    """Return the exit code: something that could not be read is a failure.

    Args:
        passed: What is not recorded, and why.
    """
    return ExitCode.FAILURE if any(one.failed for one in passed) else ExitCode.SUCCESS
