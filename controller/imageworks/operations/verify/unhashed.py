"""Verify a model whose entry lists files and no digests, as earlier tools recorded it: by what stands there."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from imageworks.files.digests import Digest
from imageworks.files.progress import Progress
from imageworks.files.safe_names import UnsafeNameError, check_names
from imageworks.files.safe_paths import is_there
from imageworks.operations.hash_files import hash_all
from imageworks.plan.verification import Fault, FileProblem, Verdict, Verified
from imageworks.reconcile.ledger import RecordSession
from imageworks.registry.entries.entry import ArtifactFile, Entry, aggregate_sha256, directory_checksum, has_files
from imageworks.registry.version_lock import lock_of


def lists_files_only(entry: Entry | None) -> bool:
    """Return whether an entry names files in a folder and the digest of none."""
    return entry is not None and not has_files(entry) and entry.path is not None and bool(_names(entry))


def verify_list(ledger: RecordSession, entry: Entry, progress: Progress) -> tuple[Entry, Verified]:
    """Return the entry with the digests that its files have, and whether they are those that it is held to."""
    names = _names(entry)
    try:
        check_names(names)
    except UnsafeNameError as error:
        return entry, Verified(entry.name, Verdict.UNVERIFIED, problems=(FileProblem(Fault.UNREADABLE, error.message),))
    paths = {name: entry.base / name for name in names}
    digests = hash_all(paths.values(), ledger, progress)
    unread = tuple(_unread(name, paths[name]) for name in names if isinstance(digests[str(paths[name])], str))
    if unread:
        gone = sum(problem.fault is Fault.MISSING for problem in unread)
        verdict = Verdict.MISSING if gone == len(names) else Verdict.DAMAGED if gone else Verdict.UNVERIFIED
        return entry, Verified(entry.name, verdict, len(names), problems=unread)
    files = tuple(
        ArtifactFile(name, paths[name].stat().st_size, digest.value)
        for name in names
        if isinstance(digest := digests[str(paths[name])], Digest)
    )
    found = _with_artifacts(entry, files)
    problems = tuple(_problems(ledger, entry, files))
    faults = {problem.fault for problem in problems}
    verdict = Verdict.INTACT
    if faults:
        verdict = Verdict.UNVERIFIED if faults == {Fault.NO_RECORD} else Verdict.DAMAGED
    return found, Verified(entry.name, verdict, len(files), found.size, problems=problems)


def _unread(name: str, path: Path) -> FileProblem:
    if is_there(path):
        return FileProblem(Fault.UNREADABLE, "cannot be read", name)
    return FileProblem(Fault.MISSING, "is gone", name)


def _names(entry: Entry) -> list[str]:
    listed = entry.fields.get("download_files")
    return sorted({name for name in listed if isinstance(name, str)}) if isinstance(listed, list) else []


def _problems(ledger: RecordSession, entry: Entry, files: tuple[ArtifactFile, ...]) -> Iterator[FileProblem]:
    """Yield how files differ from what an earlier tool, the entry or a lock on it says of them."""
    known = _earlier_digests(entry)
    for file in files:
        if known.get(file.path, file.sha256) != file.sha256:
            said = f"is {file.sha256[:12]}, an earlier tool recorded {known[file.path][:12]}"
            yield FileProblem(Fault.DIGEST, said, file.path)
    aggregate = aggregate_sha256(files)
    lock = lock_of(ledger.registry.manifests.get(entry.name), entry).digest
    recorded = entry.part("artifacts").get("aggregate_sha256")
    if lock is not None:
        if lock != aggregate:
            yield FileProblem(Fault.LOCK, f"version_lock expects {lock[:12]}, and the files have {aggregate[:12]}")
    elif isinstance(recorded, str):
        if recorded != aggregate:
            yield FileProblem(Fault.DIGEST, f"the files have {aggregate[:12]} together, recorded is {recorded[:12]}")
    elif unknown := [file.path for file in files if file.path not in known]:
        why = f"only the names of {len(unknown)} files are recorded, so there is nothing to compare them with"
        yield FileProblem(Fault.NO_RECORD, why)


def _earlier_digests(entry: Entry) -> dict[str, str]:
    """Return the sha256 of files, by path, that was recorded without sizes before this registry was."""
    legacy = entry.part("metadata").get("legacy")
    artifacts = legacy.get("artifacts") if isinstance(legacy, Mapping) else None
    listed = artifacts.get("files") if isinstance(artifacts, Mapping) else None
    found = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    return {str(item.get("path")): str(item.get("sha256")) for item in found}


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
