"""Analyse a repository that somebody names, for the places of a registry, or of this host where there is none."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from imageworks.host.settings import RegistryNotFoundError, find_registry, load_host_settings
from imageworks.naming.hub_identifiers import parse_hub_identifier
from imageworks.operations.download.analyze import Analysis, analyze
from imageworks.operations.download.fit import MemoryQuestion
from imageworks.providers.locations import HostLocations
from imageworks.providers.upstream import SourceResolver
from imageworks.reconcile.open_registry import open_registry
from imageworks.registry.settings.settings import RegistrySettings


def analyze_named(
    identifier: str,
    registry: Path | None,
    *,
    offline: bool,
    memory: tuple[str | None, int | None, str],
    chosen: Mapping[str, str | None],
) -> tuple[Analysis, MemoryQuestion]:
    """Return what a repository is, and the question of the memory that it needs."""
    question = MemoryQuestion.of(*memory)
    host = load_host_settings()
    wanted = parse_hub_identifier(identifier, endpoints=[host.hub_endpoint])
    wanted = replace(wanted, quantization=chosen["quantization"] or wanted.quantization)
    try:
        places = HostLocations(open_registry(find_registry(registry), host)[1].settings, host)
    except RegistryNotFoundError:
        places = HostLocations(RegistrySettings(), host)
    with closing(SourceResolver(host=host, offline=offline, write_cache=True)) as sources:
        found = analyze(sources.open(), wanted, places, container=chosen["container"], backend=chosen["backend"])
    return found, question
