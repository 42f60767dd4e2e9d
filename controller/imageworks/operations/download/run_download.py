"""A whole download, as the command asks for it: where to, what is proposed, and what it came to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from imageworks.foundation.log import start_logging
from imageworks.host.settings import load_host_settings
from imageworks.naming.hub_identifiers import HubIdentifier
from imageworks.operations.download.chosen import Choose
from imageworks.operations.download.declare import carry_out, check_plan, install, propose, shown_name
from imageworks.operations.download.draft import DeclarationDraft, DownloadRequest
from imageworks.operations.download.request import (
    allow_named,
    declared_location,
    identify,
    is_settled,
    keep_allowed,
    registry_or_new,
)
from imageworks.operations.session import Session
from imageworks.plan.plan import Action, Change, Plan
from imageworks.providers.named_source import NamedSource
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.entries.entry import Entry

__all__ = ["Choose", "DownloadRequest", "Run", "RunOptions", "declared_location", "install", "is_settled"]

Said = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a download ended with.

    Args:
        banner: In a few words.
        entry: What is recorded.
        declared: The manifest that declares it, if one does.
        commit: The commit that records it, if one was made.
        fetched: Whether any byte came over the network.
    """

    banner: str
    entry: Entry
    declared: str | None
    commit: str | None = None
    fetched: bool = False


def identified(
    model: str, *, revision: str | None, quantization: str | None, sha256: str | None
) -> HubIdentifier | NamedSource:
    """Return what somebody means by a model, on the hub that this host asks."""
    endpoint = load_host_settings().hub_endpoint
    return identify(model, revision=revision, quantization=quantization, endpoint=endpoint, sha256=sha256)


@contextmanager
def open_registry_for(registry: Path | None, said: Said, *, dry_run: bool) -> Iterator[Session]:
    """Yield the registry to use; the first download makes one, and says so."""
    with registry_or_new(registry, said, draft=dry_run) as root:
        host = load_host_settings(registry=root)
        if not dry_run:
            start_logging(host.log_dir)
        yield Session(root, host)


def proposed(run: Run, request: DownloadRequest, choose: Choose) -> DeclarationDraft:
    """Return what would be declared; a place that was named is allowed for this run."""
    allow_named(run, request)
    return propose(run, request, choose)


def already_here(proposal: DeclarationDraft, entry: Entry, *, kept: bool) -> Downloaded:
    """Return what is said of a model that is as it was asked for."""
    banner = f"Already here: {shown_name(entry)}; --force reads it anew and moves its pin"
    return Downloaded(banner, entry, proposal.file if kept else None)


def bring(
    run: Run,
    proposal: DeclarationDraft,
    plan: Plan,
    request: DownloadRequest,
    session: Session,
    *,
    note: Said,
    starting: Callable[[Change], None],
    kept: bool,
) -> Downloaded:
    """Carry a download's plan out."""
    check_plan(proposal, plan)
    keep_allowed(session.host, request, note)
    for change in plan.effective:
        starting(change)
    entry, report = carry_out(run, proposal, plan)
    for text in report.notes:
        note(text)
    fetched = any(change.bytes_to_fetch or not change.size_known for change in plan.effective)
    words = {Action.ADOPT: "Found here, every byte right", Action.MOVE: "Moved"}
    unchanged = "Right as it was" if request.force else "Declared"
    came = "Successfully downloaded" if fetched else "Taken from this machine, every byte right"
    said = next((words.get(change.action, came) for change in plan.effective), unchanged)
    return Downloaded(f"{said}: {shown_name(entry)}", entry, proposal.file if kept else None, report.commit, fetched)


def preferring(request: DownloadRequest, session: Session, *, compare: bool) -> DownloadRequest:
    """Return a request with the formats that this host prefers, and whether choices come with what they need."""
    return replace(request, preferred=session.host.preferred_formats, compare=compare)
