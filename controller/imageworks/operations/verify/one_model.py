"""Verify one model, and hold it to the bytes that it has, or let it have others again."""

from imageworks.files.progress import Progress
from imageworks.operations.session import Session
from imageworks.operations.verify.unhashed import lists_files_only, verify_list
from imageworks.operations.verify.verify import exit_code, verify
from imageworks.operations.version_lock import lock, unlock
from imageworks.plan.verification import Verified
from imageworks.reconcile.ledger import RecordSession
from imageworks.registry.entries.lookup import find_in

__all__ = ["exit_code", "unlock_model", "verify_and_lock", "verify_model"]


def verify_model(session: Session, name: str, hashed: Progress, *, full: bool) -> Verified:
    """Return what came of verifying one model."""
    return verify(session.root, session.host, name, full=full, progress=hashed)[0]


def verify_and_lock(
    session: Session, name: str, hashed: Progress, *, full: bool, wait: float
) -> tuple[Verified, tuple[str, ...]]:
    """Verify a model while nobody else changes what is recorded of it, lock it to that, and return what to say."""
    with RecordSession.open(session.root, session.host, read_only=False, wait=wait) as ledger:
        name = find_in(ledger.registry, name)
        entry, derived = ledger.registry.entries.get(name), None
        if entry is not None and lists_files_only(entry):
            derived, result = verify_list(ledger, entry, hashed)
        else:
            result = verify_model(session, name, hashed, full=full)
        edits = lock(ledger, result, derived=derived)
        commit = ledger.commit(edits)
    said = f"{name}: committed {commit.id[:10]}" if commit else f"{name} is locked to these bytes already"
    if derived is not None:
        result = verify_model(session, name, hashed, full=full)
    return result, (*edits.lines, said)


def unlock_model(session: Session, name: str, *, wait: float) -> str:
    """Let a model have other bytes again; return what to say."""
    with RecordSession.open(session.root, session.host, read_only=False, wait=wait) as ledger:
        commit = ledger.commit(unlock(ledger, name))
    return f"{name}: unlocked; committed {commit.id[:10]}" if commit else f"{name} is not locked"
