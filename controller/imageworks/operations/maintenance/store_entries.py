"""What maintenance asks stores about recorded models of theirs."""

import os

from imageworks.operations.maintenance.find import Found
from imageworks.operations.maintenance.purge import backfill_paths, purge_logical_only
from imageworks.providers.dispatch import store_provider, store_providers
from imageworks.reconcile.ledger import RecordSession


def find_logical(ledger: RecordSession, *, curated: bool) -> Found:
    """Return what has no files; a store is asked only where an entry stands for a model of it."""
    asked = [store.installed(os.environ) for store in store_providers()]

    def installed(name: str) -> bool | None:
        answers = {has(name) for has in asked}
        return True if True in answers else None if None in answers else False

    state = ledger.registry
    return purge_logical_only(
        {name: entry for name, entry in state.entries.items() if name not in state.blocked},
        {manifest.name: manifest for manifest in state.applied},
        curated=curated,
        installed=installed,
        elsewhere=ledger.other_hosts,
    )


def find_pathless(ledger: RecordSession, provider: str, *, location: str, set_format: bool) -> Found:
    """Return the entries of a store's models that have no path, with one."""
    store = store_provider(provider).folder(os.environ)
    entries = ledger.registry.entries.values()
    return backfill_paths(entries, provider, store=store, location=location, set_format=set_format)
