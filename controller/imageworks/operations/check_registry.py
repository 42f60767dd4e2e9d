"""Validate a whole registry: what people write, and what controllers commit beside it."""

from dataclasses import replace
from pathlib import Path

from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.snapshot_check import check_snapshots, is_as_files_give
from imageworks.registry.validate import Validation, validate_registry


def check_registry(root: Path) -> Validation:
    """Return what is wrong with a registry, as far as its commits can be looked at."""
    reader = WorkTreeReader(root)
    validation = validate_registry(reader)
    if is_as_files_give(reader, validation):
        return validation
    from imageworks.git.repository import RegistryRepository
    from imageworks.git.values import NotARegistryRepositoryError, UnsupportedRepositoryError
    from imageworks.host.settings import load_host_settings
    from imageworks.registry.documents.cache import ParsedDocuments, cache_file

    # Both are read again, the entries of one host after the other: until then nothing of them is held beside.
    validation = replace(validation, manifests={}, entries={})
    host = load_host_settings(registry=root)
    try:
        repository = RegistryRepository.open(root, host=host.host)
    except NotARegistryRepositoryError:
        return validation
    except UnsupportedRepositoryError as error:
        return replace(validation, notes=(*validation.notes, f"snapshots are not checked: {error.message}"))
    found = check_snapshots(
        repository, host.host, ParsedDocuments(cache_file(host.cache_dir, root), host=host.host)
    ).problems
    return replace(validation, diagnostics=tuple(sorted({*validation.diagnostics, *found})))
