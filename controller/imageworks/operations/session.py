"""What every command begins with: which registry is meant, this host's settings, the log."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imageworks.foundation.log import start_logging
from imageworks.host.settings import HostSettings, find_registry, load_host_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imageworks.reconcile.ledger import RecordSession


class Session(NamedTuple):
    """One command's work with one registry.

    Args:
        root: The registry.
        host: This host's settings for it.
    """

    root: Path
    host: HostSettings


def start_session(registry: Path | None, *, writes: bool = False) -> Session:
    """Find the registry, read this host's settings, and keep a log of what writes."""
    root = find_registry(registry)
    host = load_host_settings(registry=root)
    if writes:
        start_logging(host.log_dir)
    return Session(root, host)


@contextmanager
def open_records(
    registry: Path | None, *, read_only: bool, wait: float = 0.0, aside: bool = False
) -> "Iterator[RecordSession]":
    """Open what is recorded in a registry."""
    from imageworks.reconcile.ledger import RecordSession  # git and schemas, which help and completion need not load

    session = start_session(registry, writes=not read_only)
    with RecordSession.open(session.root, session.host, read_only=read_only, wait=wait, aside=aside) as records:
        yield records
