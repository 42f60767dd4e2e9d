"""Check the paths that a registry names: what is no place for a model on any host is refused before it is merged."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from imageworks.foundation.json_values import mapping, part
from imageworks.registry.cross_checks import Declared
from imageworks.registry.documents.diagnostic import Diagnostic, at
from imageworks.registry.documents.document import Document, Pointer
from imageworks.registry.manifests.manifest import (
    OllamaSource,
    OtherSource,
    PathSource,
    RepositorySource,
    local_path,
)
from imageworks.registry.settings.model_places import Use, why_declared
from imageworks.registry.settings.settings import Location, read_settings
from imageworks.registry.settings.target_folder import folder_name

_REMEDY = "name a folder that is for models alone"


def check_settings_places(settings: Document, registry: Path | None) -> Iterator[Diagnostic]:
    """Yield the locations of registry.yaml, and what hosts say instead, that are no places for models."""
    hosts = part(mapping(settings.value), "hosts")
    found: list[tuple[Pointer, object]] = [(("locations",), part(mapping(settings.value), "locations"))]
    found += [(("hosts", host, "locations"), part(mapping(rules), "locations")) for host, rules in hosts.items()]
    for above, locations in found:
        for name, place in locations.items() if isinstance(locations, Mapping) else ():
            inside = ("path",) if isinstance(place, Mapping) else ()
            path = place.get("path") if isinstance(place, Mapping) else place
            yield from _refused(settings, (*above, name, *inside), path, registry, Use.ROOT)


def check_manifest_places(
    declared: Iterable[Declared], settings: Document | None, registry: Path | None
) -> Iterator[Diagnostic]:
    """Yield the paths of manifests that are no places for models, nor what models may be made of."""
    document = settings.value if settings is not None and isinstance(settings.value, dict) else {}
    own = read_settings(document, "")
    for item in declared:
        manifest, source = item.manifest, item.manifest.source
        wanted = manifest.location or own.route(manifest.text("format"))
        named = wanted is not None and wanted.startswith(("/", "~"))
        location = Location("", wanted) if wanted is not None and named else own.locations.get(wanted or "")
        misplaced = list(_refused(item.document, ("location",), wanted if named else None, registry, Use.ROOT))
        yield from misplaced
        if isinstance(source, RepositorySource) and location is not None and not misplaced:
            folder = folder_name(location.layout, manifest.name, source.repo, source.ref)
            yield from _refused(item.document, ("source",), f"{location.path}/{folder}", registry, Use.TARGET)
        elif isinstance(source, PathSource):
            yield from _refused(item.document, ("source", "path"), source.path, registry, Use.SOURCE)
        elif isinstance(source, OtherSource):
            for below, url in source.addresses:
                if (path := local_path(url)) is not None:
                    yield from _refused(item.document, ("source", *below), str(path), registry, Use.SOURCE)
        elif isinstance(source, OllamaSource) and source.modelfile is not None:
            pointer: Pointer = ("source", "modelfile")
            if source.modelfile.base is not None and source.modelfile.base.startswith(("/", "~")):
                yield from _refused(item.document, (*pointer, "from"), source.modelfile.base, registry, Use.SOURCE)
            for index, adapter in enumerate(source.modelfile.adapters):
                yield from _refused(item.document, (*pointer, "adapters", index), adapter, registry, Use.SOURCE)
        template = part(manifest.fields, "chat_template").get("path")
        yield from _refused(item.document, ("chat_template", "path"), template, registry, Use.READING)


def _refused(
    document: Document, pointer: Pointer, path: object, registry: Path | None, use: Use
) -> Iterator[Diagnostic]:
    why = why_declared(path, registry, use) if isinstance(path, str) else None
    if why is not None:
        yield at(document, pointer, f"{path} is no place for a model: {why}", _REMEDY)
