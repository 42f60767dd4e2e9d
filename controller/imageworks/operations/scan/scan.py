"""Scan: find the models that somebody put on this machine, by what their folders, names and headers say."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from imageworks.detection.containers import ArtifactKind
from imageworks.detection.model_facts import ModelFacts
from imageworks.detection.problems import UNUSABLE, MissingPart
from imageworks.files.safe_paths import is_folder, is_there
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.isolation import isolated
from imageworks.naming.model_names import (
    compile_testing_patterns,
    default_variant_name,
    is_generic_family,
    is_testing_name,
)
from imageworks.operations.scan.find_models import FoundModel, Passed, find_candidates
from imageworks.plan.facts import ResolvedSource, TargetFolder
from imageworks.providers.folder.describe import look_at
from imageworks.providers.libraries import LIBRARY, name_in_library
from imageworks.providers.locations import CUSTOM, LINUX, WINDOWS
from imageworks.providers.record import UNASSIGNED
from imageworks.reconcile.ledger import RecordSession
from imageworks.registry.entries.entry import ArtifactFile, Entry
from imageworks.registry.entries.packed import as_text
from imageworks.registry.manifests.manifest import Manifest, PathSource, RepositorySource
from imageworks.registry.settings.model_places import Use

GGUF: Final = "gguf"
DEFAULT_BACKEND: Final = "vllm"
_MOST_REASONS: Final = 8


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
        fields: What its files say of it, as an entry records that.
        problems: What makes it incomplete.
        old: What is recorded of it, perhaps under another name.
        testing: Whether a test or a demo made it.
        served: What the library that it stands in calls it, where that serves it.
    """

    name: str
    backend: str
    candidate: FoundModel
    fields: Mapping[str, object]
    problems: tuple[MissingPart, ...] = ()
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


def survey(ledger: RecordSession, options: ScanOptions) -> Survey:
    """Return what a scan would record; reads names, configs and headers, and writes nothing."""
    state = ledger.places.locations.state_below(options.base)
    if not state.present:
        raise ScanError(f"{options.base}: nothing can be recorded there now: {state.message}")
    if not is_folder(options.base):
        raise ScanError(f"{options.base}: there is no such folder", remedy="Name one with --base.")
    if (why := ledger.places.why_not(options.base, Use.SEARCH)) is not None:
        raise ScanError(f"{options.base} is no place for a model: {why}", remedy="Name the folder that holds models.")
    if not ledger.host.allows(options.base):
        if not options.named or Path.home().resolve().is_relative_to(options.base.resolve()):
            allowed = ", ".join(str(root) for root in ledger.host.roots)
            raise ScanError(
                f"{options.base} is outside the folders that this host allows ({allowed})",
                remedy="Name the folder that holds the models; or add it to roots in the user's config.toml.",
            )
        ledger.allow(options.base)
    surveyor = _Surveyor(ledger, options, ledger.places.shared_folders())
    for found in find_candidates(options.base):
        if isinstance(found, Passed):
            surveyor.passed.append(found)
        else:
            surveyor.look(found)
    return Survey(tuple(surveyor.findings), tuple(surveyor.passed), surveyor.recorded)


@dataclass
class _Surveyor:
    """Decides one candidate after the other; the names that it gives are taken for the next."""

    ledger: RecordSession
    options: ScanOptions
    libraries: Sequence[Path] = ()
    findings: list[Finding] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    recorded: int = 0

    def __post_init__(self) -> None:
        self.registry = self.ledger.registry
        self._filters = compile_testing_patterns(self.options.patterns)
        self._taken = {*self.registry.entries, *self.registry.manifests, *self.registry.blocked}
        self._owners = FileOwners(self.registry.entries.values())
        # What an earlier tool recorded names a folder, and none of its files.
        self._claimed: dict[Path, list[Entry]] = defaultdict(list)
        for entry in self.registry.entries.values():
            if entry.path is not None and not entry.files:
                self._claimed[entry.path].append(entry)
        self._declared_repos: dict[str, str] = {}
        self._declared_paths: dict[Path, str] = {}
        for manifest in self.registry.manifests.values():
            if isinstance(manifest.source, RepositorySource):
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

    def look(self, candidate: FoundModel) -> None:
        """Decide what becomes of a candidate; one that cannot be named or read does not stop the others."""
        try:
            with isolated(str(candidate.path)):
                self._decide(candidate)
        except ImageworksError as error:
            self.passed.append(Passed(candidate.path, error.message, failed=True))
        except OSError as error:
            why = f"{error.filename or candidate.path}: {error.strerror or error}"
            self.passed.append(Passed(candidate.path, why, failed=True))

    def _decide(self, candidate: FoundModel) -> None:
        if (why := self.ledger.places.why_not(candidate.path, Use.SOURCE)) is not None:
            self.passed.append(Passed(candidate.path, f"it is no place for a model: {why}"))
            return
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

    def _owner(self, candidate: FoundModel) -> Entry | None:
        """Return what is recorded of a candidate's files; one that is declared before any other."""
        root = candidate.model.root
        owners = [entry for file in candidate.model.files for entry in self._owners.of(root / file.path)]
        owners = owners or self._claimed.get(candidate.path, [])
        return max(owners, key=lambda entry: (entry.managed, entry.path == candidate.path), default=None)

    def _declared(self, candidate: FoundModel, old: Entry | None) -> str | None:
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

    def _describe(self, candidate: FoundModel, old: Entry | None, *, testing: bool) -> None:
        facts = facts_of(candidate, self.options.fallback, self.options.fallback)
        missing = [problem.message for problem in facts.problems if problem.kind in UNUSABLE]
        if facts.kind is ArtifactKind.PROJECTOR:
            missing = ["it is a projector, which belongs to a model and is none by itself"]
        if missing:
            self.passed += [Passed(candidate.path, f"incomplete: {message}") for message in missing[:_MOST_REASONS]]
            return
        served = self._served(candidate, facts)
        backend = self._backend(facts, old, served, candidate.kind)
        if old is None and backend != UNASSIGNED:
            # what an older scan left of this model without a backend, whose files are gone from there
            old = self._unassigned.pop((facts.family, facts.download_format, facts.quantization), None)
        name = self._name(candidate, facts, backend, old)
        self._taken.add(name)
        fields = as_text(facts.entry_fields())  # a third of what facts take, and there may be ten thousand
        self.findings.append(Finding(name, backend, candidate, fields, facts.problems, old, testing, served))

    def _served(self, candidate: FoundModel, facts: ModelFacts) -> str | None:
        """Return what a library calls a candidate that stands in it."""
        files = (file.path for file in candidate.model.files)
        return name_in_library(self.libraries, candidate.model.root, files, facts.download_format)

    def _backend(self, facts: ModelFacts, old: Entry | None, served: str | None, kind: str | None) -> str:
        if self.options.backend is None and kind is not None:
            return UNASSIGNED  # checkpoints, LoRAs and the like are for image tools
        recorded = old.text("backend") if old else None
        if self.options.backend is None and recorded not in {None, UNASSIGNED}:
            return str(recorded)
        return self.options.backend or (
            LIBRARY if served else GGUF if facts.download_format == GGUF else DEFAULT_BACKEND
        )

    def _name(self, candidate: FoundModel, facts: ModelFacts, backend: str, old: Entry | None) -> str:
        """Return a name that no other model has: the usual one, else with the owner, else with a few digits.

        What was recorded keeps the name that people know it by, until it gets another backend.
        """
        if old is not None and old.path is not None and (not old.files or old.text("backend") == backend):
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


class FileOwners:
    """Says which entries record a file.

    Keeps the hashes of paths: fifty thousand paths take 20 MiB, their hashes 5.

    Args:
        entries: What is recorded.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._owners: dict[int, list[Entry] | tuple[Entry]] = {}
        for entry in entries:
            if entry.path is None:
                continue
            base, alone = entry.base, (entry,)
            for file in entry.files:
                key = hash(base / file.path)
                owners = self._owners.setdefault(key, alone)
                if isinstance(owners, list):
                    owners.append(entry)
                elif owners is not alone:
                    self._owners[key] = [*owners, entry]

    def of(self, path: Path) -> Sequence[Entry]:
        """Return the entries that record the file at an absolute path."""
        return self._owners.get(hash(path), ())

    def __contains__(self, path: object) -> bool:
        return hash(path) in self._owners


def _kind(entry: Entry) -> tuple[str | None, ...]:
    return tuple(entry.text(key) for key in ("family", "download_format", "quantization"))


def facts_of(candidate: FoundModel, container: str | None, quantization: str | None) -> ModelFacts:
    """Return what a candidate is; its neighbours' words count, their bytes do not."""
    files = [*candidate.model.files, *(candidate.beside.files if candidate.beside else ())]
    named = ResolvedSource(
        files=(), repo=candidate.repo, ref=candidate.ref, container=container, quantization=quantization, commit=None
    )
    listed = [ArtifactFile(file.path, file.size, "") for file in files]
    return look_at(candidate.model.root, listed, named)


def location_of(path: Path, ledger: RecordSession) -> str:
    """Return the name of the location that a folder stands in, or ``custom``."""
    found = {
        name: root for name in (LINUX, WINDOWS, *ledger.registry.settings.locations) if (root := root_of(name, ledger))
    }
    above = [name for name, root in found.items() if path.is_relative_to(root)]
    return max(above, key=lambda name: len(found[name].parts), default=CUSTOM)


def root_of(location: str, ledger: RecordSession) -> Path | None:
    """Return a location's root on this host, or ``None`` when it has none."""
    asked = Manifest(location, "registry.yaml", None, {"location": location})
    place = ledger.places.place(asked, container=None, repo=None)
    return place.root if isinstance(place, TargetFolder) else None
