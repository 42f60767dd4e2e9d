"""Plan for a host from what it has committed, without its disks: what CI can say of a pull request. Read-only."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from imageworks.config import HostSettings
from imageworks.errors import UsageError
from imageworks.reconcile.applied import AppliedManifests
from imageworks.reconcile.decide import stands_in_ollama
from imageworks.reconcile.gather import Look, gather, known_names
from imageworks.reconcile.intents import Intents
from imageworks.reconcile.notes import unsupported_settings
from imageworks.reconcile.observe import DiskObserver
from imageworks.reconcile.ollama_sight import recorded_name, same
from imageworks.reconcile.places import BUILT_IN, CUSTOM, LINUX, Places
from imageworks.reconcile.plan import Action, Change, Plan, Reason
from imageworks.reconcile.planner import make_plan
from imageworks.reconcile.proposal import HostPlan, compare
from imageworks.reconcile.records import Records
from imageworks.reconcile.situation import Observation, Obstacle, Occupant, Place, PruneOptions, Situation, Upstream
from imageworks.reconcile.upstream import Sources
from imageworks.registry.entry import FOLDER as ENTRIES
from imageworks.registry.entry import Entry
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_oddities import filter_notes
from imageworks.registry.layout import folder_name
from imageworks.registry.load import ENTRY_DEPTH, RegistryState, load_registry
from imageworks.registry.manifest import HuggingFaceSource, Manifest, OllamaSource, PathSource, is_commit
from imageworks.registry.parsed import ParsedDocuments, cache_file
from imageworks.registry.settings import Location
from imageworks.registry.settings_changes import review_rules
from imageworks.transfer.content import ContentIndex
from imageworks.transfer.files import LinkError, RemoteFile
from imageworks.transfer.names import UnsafeNameError

if TYPE_CHECKING:
    from imageworks.providers.huggingface import HubClient

_UNSEEN: Final = "elsewhere"


@dataclass(frozen=True, slots=True)
class Asked:
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


def plan_elsewhere(root: Path, host: HostSettings, asked: Asked) -> list[HostPlan]:
    """Return what each host would do with the checked-out commit, as far as commits and sources say.

    Args:
        root: The registry folder.
        host: This machine's settings; only its cache is used.
        asked: What is asked for.

    Raises:
        UsageError: A host is not known, or a model is known to none of them.
        UnknownRevisionError: The base names no commit.
    """
    repository = RegistryRepository.open(root, host=host.host)
    cache = ParsedDocuments(cache_file(host.cache_dir, repository.root))
    head = repository.head()
    base = None if asked.base is None else repository.resolve(asked.base)
    known = _known_hosts(repository, load_registry(repository, host.host, revision=head, cache=cache))
    for name in asked.hosts:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            remedy = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(known) or 'none'}."
            raise UsageError(f"no host is called {name!r} in this registry", remedy=remedy)
    plans = []
    rules = None if base is None else review_rules(repository, base, head, asked.labels)
    for name in asked.hosts or known or [host.host]:
        now = load_registry(repository, name, revision=head, cache=cache)
        here = replace(asked, names=known_names(now, asked.names))
        plan, situation = _plan(repository, host, now, here)
        if base is None:
            plans.append(compare(plan, situation))
            continue
        before = load_registry(repository, name, revision=base, cache=cache)
        before = replace(before, entries=now.entries, recorded=now.recorded)  # the host is what it is, on either side
        old, earlier = _plan(repository, host, before, here, lenient=True)
        plans.append(compare(plan, situation, base=base, before=old, earlier=earlier, rules=rules))
    return plans


def _known_hosts(repository: RegistryRepository, registry: RegistryState) -> list[str]:
    """Return the hosts that registry.yaml names, that have entries, or that have a branch of entries."""
    recorded = repository.list_files(registry.recorded or registry.revision, ENTRIES)
    found = {*registry.settings.hosts, *(f.split("/")[1] for f in recorded if f.count("/") == ENTRY_DEPTH)}
    before, placeholder, after = (registry.settings.branch or "").partition("{host}")
    if placeholder:
        for branch in repository.branches.names():
            host = branch.removeprefix(before).removesuffix(after) if branch.startswith(before) else ""
            if host and branch == f"{before}{host}{after}":
                found.add(host)
    return sorted(found)


def _plan(
    repository: RegistryRepository, host: HostSettings, registry: RegistryState, asked: Asked, *, lenient: bool = False
) -> tuple[Plan, Situation]:
    """Return a host's plan with what it is made from; a lenient one knows that names may be newer than its commit."""
    known = {*registry.manifests, *registry.entries, *registry.blocked}
    names = tuple(name for name in asked.names if name in known) if lenient else asked.names
    if asked.names and not names:
        return Plan(registry.host, registry.revision), Situation(registry.host, registry.revision)

    def open_hub() -> "HubClient":
        from imageworks.providers.huggingface import HubClient

        return HubClient.from_environment(
            host.environment(), cache_dir=host.cache_dir, write_cache=False, offline=asked.offline
        )

    policies = registry.settings.policies
    sources = Sources(
        open_hub, _look_nowhere, reads_configs=policies.forbid_remote_code, reads_heads=policies.forbid_pickle
    )
    look = Look(
        registry=registry,
        places=TheirPlaces(registry, host),
        disk=TheirDisk(registry, sources),
        sources=sources,
        content=NoContent(),
        intents=NoIntents(),
        records=NoRecords(),
        prune_of=AppliedManifests(repository, registry.host, registry.recorded),
        notes=(*unsupported_settings(registry.settings), *filter_notes(repository.at(registry.revision))),
    )
    try:
        situation = gather(look, names)
    finally:
        sources.close()
    enabled = asked.prune.enabled or registry.settings.prune
    plan = make_plan(situation, replace(asked.prune, enabled=enabled))
    return _without_unseen(plan, situation), situation


def _look_nowhere(path: Path) -> Upstream:
    from imageworks.providers.local import LocalSourceError

    raise LocalSourceError(f"{path} cannot be looked at from here", reason=Reason.SOURCE_MISSING.value)


def _without_unseen(plan: Plan, situation: Situation) -> Plan:
    """Return a plan in which what only the host itself can see is neither a change nor an error."""
    manifests = {case.manifest.name: case.manifest for case in situation.cases}
    entries = {case.manifest.name: case.entry for case in situation.cases}
    changes: list[Change] = []
    notes = list(plan.notes)
    for change in plan.changes:
        manifest = manifests.get(change.name)
        source = manifest.source if manifest is not None else None
        if change.action is not Action.BLOCKED or change.reason in {Reason.LICENSE_DENIED, Reason.POLICY_VIOLATED}:
            changes.append(change)
        elif isinstance(source, PathSource) and change.reason is Reason.SOURCE_MISSING:
            notes.append(f"{change.name}: {source.path} is on {plan.host} and cannot be looked at from here")
        elif isinstance(source, OllamaSource) and change.reason is Reason.PROVIDER_UNAVAILABLE:
            seen = _ollama_change(change, source, entries[change.name])
            changes += [seen] if seen is not None else []
        else:
            changes.append(change)
    unchanged = plan.unchanged + len(plan.changes) - len(changes)
    return replace(plan, changes=tuple(changes), notes=tuple(notes), unchanged=unchanged)


def _ollama_change(change: Change, source: OllamaSource, entry: Entry | None) -> Change | None:
    """Return what would be pulled, as far as the record says; its size is known to the host's daemon alone."""
    change = replace(change, by_ollama=True, size_known=False)
    if entry is None or not stands_in_ollama(entry):
        message = "pulled by Ollama; its size is not known here"
        return replace(change, action=Action.INSTALL, reason=Reason.MISSING, message=message)
    pinned = source.digest is not None and entry.revision is not None and not entry.revision.endswith(source.digest)
    if pinned or not same(recorded_name(entry), source.name):
        return replace(change, action=Action.UPDATE, reason=Reason.REVISION_CHANGED, message="pulled anew by Ollama")
    return None


class TheirDisk(DiskObserver):
    """Another host's disk: every recorded file is taken to be as recorded, and nothing else is there.

    Args:
        registry: The registry as that host sees it.
        sources: Where models come from.
    """

    def __init__(self, registry: RegistryState, sources: Sources) -> None:
        self.learned = []
        self._entries = {entry.path: entry for entry in registry.entries.values() if entry.path is not None}
        self._sources = sources

    def observe(self, entry: Entry) -> Observation | None:
        """Return that an entry's files are all intact; ``None`` when it records none."""
        return Observation(path=entry.path, exists=True) if entry.path is not None and entry.files else None

    def occupant(self, target: Path, wanted: Iterable[RemoteFile]) -> Occupant:
        """Return which wanted files a target has by the listing of what is recorded there.

        Entries have sha256 alone, and hubs name small files by git's digest, so the two cannot be compared directly.
        """
        entry = self._entries.get(target)
        if entry is None or entry.repo is None or not is_commit(entry.revision):
            return Occupant()
        recorded = {file.path for file in entry.files}
        try:
            listing = self._sources.open().listing(entry.repo, entry.revision or "")
        except (LinkError, UnsafeNameError):
            return Occupant(exists=True)
        there = {file.path: file.digest for file in listing.files if file.path in recorded}
        matching = {file.path for file in wanted if there.get(file.path) == file.digest}
        return Occupant(exists=True, matching=frozenset(matching))


class TheirPlaces(Places):
    """Another host's locations, as registry.yaml says them; whether they exist there is for that host to see.

    Args:
        registry: The registry as that host sees it.
        host: This machine's settings.
    """

    def __init__(self, registry: RegistryState, host: HostSettings) -> None:
        super().__init__(registry.settings, host, invalid=registry.settings_problem)
        self._registry = registry

    def place(self, manifest: Manifest, *, container: str | None, repo: str | None) -> Place | Obstacle:
        """Return where a model belongs; where it is recorded, if that may be the same place."""
        settings, source = self._registry.settings, manifest.source
        if self._registry.settings_invalid:
            return super().place(manifest, container=container, repo=repo)
        if isinstance(source, PathSource) and manifest.location is None:
            path = Path(source.path)
            return Place(root=path.parent, path=path, location=CUSTOM, filesystem=_UNSEEN)
        wanted = manifest.location or settings.route(container) or LINUX
        named = settings.locations.get(wanted) or BUILT_IN.get(wanted)
        if named is None and not wanted.startswith(("/", "~")):
            return super().place(manifest, container=container, repo=repo)
        location = named or Location(CUSTOM, wanted)
        ref = source.ref if isinstance(source, HuggingFaceSource) else None
        folder = folder_name(location.layout, manifest.name, repo, ref)
        expected = Path(location.path) / folder
        entries = (self._registry.entries.get(name) for name in (manifest.name, *manifest.previously))
        recorded = next((entry for entry in entries if entry is not None and entry.path is not None), None)
        if recorded is not None and recorded.path is not None and _may_be(recorded, location, folder, expected):
            expected = recorded.path
        return Place(root=Path(location.path), path=expected, location=location.name, filesystem=_UNSEEN)

    def obstacle_at(self, path: Path) -> Obstacle | None:
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

    def is_elsewhere(self, path: Path, place: Place) -> bool:
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


class NoContent(ContentIndex):
    """No bytes of that host can be seen from here."""

    def __init__(self) -> None:
        """Know nothing."""

    def find(self, file: RemoteFile, repo: str | None) -> Path | None:
        """Return that nothing is here."""
        del file, repo
        return None  # an answer, not the absence of one


class NoIntents(Intents):
    """No interrupted run of that host can be seen from here."""

    def __init__(self) -> None:
        """Know nothing."""

    def announced(self) -> dict[str, Path]:
        """Return that nothing was announced."""
        return {}


class NoRecords(Records):
    """That host commits its own snapshot; that it is older than a pull request is no change of its models."""

    def __init__(self) -> None:
        """Know nothing."""

    def stale(self, registry: RegistryState) -> bool:
        """Return that there is nothing to write."""
        del registry
        return False
