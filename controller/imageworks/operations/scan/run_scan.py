"""A whole scan, as commands ask for it: what to look for, what was found, the records of it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imageworks.files.progress import Progress
from imageworks.foundation.errors import UsageError
from imageworks.foundation.home import expanded
from imageworks.host.settings import HostSettings, allow_root, user_config_file
from imageworks.operations.scan.find_models import Passed
from imageworks.operations.scan.record import record
from imageworks.operations.scan.scan import Finding, ScanOptions, Survey, root_of, survey
from imageworks.providers.locations import LINUX
from imageworks.reconcile.ledger import Edits, RecordSession
from imageworks.registry.entries.queries import TESTING_VARIABLE


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan came to.

    Args:
        found: What was found.
        edits: What is to be committed.
        unread: What could not be read while it was hashed.
    """

    found: Survey
    edits: Edits
    unread: tuple[Passed, ...] = ()

    @property
    def recorded(self) -> tuple[Finding, ...]:
        """The models that are recorded from now on, or anew."""
        return tuple(finding for finding in self.found.findings if finding.name in self.edits.written)

    @property
    def unchanged(self) -> int:
        """How many were recorded already."""
        return self.found.recorded + len(self.found.findings) - len(self.edits.written) - len(self.unread)

    @property
    def failed(self) -> bool:
        """Whether something could not be read."""
        return any(one.failed for one in (*self.found.passed, *self.unread))


def scan_options(
    ledger: RecordSession,
    base: Path | None,
    *,
    backend: str | None = None,
    fallback: str | None = None,
    include_testing: bool = False,
    update_existing: bool = False,
) -> ScanOptions:
    """Return what a scan is asked to do, with what the environment says besides."""
    where = base or root_of(LINUX, ledger)
    if where is None:
        raise UsageError("this host has no weights root", remedy="Name the folder to scan.")
    return ScanOptions(
        base=expanded(where).absolute(),
        backend=backend,
        fallback=fallback,
        include_testing=include_testing,
        update_existing=update_existing,
        patterns=os.environ.get(TESTING_VARIABLE),
        named=base is not None,
    )


def scan(
    ledger: RecordSession, options: ScanOptions, host: HostSettings, hashed: Progress, said: Callable[[str], None]
) -> ScanResult:
    """Look for models, hash them, and return what is to be recorded; nothing is committed here."""
    found = survey(ledger, options)
    if found.findings:
        _keep_allowed(host, options.base, said, dry_run=ledger.read_only)
    if ledger.read_only:
        return ScanResult(found, Edits())
    return ScanResult(found, *record(ledger, found.findings, options, hashed))


def _keep_allowed(host: HostSettings, base: Path, said: Callable[[str], None], *, dry_run: bool) -> None:
    """Let models stand below a folder that a person named from now on, and say so."""
    if host.allows(base):
        return
    if dry_run:
        said(f"note: {base} would be added to roots in {user_config_file()}, so that models may be below it")
    else:
        said(f"models may be below {base} on this host from now on: added to roots in {allow_root(base)}")
