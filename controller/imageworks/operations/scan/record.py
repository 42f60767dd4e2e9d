"""Record what a scan found: hash it, and make the entries that are committed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.files.progress import Progress
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.isolation import isolated
from imageworks.operations.hash_files import hash_all
from imageworks.operations.scan.find_models import FoundModel, Passed
from imageworks.operations.scan.scan import Finding, ScanOptions, location_of
from imageworks.plan.facts import DeclaredModel, ResolvedSource, TargetFolder
from imageworks.providers.libraries import LIBRARY
from imageworks.providers.record import compose_entry
from imageworks.reconcile.ledger import Edits, RecordSession
from imageworks.registry.entries.entry import ArtifactFile, Entry, aggregate_sha256, as_packed
from imageworks.registry.entries.queries import display_after, part
from imageworks.registry.manifests.manifest import Manifest, PathSource
from imageworks.registry.validate import check_recordable

_SAID: Final = ("deprecated", "display_name", "generation_defaults", "served_model_id", "source")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def record(
    ledger: RecordSession, findings: Sequence[Finding], options: ScanOptions, progress: Progress
) -> tuple[Edits, tuple[Passed, ...]]:
    """Hash what was found, and return what is to be committed with what could not be read."""
    paths = (one.candidate.model.root / file.path for one in findings for file in one.candidate.model.files)
    digests = hash_all(paths, ledger, progress)
    written: dict[str, Entry] = {}
    gone: set[str] = set()
    passed: list[Passed] = []
    for finding in findings:
        model = finding.candidate.model
        hashed = (digests[str(model.root / file.path)] for file in model.files)
        failed = next((problem for problem in hashed if isinstance(problem, str)), None)
        failed = failed or _damaged(finding.candidate, digests)
        if failed is not None:
            passed.append(Passed(finding.candidate.path, failed, failed=True))
            continue
        try:
            with isolated(finding.name):
                entry = found_entry(finding, digests, ledger, options)
                check_recordable(entry)
        except ImageworksError as error:
            passed.append(Passed(finding.candidate.path, error.message, failed=True))
            continue
        if finding.old is not None and is_same(entry, finding.old):
            continue
        written[entry.name] = as_packed(entry)
        if finding.old is not None and finding.old.name != entry.name:
            gone.add(finding.old.name)
    lines = [f"{'~' if name in ledger.registry.entries else '+'} {name}" for name in sorted(written)]
    lines += [f"- {name}" for name in sorted(gone)]
    many = "1 model" if len(written) == 1 else f"{len(written)} models"
    title = f"Record {many} found below {options.base.name}"
    return Edits(written=written, gone=frozenset(gone), title=title, lines=tuple(lines)), tuple(passed)


def _damaged(candidate: FoundModel, digests: Mapping[str, str | Digest]) -> str | None:
    """Return which file of a cache has other bytes than its blob's name promises; ``None`` where all have those."""
    if candidate.commit is None:
        return None
    for file in candidate.model.files:
        digest = digests[str(candidate.model.root / file.path)]
        if _SHA256.fullmatch(file.place.name) and isinstance(digest, Digest) and digest.value != file.place.name:
            return f"{file.path} is damaged: its bytes have not the digest that the cache keeps them under"
    return None


def found_entry(
    finding: Finding, digests: Mapping[str, str | Digest], ledger: RecordSession, options: ScanOptions
) -> Entry:
    """Return the entry of what was found and hashed."""
    candidate = finding.candidate
    root = candidate.model.root
    artifacts = []
    for file in candidate.model.files:
        digest = digests[str(root / file.path)]
        if isinstance(digest, Digest):
            artifacts.append(ArtifactFile(file.path, file.size, digest.value))
    manifest = Manifest(finding.name, "", PathSource(str(candidate.path)))
    remote = tuple(
        RemoteFile(file.path, file.size, Digest(Algorithm.SHA256, file.sha256), large=False) for file in artifacts
    )
    place = TargetFolder(options.base, candidate.path, location_of(candidate.path, ledger), filesystem="")
    cached = candidate.commit is not None
    upstream = ResolvedSource(
        files=remote,
        container=options.fallback,
        quantization=None,
        repo=candidate.repo if cached else None,
        commit=candidate.commit,
        ref=candidate.ref if cached else None,
    )
    found = compose_entry(
        DeclaredModel(manifest, upstream=upstream),
        place,
        artifacts,
        finding.fields,
        acquisition="adopted",
    )
    fields = {**found.fields, "managed": False, "backend": finding.backend}
    if finding.backend == LIBRARY and finding.served:
        fields["served_model_id"] = finding.served
    if cached:
        fields["verification"] = "trust-on-first-use"  # what its commit says of these bytes was not asked
    if candidate.kind is not None:
        fields["metadata"] = {**found.part("metadata"), "kind": candidate.kind}
    if finding.testing:
        fields["metadata"] = {**part(fields, "metadata"), "testing": True}
    old = finding.old
    fields["display_name"] = display_after(fields, old.fields if old is not None else None)
    if old is not None:
        fields |= {key: old.fields[key] for key in ("version_lock", "model_aliases") if key in old.fields}
        if old.files == found.files and old.text("downloaded_at"):
            fields["downloaded_at"] = old.fields["downloaded_at"]
        if not old.files and old.path is not None:
            fields |= _what_people_said(old, found)
    return replace(found, fields=fields)


def _what_people_said(old: Entry, found: Entry) -> dict[str, object]:
    """Return what an earlier tool recorded of a model and no look at its files brings back."""
    kept = {key: old.fields[key] for key in _SAID if key in old.fields}
    metadata = {key: old.part("metadata")[key] for key in ("legacy",) if key in old.part("metadata")}
    return {
        **kept,
        "backend_config": {**old.part("backend_config"), **found.part("backend_config")},
        "metadata": {**found.part("metadata"), **metadata},
    }


def is_same(entry: Entry, old: Entry) -> bool:
    """Return whether an entry says what was recorded before."""
    return aggregate_sha256(entry.files) == aggregate_sha256(old.files) and dict(entry.fields) == dict(old.fields)
