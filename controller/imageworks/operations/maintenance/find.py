"""What each command of maintenance is about, of what a registry's host records."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from imageworks.foundation.errors import UsageError
from imageworks.foundation.home import expanded
from imageworks.foundation.similar_words import did_you_mean
from imageworks.operations.maintenance.entry_changes import EntryChange, Kept, prune_duplicates, purge_deprecated
from imageworks.operations.maintenance.purge import purge_hf, purge_imported, reset_discovered
from imageworks.operations.maintenance.simple_names import (
    Disambiguation,
    NameProposal,
    SlugOptions,
    apply_slugs,
    previewed,
    propose,
)
from imageworks.operations.scan.scan import root_of
from imageworks.providers.locations import LINUX
from imageworks.reconcile.ledger import RecordSession
from imageworks.registry.entries.queries import TESTING_VARIABLE, Model
from imageworks.registry.snapshot import merged_models

Found = Iterable[EntryChange | Kept]


def declared_names(ledger: RecordSession) -> set[str]:
    """Return the names that a manifest stands behind, readable or not."""
    return {*ledger.registry.manifests, *ledger.registry.blocked}


def find_deprecated(ledger: RecordSession, *, placeholders_only: bool) -> Found:
    """Return deprecated entries, and what people deprecated themselves."""
    entries = ledger.registry.entries.values()
    yield from purge_deprecated(entries, declared_names(ledger), placeholders_only=placeholders_only)
    for name, manifest in ledger.registry.manifests.items():
        if manifest.fields.get("deprecated") is True:
            yield Kept(name, f"deprecated by people: delete {manifest.file} when it is to go")


def find_duplicates(ledger: RecordSession, *, backend: str | None) -> Found:
    """Return entries that say less than another of the same model."""
    return prune_duplicates(ledger.registry.entries.values(), ledger.registry.manifests, backend=backend)


def find_discovered(ledger: RecordSession, *, backend: str) -> Found:
    """Return the entries of a backend that no manifest stands behind."""
    return reset_discovered(ledger.registry.entries.values(), declared_names(ledger), backend=backend.lower())


def find_imported(ledger: RecordSession, *, providers: Iterable[str]) -> Found:
    """Return the entries that a scan, an import or a download without a manifest recorded."""
    return purge_imported(ledger.registry.entries.values(), declared_names(ledger), providers=providers)


def find_below(ledger: RecordSession, weights_root: Path | None, *, backend: str | None) -> Found:
    """Return the entries of models below a folder; the weights root if none is named."""
    root = weights_root or root_of(LINUX, ledger)
    if root is None:
        raise UsageError("this host has no weights root", remedy="Name the folder with --weights-root.")
    folder = Path(os.path.abspath(expanded(root)))  # noqa: PTH100 # `..` must go, links must stay
    entries = ledger.registry.entries.values()
    return purge_hf(entries, declared_names(ledger), root=folder, backend=backend.lower() if backend else None)


def preview_names(
    ledger: RecordSession, *, stores: bool, others: bool
) -> tuple[list[NameProposal], dict[str, list[str]], list[Mapping[str, object]]]:
    """Return the simple names of the chosen models, who would clash, and the same as plain values."""
    options = SlugOptions(stores=stores, others=others, patterns=os.environ.get(TESTING_VARIABLE))
    proposals = [one for one in propose(_models(ledger), options) if one.chosen]
    clashing = {one.slug: sorted({one.name, *one.clashing}) for one in proposals if one.clashing}
    return proposals, clashing, list(previewed(proposals))


def find_simple_names(ledger: RecordSession, options: SlugOptions) -> Found:
    """Return the changes that give models their simple names."""
    return apply_slugs(ledger.registry, _models(ledger), replace(options, patterns=os.environ.get(TESTING_VARIABLE)))


def strategies(text: str) -> tuple[Disambiguation, ...]:
    """Return what tells clashing models apart, as the option says it."""
    known = [one.value for one in Disambiguation]
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise UsageError(
                f"--disambiguate: {word!r} is none of {', '.join(known)}", remedy=did_you_mean(word, known)
            )
    return tuple(Disambiguation(word) for word in words)


def _models(ledger: RecordSession) -> Sequence[Model]:
    return merged_models(ledger.registry)
