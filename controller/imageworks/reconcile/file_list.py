"""Verify a model whose entry lists files and no digests, as earlier tools recorded it: by what stands there."""

from dataclasses import replace

from imageworks.reconcile.decide import has_files
from imageworks.reconcile.hashing import Told, hash_all
from imageworks.reconcile.ledger import Ledger
from imageworks.reconcile.verify import Fault, Problem, Verdict, Verified
from imageworks.registry.entry import ArtifactFile, Entry, aggregate_sha256, directory_checksum
from imageworks.registry.version_lock import lock_of
from imageworks.transfer.digests import Digest
from imageworks.transfer.names import check_names


def lists_files_only(entry: Entry | None) -> bool:
    """Return whether an entry names files in a folder and the digest of none.

    Args:
        entry: What is recorded of a model, if anything is.
    """
    return entry is not None and not has_files(entry) and entry.path is not None and bool(_names(entry))


def verify_list(ledger: Ledger, entry: Entry, told: Told) -> tuple[Entry, Verified]:
    """Return the entry with the digests that its files have, and whether they are those that it is held to.

    Args:
        ledger: What is recorded.
        entry: One that lists files only.
        told: Told how far hashing is.

    Raises:
        UnsafeNameError: A listed name leads out of the model's folder (I8).
    """
    names = _names(entry)
    check_names(names)
    paths = {name: entry.base / name for name in names}
    digests = hash_all(paths.values(), ledger, told)
    gone = [Problem(Fault.MISSING, "cannot be read", name) for name, path in paths.items() if not path.is_file()]
    if gone:
        verdict = Verdict.MISSING if len(gone) == len(names) else Verdict.DAMAGED
        return entry, Verified(entry.name, verdict, len(names), problems=tuple(gone))
    files = tuple(
        ArtifactFile(name, paths[name].stat().st_size, digest.value)
        for name in sorted(names)
        if isinstance(digest := digests[paths[name]], Digest)
    )
    found = _with_artifacts(entry, files)
    problem = _problem(ledger, entry, aggregate_sha256(files))
    verdict = Verdict.INTACT
    if problem is not None:
        verdict = Verdict.UNVERIFIED if problem.fault is Fault.NO_RECORD else Verdict.DAMAGED
    return found, Verified(entry.name, verdict, len(files), found.size, problems=(problem,) if problem else ())


def _names(entry: Entry) -> list[str]:
    listed = entry.fields.get("download_files")
    return sorted({name for name in listed if isinstance(name, str)}) if isinstance(listed, list) else []


def _problem(ledger: Ledger, entry: Entry, found: str) -> Problem | None:
    """Return how files differ from what the entry, or a lock on it, says of them all."""
    lock = lock_of(ledger.registry.manifests.get(entry.name), entry).digest
    recorded = entry.part("artifacts").get("aggregate_sha256")
    if lock is not None:
        message = f"version_lock expects {lock[:12]}, and the files have {found[:12]}"
        return Problem(Fault.LOCK, message) if lock != found else None
    if isinstance(recorded, str):
        message = f"the files have {found[:12]} together, recorded is {recorded[:12]}"
        return Problem(Fault.DIGEST, message) if recorded != found else None
    return Problem(Fault.NO_RECORD, "only names are recorded, so there is nothing to compare with")


def _with_artifacts(entry: Entry, files: tuple[ArtifactFile, ...]) -> Entry:
    fields: dict[str, object] = {
        **entry.fields,
        "download_files": [file.path for file in files],
        "download_size_bytes": sum(file.size for file in files),
        "download_directory_checksum": directory_checksum(files),
        "artifacts": {
            "aggregate_sha256": aggregate_sha256(files),
            "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in files],
        },
    }
    return replace(entry, fields=fields, files=files)
