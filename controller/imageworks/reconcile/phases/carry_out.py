"""Carry changes out with all that they may need; loaded where something is to be done, for it takes long to load."""

from collections.abc import Iterable, MutableMapping
from datetime import UTC, datetime

from imageworks.plan.facts import DeclaredModel
from imageworks.plan.plan import Change
from imageworks.plan.report import ModelResult
from imageworks.providers.folder.apply import ApplyContext
from imageworks.providers.folder.describe import describe
from imageworks.providers.shared_files import SharedFiles
from imageworks.reconcile.apply_plan import Hands, apply_changes
from imageworks.reconcile.phases.planning import Planning
from imageworks.registry.entries.entry import STORE_PROVIDERS, Entry
from imageworks.transfer.engine import TransferEngine
from imageworks.transfer.job import TransferOptions


def carry_out(
    planning: Planning, changes: Iterable[Change], cases: MutableMapping[str, DeclaredModel], *, ahead: bool
) -> list[ModelResult]:
    """Carry changes out; only what they download where that is to come ``ahead``."""
    host, places, registry = planning.host, planning.places, planning.registry
    transfer = registry.settings.transfer.on_host(host.max_connections, host.max_concurrent_downloads)
    jobs = planning.options.jobs or transfer.jobs
    options = TransferOptions(
        connections=transfer.connections,
        jobs=jobs,
        limit_bytes_per_second=transfer.limit,
        allow_http=planning.sources.allow_http,
        guard=planning.sources.guard(),
    )

    def withdraw(entry: Entry) -> None:
        for name in STORE_PROVIDERS & entry.part("metadata").keys():
            planning.store(name).withdraw(entry)

    with TransferEngine(options) as engine:
        tools = ApplyContext(
            engine=engine,
            state=planning.state,
            intents=planning.intents,
            places=places,
            host=host,
            progress=planning.progress,
            owner=planning.owner,
            describe=describe,
            sharing=SharedFiles(registry.entries.values()),
            registry=planning.repository.root,
            withdraw=withdraw,
            policies=registry.settings.policies.on(datetime.now(UTC).date()),
        )
        entries = {name: places.current(entry) for name, entry in registry.entries.items()}
        hands = Hands(tools, planning.store, planning.options.cancel)
        return apply_changes(changes, cases, entries, hands, jobs=jobs, ahead=ahead)
