"""All that the page shows of a registry, read in one go."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from sys import intern
from typing import Final, NamedTuple

from imageworks.git.libgit2 import damage_told
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import BlobReference, BlobRefusedError
from imageworks.host.memory import give_back
from imageworks.host.settings import DEFAULT_WEIGHTS, HostSettings, find_registry, load_host_settings
from imageworks.operations.hosts import RegistryHost, RegistryHosts
from imageworks.operations.page.disks import shared_bytes
from imageworks.operations.page.models import DetailReader, ModelReader
from imageworks.operations.page.past import Blame, Past, manifest_parts
from imageworks.operations.review_host import ReviewOptions, plan_elsewhere
from imageworks.page.live import LivePage
from imageworks.page.render import Page
from imageworks.page.values import ExceptionRow, HostColumn, PageFacts, RoleRow, RoleRows, SourcePart, Step
from imageworks.plan.compare import HostPlan
from imageworks.plan.status import model_statuses
from imageworks.providers.foreign_stores import foreign_stores, found_in, plain_files
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.documents.cache import ParsedDocuments, cache_file
from imageworks.registry.entries.completeness import why_incomplete
from imageworks.registry.entries.merge import SNAPSHOT_FOLDER, load_owners, merge_each, snapshot_file
from imageworks.registry.entries.packed import as_text, models_of
from imageworks.registry.entries.queries import Model, part, size_of, text, texts
from imageworks.registry.history.reader import HistoryReader
from imageworks.registry.load import RegistryState, settings_at
from imageworks.registry.settings.policies import Policies, Policy
from imageworks.serving.roles import candidates

MOST_COMMITS: Final = 500
MOST_CARDS: Final = 1 << 20
LIVE_CARDS: Final = 8 << 20
"""Letters of all model cards together, as files and of a server: each gets its share of them."""
LONGEST_CARD: Final = 64 << 10
DIGITS: Final = 10


def page_of(
    registry: Path | None, *, commits: int = MOST_COMMITS, base: str | None = None, offline: bool = False
) -> Page:
    """Return the page of a registry on this host."""
    root = find_registry(registry)
    host = load_host_settings(registry=root)
    reviews = plan_elsewhere(root, host, ReviewOptions(base=base, offline=offline)) if base is not None else ()
    return gather_page(root, host, commits=commits, reviews=reviews)


def live_page(root: Path, host: HostSettings) -> LivePage:
    """Return the page of a registry that is made anew as the registry moves on."""
    repository = RegistryRepository.open(root, host=host.host)
    kept = _Kept(Past(), {})
    return LivePage(lambda: gather_page(root, host, cards=LIVE_CARDS, kept=kept), repository.head)


class _Kept(NamedTuple):
    """What a server need not read again when its page is made anew.

    Args:
        past: What commits did.
        elsewhere: What other hosts' snapshots say, by their ids.
    """

    past: Past
    elsewhere: "dict[str, _HostModels]"


def gather_page(
    root: Path,
    host: HostSettings,
    *,
    commits: int = MOST_COMMITS,
    cards: int = MOST_CARDS,
    reviews: Iterable[HostPlan] = (),
    kept: _Kept | None = None,
) -> Page:
    """Return the page of a registry on this host; nothing is written and no network asked."""
    repository = RegistryRepository.open(root, host=host.host)
    kept = kept or _Kept(Past(), {})
    steps, older, blame = _past(kept.past, repository, root, host, commits)
    elsewhere = dict(_elsewhere(repository, host.host, kept.elsewhere))
    head = repository.head()
    state = RegistryState(head, host.host, settings_at(repository, head, host.host))
    hosts = RegistryHosts(root, host, state).all
    repository.let_go()
    give_back()  # of snapshots that are 18 MB each, 40 MiB stay in the heap
    with Run.open(root, host, RunOptions(offline=True, read_only=True)) as run:
        plan = run.plan()
        statuses = model_statuses(plan, run.situation, lambda entry: why_incomplete(entry.fields))
        unfinished = [(one.name, one.percent, one.gathered) for one in run.unfinished()]
        registry = run.registry
    del plan, run  # of ten thousand models they hold as much as all that is shown
    stores = [(title, folder, tuple(plain_files(folder))) for title, folder in foreign_stores(host.environment())]
    ours = frozenset(os.path.realpath(one.path) for one in registry.entries.values() if one.path is not None)
    shared, saved = shared_bytes(registry.entries.values(), stores)
    weights, owners = host.model_root or DEFAULT_WEIGHTS.expanduser(), load_owners()
    reader = ModelReader(weights, registry.entries, {one.name: one for one in statuses})
    models, here = [], _HostModels()
    in_roles: dict[str, list[tuple[tuple[bool, int, str], RoleRow]]] = {}
    for model in merge_each(registry.applied, registry.entries.values(), owners):
        models.append(reader.read(model))
        here.add(model)
        for role in dict.fromkeys(texts(model, "roles")):
            rows = ((one.rank, (text(model, "name"), one.priority, one.usable)) for one in candidates([model], role))
            in_roles.setdefault(role, []).extend(rows)
    facts = PageFacts(
        registry=root.name,
        host=host.host,
        commit=registry.revision or "",
        made=datetime.now(UTC),
        models=tuple(models),
        unfinished=tuple(unfinished),
        steps=steps,
        older=older,
        hosts=tuple(_hosts(hosts, here, elsewhere)),
        roles=tuple(RoleRows(role, tuple(row for _, row in sorted(found))) for role, found in sorted(in_roles.items())),
        rules=_rules(registry.settings.policies),
        exceptions=_exceptions(registry.settings.policies, datetime.now(UTC).date()),
        stores=tuple(found for store in stores if (found := found_in(*store, ours)) is not None),
        shared=shared,
        saved=saved,
        reviews=tuple(reviews),
    )
    files = {name: one.file for name, one in registry.manifests.items()}
    details = DetailReader(
        host=host,
        entries={name: as_text(one.fields) for name, one in registry.entries.items()},
        applied={one.name: as_text(one.fields) for one in registry.applied},
        owners=owners,
        manifest=_ManifestParts(repository, registry.revision, files, blame).of,
        longest_card=min(LONGEST_CARD, cards // max(1, len({*registry.manifests, *registry.entries}))),
    )
    return Page(facts, details.read)


def _past(
    past: Past, repository: RegistryRepository, root: Path, host: HostSettings, commits: int
) -> tuple[tuple[Step, ...], bool, Blame]:
    caches = [ParsedDocuments(cache_file(place, root)) for place in (host.cache_dir / "history", host.cache_dir)]
    with damage_told():
        return past.read(HistoryReader(repository, caches, host=host.host), commits)


class _ManifestParts(NamedTuple):
    """Finds manifests in parts, by who set what.

    Args:
        repository: Where they are.
        revision: At which commit.
        files: The valid ones, by name.
        blame: Who set which field.
    """

    repository: RegistryRepository
    revision: str | None
    files: Mapping[str, str]
    blame: Blame

    def of(self, name: str) -> tuple[SourcePart, ...]:
        """Return a model's; nothing where it has none."""
        file = self.files.get(name)
        reference = self.repository.find_file(self.revision, file) if file is not None else None
        with suppress(BlobRefusedError):
            if file is not None and reference is not None:
                return manifest_parts(name, file, self.repository.read_blob(reference.id), self.blame)
        return ()


class _HostModels:
    """What is shown of a host's models beside those of others."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        self.size = 0

    def add(self, model: Model) -> None:
        if text(model, "download_path"):
            revision = text(part(model, "resolved"), "revision")[:DIGITS] or "recorded"
            self.shown[intern(text(model, "name"))] = intern(revision)
            self.size += size_of(model)


def _hosts(
    hosts: Iterable[RegistryHost], here: _HostModels, elsewhere: Mapping[str, _HostModels]
) -> Iterable[HostColumn]:
    for one in hosts:
        found = here if one.current else elsewhere.get(one.name) or _HostModels()
        labels = tuple(f"{key}={value}" for key, value in one.labels.items())
        yield HostColumn(one.name, one.last, labels, found.shown, found.size, one.current)


def _elsewhere(
    repository: RegistryRepository, here: str, known: dict[str, _HostModels]
) -> Iterable[tuple[str, _HostModels]]:
    """Yield the other hosts with what their snapshots say of their models; before there is more in the memory."""
    before = dict(known)
    known.clear()
    for file, reference in repository.list_files(repository.head(), SNAPSHOT_FOLDER).items():
        host = PurePosixPath(file).stem
        if host == here or file != snapshot_file(host):
            continue
        with suppress(BlobRefusedError, ValueError, RecursionError):  # somebody else wrote it
            known[reference.id] = found = before.get(reference.id) or _models_in(repository, reference)
            yield host, found


def _models_in(repository: RegistryRepository, snapshot: BlobReference) -> _HostModels:
    found = _HostModels()
    for model in models_of(repository.view_blob(snapshot.id)):
        found.add(model)
    return found


def _rules(policies: Policies) -> dict[str, str]:
    said = {policy.value: getattr(policies, policy.value) for policy in Policy}
    return {key: _plain(value) for key, value in said.items() if value}


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else "yes" if value is True else str(value)


def _exceptions(policies: Policies, today: date) -> tuple[ExceptionRow, ...]:
    on = policies.on(today)
    every = [*((one, False) for one in on.exceptions), *((one, True) for one in on.expired)]
    return tuple(ExceptionRow(one.name, one.policy, one.reason, one.expires, over) for one, over in every)
