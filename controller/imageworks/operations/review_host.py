"""Plan for a host from what it has committed, without its disks: what CI can say of a pull request. Read-only."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.files.safe_names import UnsafeNameError
from imageworks.foundation.errors import UsageError
from imageworks.foundation.similar_words import did_you_mean
from imageworks.git.log import ChangesWithin
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import UnknownRevisionError
from imageworks.host.settings import HostSettings
from imageworks.plan.compare import HostPlan, as_declared, compare
from imageworks.plan.facts import (
    Blocker,
    HostState,
    Observation,
    PruneOptions,
    TargetContents,
    TargetFolder,
)
from imageworks.plan.plan import Action, Change, Plan, Reason
from imageworks.providers.disk import DiskObserver
from imageworks.providers.dispatch import provider_of
from imageworks.providers.folder.observe import Folders
from imageworks.providers.locations import BUILT_IN, CUSTOM, LINUX, HostLocations, no_place
from imageworks.providers.upstream import SourceResolver
from imageworks.reconcile.last_applied import AppliedManifests
from imageworks.reconcile.observe import ObservationContext, gather
from imageworks.reconcile.plan_notes import unsupported_settings
from imageworks.reconcile.planner import make_plan
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.documents.cache import ParsedDocuments, cache_file
from imageworks.registry.documents.diagnostic import Diagnostic
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import Entry
from imageworks.registry.entries.lookup import known_names
from imageworks.registry.entries.merge import SNAPSHOT_FOLDER
from imageworks.registry.load import RegistryState, load_registry, records_branch, records_tip, settings_at
from imageworks.registry.manifests.manifest import Manifest, PathSource, RepositorySource, is_commit
from imageworks.registry.settings.changes import RuleReview, demanded_labels, review_rules
from imageworks.registry.settings.model_places import Use, why_named
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE
from imageworks.registry.settings.settings import Location
from imageworks.registry.settings.target_folder import folder_name
from imageworks.registry.snapshot_check import snapshot_problem
from imageworks.registry.special_files import filter_notes
from imageworks.registry.validate import check_settings_file

_UNSEEN: Final = "elsewhere"
_BY_RULES: Final = frozenset({Reason.LICENSE_DENIED, Reason.POLICY_VIOLATED})


@dataclass(frozen=True, slots=True)
class ReviewOptions:
    """What plans are asked for.

    Args:
        names: The models to consider; all when empty.
        hosts: The hosts; all known ones when empty.
        base: The commit to compare with; ``None`` to show everything that a host would do.
        prune: What might be removed.
        offline: Whether the network may not be used.
        labels: The labels that the request has whose changes these are.
    """

    names: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    base: str | None = None
    prune: PruneOptions = PruneOptions()  # noqa: RUF009 # frozen
    offline: bool = False
    labels: tuple[str, ...] = ()


def plan_elsewhere(root: Path, host: HostSettings, asked: ReviewOptions) -> list[HostPlan]:
    """Return what each host would do with the checked-out commit, as far as commits and sources say."""
    repository = RegistryRepository.open(root, host=host.host)
    head = repository.head()
    base, lacking = _base(repository, head, asked.base)
    known = _known_hosts(repository, head, host.host)
    for name in asked.hosts:
        if name not in known:
            remedy = did_you_mean(name, known) or f"Known are: {', '.join(known) or 'none'}."
            raise UsageError(f"no host is called {name!r} in this registry", remedy=remedy)
    review = _Review(
        repository=repository,
        host=host,
        asked=asked,
        cache=ParsedDocuments(cache_file(host.cache_dir, repository.root), kept=False),
        head=head,
        base=base,
        lacking=lacking,
        changed=[] if base is None else [one.path for one in repository.differences(base, head)],
        changes=repository.changes_within((SNAPSHOT_FOLDER,), revision=head),
        rules=None if base is None else review_rules(repository, base, head, asked.labels),
    )
    return [review.of(name) for name in asked.hosts or known or [host.host]]


@dataclass(frozen=True, slots=True)
class _Review:
    """What is the same for each host, whose own facts are let go before the next one's are read.

    Args:
        repository: The registry.
        host: This host.
        asked: What is asked for.
        cache: Documents that were parsed before.
        head: The checked-out commit.
        base: The commit to compare with, if there is one.
        lacking: What to say where it is not there.
        changed: What differs between the two.
        changes: Which commits changed snapshots.
        rules: What is changed of the rules themselves.
    """

    repository: RegistryRepository
    host: HostSettings
    asked: ReviewOptions
    cache: ParsedDocuments
    head: str | None
    base: str | None
    lacking: tuple[str, ...]
    changed: Collection[str]
    changes: ChangesWithin | None
    rules: RuleReview | None

    def of(self, name: str) -> HostPlan:
        """Return what one host would do."""
        repository, cache, base = self.repository, self.cache, self.base
        # First, and without its entries: the host is what it is on either side, and has no room for two of them.
        before = (
            None if base is None else load_registry(repository, name, revision=base, cache=cache, with_entries=False)
        )
        now = load_registry(repository, name, revision=self.head, cache=cache)
        here = replace(self.asked, names=known_names(now, self.asked.names))
        away, wrong = _records_away(repository, now), _snapshot_problem(repository, now, cache, self.changes)
        old, earlier = None, None
        if before is not None:
            before = replace(before, entries=now.entries, recorded=now.recorded)
            old, found = _plan(repository, self.host, before, here, lenient=True)
            earlier = as_declared(found)
            del before, found  # of ten thousand models, before the same is known of the other side
        plan, situation = _plan(repository, self.host, now, here)
        forged = [wrong.render()] if wrong is not None else []
        plan = replace(plan, notes=(*plan.notes, *forged, *self.lacking, *away))
        if earlier is None:
            return compare(_as_far_as_known(plan) if away else plan, situation)
        records = _changed_records(self.changed, name)
        compared = compare(plan, situation, base=base, before=old, earlier=earlier, rules=self.rules, records=records)
        inside = f"{repository.prefix}/" if repository.prefix else ""
        manifests = {one.name: f"{inside}{one.file}" for one in now.manifests.values()}
        return replace(compared, manifests=manifests, pending=0 if away else compared.pending)


def _base(repository: RegistryRepository, head: str | None, asked: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the commit to compare with, and what to say where a shallow clone does not have it."""
    if asked is None:
        return None, ()
    try:
        return repository.resolve(asked), ()
    except UnknownRevisionError:
        content = RevisionReader(repository, head).file(SETTINGS_FILE)
        document = check_settings_file(SETTINGS_FILE, content).document if isinstance(content, bytes) else None
        value = document.value if document is not None and isinstance(document.value, dict) else {}
        if not repository.is_shallow or demanded_labels(value):
            raise
    told = (
        f"{asked} is not in this shallow clone: all that hosts would do is shown, and what changed of the rules is not"
    )
    return None, (f"{told}; `git fetch --unshallow` (fetch-depth: 0, GIT_DEPTH: 0) brings it",)


def _records_away(repository: RegistryRepository, registry: RegistryState) -> tuple[str, ...]:
    """Return that a host's entries are on a branch which this clone was made without; nothing where they are here."""
    branch, template = registry.branch, registry.settings.branch or ""
    if branch is None or records_tip(repository, branch) is not None:
        return ()
    if repository.branches.of_hosts(template) or repository.branches.would_be_here(branch):
        return ()  # those of others are here, so this host has none yet
    depth = "--depth=1 " if repository.is_shallow else ""
    pattern = template.replace("{host}", "*")
    fetch = f"git fetch {depth}origin '+refs/heads/{pattern}:refs/remotes/origin/{pattern}'"
    told = f"the entries of {registry.host} are on the branch {branch}, which is not in this clone"
    return (f"{told}, so what it has already is not known; `{fetch}` brings it",)


def _as_far_as_known(plan: Plan) -> Plan:
    """Return a plan without what only a host's entries can tell."""
    blocked = tuple(change for change in plan.changes if change.action is Action.BLOCKED)
    return replace(plan, changes=blocked, records_stale=False)


def _snapshot_problem(
    repository: RegistryRepository, registry: RegistryState, cache: ParsedDocuments, changes: ChangesWithin | None
) -> Diagnostic | None:
    """Return what is wrong with a host's snapshot; one walk through the commits serves all that have no own branch."""
    return snapshot_problem(repository, registry, cache, changes if registry.branch is None else None)[0]


def _changed_records(changed: Iterable[str], host: str) -> tuple[str, ...]:
    """Return the models of which a request changes what a host recorded, which is for that host's controller to do."""
    folder = f"{ENTRIES}/{host}/"
    own = (path for path in changed if path.startswith(folder))
    return tuple(sorted(path.removeprefix(folder).removesuffix(".json") for path in own))


def _known_hosts(repository: RegistryRepository, head: str | None, host: str) -> list[str]:
    """Return the hosts that registry.yaml names, that have entries, or that have a branch of entries."""
    settings = settings_at(repository, head, host)
    branch = records_branch(repository, settings, host)
    recorded = (records_tip(repository, branch) if branch else None) or head
    found = {*settings.hosts, *repository.folders(recorded, ENTRIES)}
    before, placeholder, after = (settings.branch or "").partition("{host}")
    if placeholder:
        for name in repository.branches.names():
            other = name.removeprefix(before).removesuffix(after) if name.startswith(before) else ""
            if other and name == f"{before}{other}{after}":
                found.add(other)
    return sorted(found)


def _plan(
    repository: RegistryRepository,
    host: HostSettings,
    registry: RegistryState,
    asked: ReviewOptions,
    *,
    lenient: bool = False,
) -> tuple[Plan, HostState]:
    """Return a host's plan with what it is made from; a lenient one knows that names may be newer than its commit."""
    known = {*registry.manifests, *registry.entries, *registry.blocked}
    names = tuple(name for name in asked.names if name in known) if lenient else asked.names
    if asked.names and not names:
        return Plan(registry.host, registry.revision), HostState(registry.host, registry.revision)

    policies = registry.settings.policies
    sources = SourceResolver(
        host=host,
        offline=asked.offline,
        reads_configs=policies.forbid_remote_code,
        reads_heads=policies.forbid_pickle,
    )
    look = ObservationContext(
        folders=Folders(
            registry=registry,
            places=TheirPlaces(registry, host),
            disk=TheirDisk(registry, sources),
            sources=sources,
            find_content=lambda _file, _repo: None,
        ),
        announced={},
        records_stale=lambda _: False,  # that host commits its own snapshot
        prune_of=AppliedManifests(repository, registry.host, registry.recorded),
    )
    notes = *unsupported_settings(registry.settings), *filter_notes(RevisionReader(repository, registry.revision))
    try:
        situation = gather(look, names)
        situation = replace(situation, notes=(*notes, *situation.notes))
    finally:
        sources.close()
    enabled = asked.prune.enabled or registry.settings.prune
    plan = make_plan(situation, replace(asked.prune, enabled=enabled))
    return _without_unseen(plan, situation), situation


def _without_unseen(plan: Plan, situation: HostState) -> Plan:
    """Return a plan in which what only the host itself can see is neither a change nor an error."""
    manifests = {case.manifest.name: case.manifest for case in situation.cases}
    entries = {case.manifest.name: case.entry for case in situation.cases}
    changes: list[Change] = []
    notes = list(plan.notes)
    for change in plan.changes:
        manifest = manifests.get(change.name)
        decided = change.action is not Action.BLOCKED or change.reason in _BY_RULES
        if decided or manifest is None:
            changes.append(change)
            continue
        seen = provider_of(manifest, None).judged_elsewhere(change, manifest, entries[change.name])
        if isinstance(seen, str):
            notes.append(f"{change.name}: {seen} is on {plan.host} and cannot be looked at from here")
        elif seen is not None:
            changes.append(seen)
    unchanged = plan.unchanged + len(plan.changes) - len(changes)
    return replace(plan, changes=tuple(changes), notes=tuple(notes), unchanged=unchanged)


class TheirDisk(DiskObserver):
    """Another host's disk: every recorded file is taken to be as recorded, and nothing else is there."""

    def __init__(self, registry: RegistryState, sources: SourceResolver) -> None:
        self._entries = {entry.path: entry for entry in registry.entries.values() if entry.path is not None}
        self._sources = sources

    def observe(self, entry: Entry) -> Observation | None:
        """Return that an entry's files are all intact; ``None`` when it records none."""
        return Observation(path=entry.path, exists=True) if entry.path is not None and entry.files else None

    def occupant(self, target: Path, wanted: Iterable[RemoteFile]) -> TargetContents:
        """Return which wanted files a target has by the listing of what is recorded there.

        Entries have sha256 alone, and hubs name small files by git's digest, so the two cannot be compared directly.
        """
        entry = self._entries.get(target)
        if entry is None or entry.repo is None or not is_commit(entry.revision):
            return TargetContents()
        recorded = {file.path for file in entry.files}
        try:
            listing = self._sources.open().listing(entry.repo, entry.revision or "")
        except (LinkError, UnsafeNameError):
            return TargetContents(exists=True)
        there = {file.path: file.digest for file in listing.files if file.path in recorded}
        matching = {file.path for file in wanted if there.get(file.path) == file.digest}
        return TargetContents(exists=True, matching=frozenset(matching))

    def copied(self, sources: Collection[Path]) -> tuple[str, ...]:
        """Return nothing: no file of that host can be seen from here."""
        del sources
        return ()

    def doubts(self, files: Mapping[str, Path]) -> tuple[str, ...]:
        """Return nothing: no file of that host can be seen from here."""
        del files
        return ()


class TheirPlaces(HostLocations):
    """Another host's locations, as registry.yaml says them; whether they exist there is for that host to see."""

    def __init__(self, registry: RegistryState, host: HostSettings) -> None:
        super().__init__(registry.settings, host, invalid=registry.settings_problem)
        self._registry = registry

    def place(self, manifest: Manifest, *, container: str | None, repo: str | None) -> TargetFolder | Blocker:
        """Return where a model belongs; where it is recorded, if that may be the same place."""
        settings, source = self._registry.settings, manifest.source
        if self._registry.settings_invalid:
            return super().place(manifest, container=container, repo=repo)
        if isinstance(source, PathSource) and (why := why_named(source.path, Use.SOURCE)) is not None:
            return no_place(Path(source.path), why, manifest.file)
        if isinstance(source, PathSource) and manifest.location is None:
            path = Path(source.path)
            return TargetFolder(root=path.parent, path=path, location=CUSTOM, filesystem=_UNSEEN)
        wanted = manifest.location or settings.route(container) or LINUX
        named = settings.locations.get(wanted) or BUILT_IN.get(wanted)
        if named is None and not wanted.startswith(("/", "~")):
            return super().place(manifest, container=container, repo=repo)
        location = named or Location(CUSTOM, wanted)
        ref = source.ref if isinstance(source, RepositorySource) else None
        folder = folder_name(location.layout, manifest.name, repo, ref)
        expected = Path(location.path) / folder
        if (why := why_named(str(expected))) is not None:
            return no_place(expected, why, manifest.file)
        entries = (self._registry.entries.get(name) for name in (manifest.name, *manifest.previously))
        recorded = next((entry for entry in entries if entry is not None and entry.path is not None), None)
        if recorded is not None and recorded.path is not None and _may_be(recorded, location, folder, expected):
            expected = recorded.path
        return TargetFolder(root=Path(location.path), path=expected, location=location.name, filesystem=_UNSEEN)

    def why_holding(self, path: Path) -> str | None:
        """Return that nothing is there: that cannot be seen from here."""
        del path
        return None  # an answer, not the absence of one

    def obstacle_at(self, path: Path) -> Blocker | None:
        """Return that every place can be spoken of: it is spoken of as recorded."""
        del path
        return None  # an answer, not the absence of one

    def current(self, entry: Entry) -> Entry:
        """Return an entry as it is recorded."""
        return entry

    def allows(self, path: Path) -> bool:
        """Return that everything is allowed: that host decides for itself."""
        del path
        return True

    def is_elsewhere(self, path: Path, place: TargetFolder) -> bool:
        """Return that nothing crosses disks, which cannot be seen from here."""
        del path, place
        return False


def _may_be(entry: Entry, location: Location, folder: str, expected: Path) -> bool:
    """Return whether a recorded folder is the expected one: ``~`` and a host's own roots are not known here."""
    if entry.path == expected:
        return True
    parts = PurePosixPath(folder).parts
    same_folder = entry.path is not None and entry.path.parts[-len(parts) :] == parts
    if location.name != CUSTOM:
        return same_folder and entry.text("download_location") == location.name
    tail = expected.parts[1:]
    return location.path.startswith("~") and entry.path is not None and entry.path.parts[-len(tail) :] == tail
