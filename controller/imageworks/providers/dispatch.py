"""Which provider decides about a model: the one table of providers, each imported when it is first asked."""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from imageworks.files.artifact import RemoteFile
from imageworks.plan.facts import DeclaredModel, ResolvedSource, TargetFolder
from imageworks.plan.plan import Change
from imageworks.registry.entries.entry import STORE_PROVIDERS, Entry, is_in_store, stands_in_store
from imageworks.registry.manifests.manifest import Manifest, State

if TYPE_CHECKING:
    from imageworks.providers.base import Provider, StoreProvider
    from imageworks.providers.folder.provider import FolderProvider

PROVIDERS: Final = {
    "ollama": "imageworks.providers.ollama.provider:OLLAMA",
    "huggingface": "imageworks.providers.huggingface.provider:HUGGING_FACE",
    "path": "imageworks.providers.local.provider:LOCAL",
    "url": "imageworks.providers.url.provider:URL",
}
"""By the key under ``source:``, in the order in which they look at a host: a store before the folders given to it."""
REPOSITORIES: Final = "huggingface"
"""Whose repositories people name without saying whose."""
FOLDERS: Final = "path"
"""Who decides about files in folders whose manifest names no source any more."""


@cache
def provider(name: str) -> "Provider":
    """Return a provider by its name."""
    module, _, attribute = PROVIDERS[name].partition(":")
    found: Provider = getattr(import_module(module), attribute)
    return found


def store_provider(name: str) -> "StoreProvider":
    """Return a provider that keeps a store, by its name."""
    return cast("StoreProvider", provider(name))


def store_providers() -> "list[StoreProvider]":
    """Return all providers that keep a store."""
    return [store_provider(name) for name in sorted(STORE_PROVIDERS)]


def store_of(entry: Entry) -> "StoreProvider | None":
    """Return whose store records that it has a model, ``None`` where none does."""
    return store_provider(str(entry.fields["source_provider"])) if stands_in_store(entry) else None


def keeper_of(entry: Entry) -> "StoreProvider | None":
    """Return whose store a recorded model's bytes are in, or are said to be in; ``None`` for files of ours."""
    return next((store for store in store_providers() if store.keeps(entry)), None)


def file_provider(name: str) -> "FolderProvider":
    """Return a provider whose models are folders of files, by its name."""
    return cast("FolderProvider", provider(name))


def provider_of(manifest: Manifest | None, entry: Entry | None) -> "Provider":
    """Return who decides about a model: its source's provider; of one that leaves, the store that keeps it."""
    if entry is not None and is_in_store(entry) and (manifest is None or manifest.state is State.ABSENT):
        return provider(str(entry.fields["source_provider"]))
    return provider(manifest.source.provider if manifest is not None and manifest.source is not None else FOLDERS)


def speaks_of(store: str, manifest: Manifest | None, entry: Entry | None) -> bool:
    """Return whether a store must be looked at for a model; where no model asks for that, it is not reached at all.

    A model speaks of a store that it comes from, that is to serve it, or that was given its files.
    """
    if manifest is not None:
        if manifest.state is State.SUSPENDED:
            return False
        if manifest.source is not None and store in {manifest.source.provider, manifest.text("backend")}:
            return True
    return entry is not None and (
        (stands_in_store(entry) and entry.fields["source_provider"] == store) or store in entry.noted
    )


def stores_spoken_of(manifest: Manifest | None, entry: Entry | None) -> list[str]:
    """Return the stores that must be looked at for a model."""
    return [name for name in sorted(STORE_PROVIDERS) if speaks_of(name, manifest, entry)]


def decide(case: DeclaredModel) -> Change | None:
    """Return what one declared model needs, or ``None`` when it is as declared."""
    if case.manifest.state is State.SUSPENDED:
        return None
    owner = provider_of(case.manifest, case.entry)
    change = owner.decide(case)
    for name in case.facts:
        if name != owner.name:
            change = provider(name).complete(case, change)
    return change


def fetched(case: DeclaredModel) -> tuple[RemoteFile, ...]:
    """Return the files of a case that would be downloaded, smallest first."""
    if not isinstance(case.upstream, ResolvedSource) or not isinstance(case.place, TargetFolder):
        return ()
    change = decide(case)
    wanted = frozenset(change.fetch) if change is not None else frozenset()
    return tuple(sorted((file for file in case.upstream.files if file.path in wanted), key=lambda file: file.size))
