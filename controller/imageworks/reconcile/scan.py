"""Scan: record the models that somebody put on this machine, by what their folders, names and headers say."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from imageworks.detect.facts import ModelFacts
from imageworks.detect.filenames import Role, classify
from imageworks.detect.problems import UNUSABLE
from imageworks.errors import ImageworksError
from imageworks.foundation.isolation import isolated
from imageworks.naming import (
    compile_testing_patterns,
    default_variant_name,
    is_generic_family,
    is_testing_name,
)
from imageworks.providers.lmstudio import SERVED, studio_identity
from imageworks.reconcile.compose import UNASSIGNED, compose_entry
from imageworks.reconcile.describe import look_at
from imageworks.reconcile.finding import Candidate, Passed, find_candidates
from imageworks.reconcile.hashing import Told, hash_all
from imageworks.reconcile.ledger import Edits, Ledger
from imageworks.reconcile.places import CUSTOM, LINUX, LMSTUDIO, WINDOWS
from imageworks.reconcile.situation import Case, Place, Upstream
from imageworks.registry.entry import ArtifactFile, Entry, aggregate_sha256
from imageworks.registry.manifest import HuggingFaceSource, Manifest, PathSource
from imageworks.registry.validate import check_recordable
from imageworks.registry.views import display_after, part
from imageworks.transfer.digests import Algorithm, Digest
from imageworks.transfer.files import RemoteFile
from imageworks.transfer.paths import is_folder, is_there

GGUF: Final = "gguf"
DEFAULT_BACKEND: Final = "vllm"
_SAID: Final = ("deprecated", "display_name", "generation_defaults", "served_model_id", "source")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What one scan is asked to do.

    Args:
        base: The folder to look below.
        named: Whether a person named it, who allows it by that.
        backend: What will serve what is found; by default vllm, and gguf for GGUF.
        fallback: The format or quantization of what nothing can be detected of.
        include_testing: Whether testing and demo models are recorded too.
        update_existing: Whether recorded models are looked at again.
        patterns: More patterns of testing names, separated by commas.
    """

    base: Path
    backend: str | None = None
    fallback: str | None = None
    include_testing: bool = False
    update_existing: bool = False
    patterns: str | None = None
    named: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A model that is to be recorded.

    Args:
        name: The name it gets.
        backend: What will serve it.
        candidate: What was found.
        facts: What it is.
        old: What is recorded of it, perhaps under another name.
        testing: Whether a test or a demo made it.
        served: What LM Studio calls it, where that serves it.
    """

    name: str
    backend: str
    candidate: Candidate
    facts: ModelFacts
    old: Entry | None = None
    testing: bool = False
    served: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a scan found.

    Args:
        findings: What is to be recorded.
        passed: What is not, and why.
        recorded: How many models are recorded already.
    """

    findings: tuple[Finding, ...] = ()
    passed: tuple[Passed, ...] = ()
    recorded: int = 0


class ScanError(ImageworksError):
    """A folder cannot be scanned."""


def survey(ledger: Ledger, options: ScanOptions) -> Survey:
    """Return what a scan would record; reads names, configs and headers, and writes nothing.

    Args:
        ledger: What is recorded.
        options: What is asked.

    Raises:
        ScanError: The folder is not there, or this host does not allow models in it.
    """
    state = ledger.places.locations.state_below(options.base)
    if not state.present:
        raise ScanError(f"{options.base}: nothing can be recorded there now: {state.message}")
    if not is_folder(options.base):
        raise ScanError(f"{options.base}: there is no such folder", remedy="Name one with --base.")
    if not ledger.host.allows(options.base):
        if not options.named or Path.home().resolve().is_relative_to(options.base.resolve()):
            allowed = ", ".join(str(root) for root in ledger.host.roots)
            raise ScanError(
                f"{options.base} is outside the folders that this host allows ({allowed})",
                remedy="Name the folder that holds the models; or add it to roots in the user's config.toml.",
            )
        ledger.allow(options.base)
    surveyor = _Surveyor(ledger, options, ledger.places.lmstudio_folders())
    for found in find_candidates(options.base):
        if isinstance(found, Passed):
            surveyor.passed.append(found)
        else:
            surveyor.look(found)
    return Survey(tuple(surveyor.findings), tuple(surveyor.passed), surveyor.recorded)


@dataclass
class _Surveyor:
    """Decides one candidate after the other; the names that it gives are taken for the next."""

    ledger: Ledger
    options: ScanOptions
    studios: Sequence[Path] = ()
    findings: list[Finding] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    recorded: int = 0

    def __post_init__(self) -> None:
        self.registry = self.ledger.registry
        self._filters = compile_testing_patterns(self.options.patterns)
        self._taken = {*self.registry.entries, *self.registry.manifests, *self.registry.blocked}
        self._owners = owners_of_files(self.registry.entries.values())
        # What an earlier tool recorded names a folder, and none of its files.
        self._claimed: dict[Path, list[Entry]] = defaultdict(list)
        for entry in self.registry.entries.values():
            if entry.path is not None and not entry.files:
                self._claimed[entry.path].append(entry)
        self._declared_repos: dict[str, str] = {}
        self._declared_paths: dict[Path, str] = {}
        for manifest in self.registry.manifests.values():
            if isinstance(manifest.source, HuggingFaceSource):
                self._declared_repos[manifest.source.repo.lower()] = manifest.file
            elif isinstance(manifest.source, PathSource):
                self._declared_paths[Path(manifest.source.path).expanduser()] = manifest.file
        self._unassigned = {
            _kind(entry): entry
            for entry in self.registry.entries.values()
            if not entry.managed
            and entry.text("backend") == UNASSIGNED
            and not (entry.path and (is_there(entry.path) or self.ledger.away(entry)))
        }

    def look(self, candidate: Candidate) -> None:
        """Decide what becomes of a candidate; one that cannot be named or read does not stop the others."""
        try:
            with isolated(str(candidate.path)):
                self._decide(candidate)
        except ImageworksError as error:
            self.passed.append(Passed(candidate.path, error.message, failed=True))
        except OSError as error:
            why = f"{error.filename or candidate.path}: {error.strerror or error}"
            self.passed.append(Passed(candidate.path, why, failed=True))

    def _decide(self, candidate: Candidate) -> None:
        old = self._owner(candidate)
        declared = self._declared(candidate, old)
        names = (candidate.path.name, candidate.repo.rpartition("/")[2])
        testing = any(is_testing_name(name, filters=self._filters) or is_generic_family(name) for name in names)
        if declared is not None:
            self.passed.append(Passed(candidate.path, declared))
        elif testing and not self.options.include_testing:
            self.passed.append(Passed(candidate.path, "made by a test or a demo; --include-testing records it"))
        elif old is not None and not self._is_looked_at_again(old, candidate.kind):
            self.recorded += 1
        else:
            self._describe(candidate, old, testing=testing)

    def _owner(self, candidate: Candidate) -> Entry | None:
        """Return what is recorded of a candidate's files; one that is declared before any other."""
        root = candidate.model.root
        owners = [entry for file in candidate.model.files for entry in self._owners.get(root / file.path, ())]
        owners = owners or self._claimed.get(candidate.path, [])
        return max(owners, key=lambda entry: (entry.managed, entry.path == candidate.path), default=None)

    def _declared(self, candidate: Candidate, old: Entry | None) -> str | None:
        """Return why a candidate is somebody else's to record, or ``None``."""
        if old is not None and (old.managed or old.name in self.registry.manifests):
            return f"recorded as {old.name}, which is declared"
        file = self._declared_repos.get(candidate.repo.lower()) or self._declared_paths.get(candidate.path)
        return f"declared by {file}; `reconcile` takes it over" if file else None

    def _is_looked_at_again(self, old: Entry, kind: str | None) -> bool:
        if old.installed_by_us or old.part("version_lock").get("locked") is True:
            return False
        if not old.files:
            return True
        moves = old.text("backend") == UNASSIGNED and self.options.backend not in {None, UNASSIGNED}
        unassigned = old.text("backend") == UNASSIGNED and self.options.backend is None and kind is None
        return self.options.update_existing or moves or unassigned

    def _describe(self, candidate: Candidate, old: Entry | None, *, testing: bool) -> None:
        facts = facts_of(candidate, self.options.fallback, self.options.fallback)
        missing = [problem.message for problem in facts.problems if problem.kind in UNUSABLE]
        if missing:
            self.passed.append(Passed(candidate.path, f"incomplete: {missing[0]}"))
            return
        served = self._served(candidate, facts)
        backend = self._backend(facts, old, served, candidate.kind)
        if old is None and backend != UNASSIGNED:
            # what an older scan left of this model without a backend, whose files are gone from there
            old = self._unassigned.pop((facts.family, facts.download_format, facts.quantization), None)
        name = self._name(candidate, facts, backend, old)
        self._taken.add(name)
        self.findings.append(Finding(name, backend, candidate, facts, old, testing, served))

    def _served(self, candidate: Candidate, facts: ModelFacts) -> str | None:
        """Return what LM Studio calls a candidate, where it stands so that LM Studio sees it and can load it."""
        if facts.download_format not in SERVED:
            return None
        root = candidate.model.root
        weights = [file.path for file in candidate.model.files if classify(file.path).role is Role.WEIGHTS]
        names = (studio_identity(studio, root, weights) for studio in self.studios)
        return next((name for name in names if name is not None), None)

    def _backend(self, facts: ModelFacts, old: Entry | None, served: str | None, kind: str | None) -> str:
        if self.options.backend is None and kind is not None:
            return UNASSIGNED  # checkpoints, LoRAs and the like are for image tools
        recorded = old.text("backend") if old else None
        if self.options.backend is None and recorded not in {None, UNASSIGNED}:
            return str(recorded)
        return self.options.backend or (
            LMSTUDIO if served else GGUF if facts.download_format == GGUF else DEFAULT_BACKEND
        )

    def _name(self, candidate: Candidate, facts: ModelFacts, backend: str, old: Entry | None) -> str:
        """Return a name that no other model has: the usual one, else with the owner, else with a few digits.

        What was recorded without files keeps the name that people know it by.
        """
        if old is not None and not old.files and old.path is not None:
            return old.name
        owner, _, tail = candidate.repo.rpartition("/")
        of_path = sha256(str(candidate.path).encode()).hexdigest()[:8]
        tries = (tail, f"{owner}-{tail}" if owner else tail, f"{tail}-{of_path}")
        names = [
            default_variant_name(
                repo,
                backend,
                revision=candidate.ref,
                download_format=facts.download_format,
                quantization=facts.quantization,
            )
            for repo in tries
        ]
        own = old.name if old else None
        return next((name for name in names if name == own or name not in self._taken), names[-1])


def owners_of_files(entries: Iterable[Entry]) -> Mapping[Path, Sequence[Entry]]:
    """Return which entries record which files, by the files' absolute paths.

    Args:
        entries: The host's entries.
    """
    owners: dict[Path, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.path is not None:
            for file in entry.files:
                owners[entry.base / file.path].append(entry)
    return owners


def _kind(entry: Entry) -> tuple[str | None, ...]:
    return tuple(entry.text(key) for key in ("family", "download_format", "quantization"))


def facts_of(candidate: Candidate, container: str | None, quantization: str | None) -> ModelFacts:
    """Return what a candidate is; its neighbours' words count, their bytes do not.

    Args:
        candidate: What was found.
        container: Its format where none can be detected.
        quantization: Its quantization where none can be detected.
    """
    files = [*candidate.model.files, *(candidate.beside.files if candidate.beside else ())]
    named = Upstream(
        files=(), repo=candidate.repo, ref=candidate.ref, container=container, quantization=quantization, commit=None
    )
    listed = [ArtifactFile(file.path, file.size, "") for file in files]
    return look_at(candidate.model.root, listed, named)


def record(
    ledger: Ledger, findings: Sequence[Finding], options: ScanOptions, told: Told
) -> tuple[Edits, tuple[Passed, ...]]:
    """Hash what was found, and return what is to be committed with what could not be read.

    Args:
        ledger: What is recorded.
        findings: What a survey found.
        options: What is asked.
        told: Told how far hashing is.
    """
    paths = [one.candidate.model.root / file.path for one in findings for file in one.candidate.model.files]
    digests = hash_all(paths, ledger, told)
    written: dict[str, Entry] = {}
    gone: set[str] = set()
    passed: list[Passed] = []
    for finding in findings:
        root = finding.candidate.model.root
        failed = next((d for f in finding.candidate.model.files if isinstance(d := digests[root / f.path], str)), None)
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
        written[entry.name] = entry
        if finding.old is not None and finding.old.name != entry.name:
            gone.add(finding.old.name)
    lines = [f"{'~' if name in ledger.registry.entries else '+'} {name}" for name in sorted(written)]
    lines += [f"- {name}" for name in sorted(gone)]
    many = "1 model" if len(written) == 1 else f"{len(written)} models"
    title = f"Record {many} found below {options.base.name}"
    return Edits(written=written, gone=frozenset(gone), title=title, lines=tuple(lines)), tuple(passed)


def _damaged(candidate: Candidate, digests: Mapping[Path, str | Digest]) -> str | None:
    """Return which file of a cache has other bytes than its blob's name promises; ``None`` where all have those."""
    if candidate.commit is None:
        return None
    for file in candidate.model.files:
        digest = digests[candidate.model.root / file.path]
        if _SHA256.fullmatch(file.place.name) and isinstance(digest, Digest) and digest.value != file.place.name:
            return f"{file.path} is damaged: its bytes have not the digest that the cache keeps them under"
    return None


def found_entry(finding: Finding, digests: Mapping[Path, str | Digest], ledger: Ledger, options: ScanOptions) -> Entry:
    """Return the entry of what was found and hashed.

    Args:
        finding: What is to be recorded.
        digests: The digest of each of its files.
        ledger: Whose locations these are.
        options: What is asked; the base is the folder that names of places start from.
    """
    candidate = finding.candidate
    root = candidate.model.root
    artifacts = []
    for file in candidate.model.files:
        digest = digests[root / file.path]
        if isinstance(digest, Digest):
            artifacts.append(ArtifactFile(file.path, file.size, digest.value))
    manifest = Manifest(finding.name, "", PathSource(str(candidate.path)))
    remote = tuple(
        RemoteFile(file.path, file.size, Digest(Algorithm.SHA256, file.sha256), large=False) for file in artifacts
    )
    place = Place(options.base, candidate.path, location_of(candidate.path, ledger), filesystem="")
    cached = candidate.commit is not None
    upstream = Upstream(
        files=remote,
        container=options.fallback,
        quantization=None,
        repo=candidate.repo if cached else None,
        commit=candidate.commit,
        ref=candidate.ref if cached else None,
    )
    found = compose_entry(
        Case(manifest, upstream=upstream), place, artifacts, finding.facts.entry_fields(), acquisition="adopted"
    )
    fields = {**found.fields, "managed": False, "backend": finding.backend}
    if finding.backend == LMSTUDIO and finding.served:
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


def location_of(path: Path, ledger: Ledger) -> str:
    """Return the name of the location that a folder stands in, or ``custom``.

    Args:
        path: A model's folder or file.
        ledger: Whose locations these are.
    """
    found = {
        name: root for name in (LINUX, WINDOWS, *ledger.registry.settings.locations) if (root := root_of(name, ledger))
    }
    above = [name for name, root in found.items() if path.is_relative_to(root)]
    return max(above, key=lambda name: len(found[name].parts), default=CUSTOM)


def root_of(location: str, ledger: Ledger) -> Path | None:
    """Return a location's root on this host, or ``None`` when it has none.

    Args:
        location: The location's name.
        ledger: Whose locations these are.
    """
    asked = Manifest(location, "registry.yaml", None, {"location": location})
    place = ledger.places.place(asked, container=None, repo=None)
    return place.root if isinstance(place, Place) else None


def is_same(entry: Entry, old: Entry) -> bool:
    """Return whether an entry says what was recorded before."""
    return aggregate_sha256(entry.files) == aggregate_sha256(old.files) and dict(entry.fields) == dict(old.fields)
