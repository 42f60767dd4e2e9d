"""What no single file can show: two names that clash, a location that nobody defines, two models in one folder.

Pure over parsed documents, so that `validate`, CI and the controller say the same of the same registry.
"""

import posixpath
import shlex
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from sys import intern
from types import MappingProxyType
from typing import Final, NamedTuple

from imageworks.foundation.json_values import mapping, part
from imageworks.registry.documents.diagnostic import Diagnostic, at, whole_file
from imageworks.registry.documents.document import Document, Pointer
from imageworks.registry.documents.schema_messages import suggest
from imageworks.registry.manifests.manifest import (
    Manifest,
    OllamaSource,
    PathSource,
    RepositorySource,
    State,
    manifest_name,
    read_manifest,
)
from imageworks.registry.manifests.portion import are_disjoint, portion_of
from imageworks.registry.settings.model_origins import ollama_key
from imageworks.registry.settings.policies import check_exceptions
from imageworks.registry.settings.settings import LMSTUDIO, PUBLISHER, Location, read_settings
from imageworks.registry.settings.target_folder import folder_name

_ANY_HOST: Final = "\0"
_ON_ANY: Final = frozenset({_ANY_HOST})
_NESTED_REMEDY: Final = "give one of them another location"
_SHARING_REMEDY: Final = (
    "give one of them another location; only different weights of one repository at one revision,"
    " each named by `quantization`, `weights`, `include` or `subfolder`, may share a folder"
)


class Declared(NamedTuple):
    """A schema-valid manifest beside the document that it was read from."""

    manifest: Manifest
    document: Document


@dataclass(frozen=True, slots=True)
class _Claim:
    """The folder that a manifest's files would go to."""

    target: tuple[str, ...]
    hosts: frozenset[str]


def fold(name: str) -> str:
    """Return a name as a file system that ignores case and normalises Unicode would see it."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


NONE_DECLARED: Final[Mapping[str, Declared]] = MappingProxyType({})


def declare(document: Document, same: Mapping[str, Declared] = NONE_DECLARED) -> Declared:
    """Return the manifest of a schema-valid document; what is known by its name, where that is of the same document."""
    known = same.get(manifest_name(document.file))
    if known is not None and known.document is document:
        return known
    fields = document.value if isinstance(document.value, dict) else {}
    return Declared(read_manifest(document.file, fields), document)


def check_names(files: Iterable[str]) -> Iterator[Diagnostic]:
    """Yield manifests whose names differ only in case, in Unicode form or in suffix."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files):
        by_name[fold(manifest_name(file))].append(file)
    for clashing in by_name.values():
        if len(clashing) > 1:
            for file in clashing:
                other = clashing[1] if file == clashing[0] else clashing[0]
                yield whole_file(file, f"the same model name as {other}", "rename or remove one of the two")


def check_twins(files: Iterable[str]) -> Iterator[Diagnostic]:
    """Yield files whose paths differ only in case or in Unicode form: on half of all disks they are one file."""
    by_path: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files):
        by_path[fold(file)].append(file)
    for first, *others in by_path.values():
        for file in others:
            yield whole_file(
                file, f"differs from {first} by letter case alone", f"remove one: git rm -- {shlex.quote(file)}"
            )


def check_settings(settings: Document) -> Iterator[Diagnostic]:
    """Yield what registry.yaml refers to and does not define."""
    yield from check_exceptions(settings)
    locations = part(mapping(settings.value), "locations")
    for defined, place in locations.items():
        yield from _check_studio(settings, place, ("locations", defined))
    for kind, name in part(mapping(settings.value), "routing").items():
        if isinstance(name, str) and name not in locations:
            yield at(settings, ("routing", kind), f'unknown location "{name}"', _of_locations(name, locations))
    yield from _check_mirrors(settings)
    hosts: dict[str, str] = {}
    for host in part(mapping(settings.value), "hosts"):
        if (twin := hosts.setdefault(fold(host), host)) != host:
            message = f'host "{host}" differs from "{twin}" by letter case alone'
            yield at(
                settings,
                ("hosts", host),
                message,
                "remove one: their entries would share a folder",
                key=True,
            )
    for host, rules in part(mapping(settings.value), "hosts").items():
        for name, override in part(mapping(rules), "locations").items():
            has_path = isinstance(override, str) or "path" in part(part(mapping(rules), "locations"), name)
            if name not in locations and not has_path:
                pointer: Pointer = ("hosts", host, "locations", name)
                yield at(settings, pointer, f'unknown location "{name}"', "define it, or give its path", key=True)


def _check_mirrors(settings: Document) -> Iterator[Diagnostic]:
    """Yield mirrors that are hosts of which nobody knows where they serve what they have."""
    document = mapping(settings.value)
    hosts = part(document, "hosts")
    said: list[tuple[Pointer, object]] = [(("mirror",), document.get("mirror"))]
    said += [(("hosts", host, "mirror"), mapping(rules).get("mirror")) for host, rules in hosts.items()]
    for pointer, mirrors in said:
        for name in mirrors if isinstance(mirrors, list) else (mirrors,):
            if isinstance(name, str) and "://" not in name and "hub" not in part(hosts, name):
                yield at(settings, pointer, f'host "{name}" has no `hub`', "give it the address that it serves at")


def _check_studio(settings: Document, place: object, pointer: Pointer) -> Iterator[Diagnostic]:
    """Yield a layout that would put models where LM Studio does not see them."""
    layout = place.get("layout") if isinstance(place, Mapping) and place.get("kind") == LMSTUDIO else None
    if layout not in {None, "owner/repo", PUBLISHER}:
        message = f"layout {layout} in a location of kind {LMSTUDIO}: LM Studio sees only publisher/model folders"
        yield at(settings, (*pointer, "layout"), message, f"write `layout: {PUBLISHER}`")


def check_references(
    declared: Iterable[Declared], settings: Document | None, known_hosts: Collection[str]
) -> Iterator[Diagnostic]:
    """Yield locations and hosts that a manifest names and nobody defines."""
    if settings is None:
        return
    locations = all_locations(settings)
    rules = part(mapping(settings.value), "hosts")
    hosts = sorted({*rules, *known_hosts})
    labels = sorted(
        {f"{key}={value}" for rule in rules.values() for key, value in part(mapping(rule), "labels").items()}
    )
    for item in declared:
        location = item.manifest.location
        if location is not None and not location.startswith(("/", "~")) and location not in locations:
            message = f'unknown location "{location}"'
            yield at(item.document, ("location",), message, _of_locations(location, locations))
        for index, wanted in enumerate(item.manifest.hosts):
            known = labels if "=" in wanted else hosts
            if wanted not in known:
                what = "host label" if "=" in wanted else "host"
                remedy = f"{suggest(wanted, known, what=f'{what}s')} (registry.yaml defines them)"
                yield at(item.document, ("hosts", index), f'unknown {what} "{wanted}"', remedy)


def check_previously(declared: Collection[Declared], files: Iterable[str]) -> Iterator[Diagnostic]:
    """Yield former names that are still in use, that two models claim, or that lead in a circle."""
    holders = {fold(manifest_name(file)): file for file in files}
    current = {fold(item.manifest.name): item for item in declared}
    claims: dict[str, list[Declared]] = defaultdict(list)
    for item in declared:
        for former in {fold(name) for name in item.manifest.previously}:
            claims[former].append(item)
    for item in declared:
        own = fold(item.manifest.name)
        for index, former in enumerate(item.manifest.previously):
            folded = fold(former)
            pointer: Pointer = ("previously", index)
            rival = next((other for other in claims[folded] if other is not item), None)
            if former == item.manifest.name:
                message = f'"{former}" is its own former name'
                remedy = "remove it from previously, or rename the file with `git mv` if only its case was to change"
                yield at(item.document, pointer, message, remedy)
            elif folded == own:
                continue  # renamed by case alone
            elif folded in current and _leads_to(current[folded], own, current):
                message = f'"{former}" and "{item.manifest.name}" are each other\'s former names'
                yield at(item.document, pointer, message, "keep `previously` only in the manifest with the new name")
            elif folded in holders:
                message = f'"{former}" is the name of {holders[folded]}, so nothing was renamed'
                yield at(item.document, pointer, message, "remove that manifest, or this former name")
            elif rival is not None:
                message = f'"{former}" is claimed as a former name by {rival.manifest.file} too'
                yield at(item.document, pointer, message, "keep it in one of them")


def _leads_to(start: Declared, name: str, current: Mapping[str, Declared]) -> bool:
    """Return whether following former names from a manifest arrives at a name."""
    pending, seen = [start], set[str]()
    while pending:
        for former in map(fold, pending.pop().manifest.previously):
            if former == name:
                return True
            if former in current and former not in seen:
                seen.add(former)
                pending.append(current[former])
    return False


def check_modelfiles(declared: Iterable[Declared]) -> Iterator[Diagnostic]:
    """Yield models of Ollama that would be made of themselves, at once or by way of others."""
    made: dict[str, tuple[Declared, str]] = {}
    for item in declared:
        source = item.manifest.source
        if not isinstance(source, OllamaSource) or source.modelfile is None or item.manifest.state is State.ABSENT:
            continue
        base = source.modelfile.base or ""
        made.setdefault(ollama_key(source.name), (item, "" if base.startswith(("/", "~")) else ollama_key(base)))
    for name, (item, base) in made.items():
        seen: list[str] = []
        below = base
        while below in made and below != name and below not in seen:
            seen.append(below)
            below = made[below][1]
        if below == name:
            way = f" by way of {made[seen[0]][0].manifest.file}" if seen else ""
            message = f"{item.manifest.name} would be made of itself{way}"
            remedy = "build it under another name than its base's"
            yield at(item.document, ("source", "modelfile", "from"), message, remedy)


def check_targets(declared: Iterable[Declared], settings: Document | None) -> Iterator[Diagnostic]:
    """Yield manifests whose files would go to one folder on one host.

    Different weights of one repository at one revision may share their folder; anything else may not.
    """
    rules = part(mapping(settings.value if settings else None), "hosts")
    labels = {host: part(mapping(rule), "labels") for host, rule in rules.items()}
    locations = all_locations(settings) if settings else {}
    routing = part(mapping(settings.value if settings else None), "routing")
    by_target: dict[tuple[str, ...], list[tuple[Declared, _Claim]]] = defaultdict(list)
    for item in declared:
        claim = _claim(item.manifest, locations, routing, labels)
        if claim is not None:
            by_target[claim.target].append((item, claim))
    yield from _nested(by_target)
    for claims in by_target.values():
        for item, claim in claims:
            rivals = (
                other for other, rival in claims if other is not item and not _may_share(item, claim, other, rival)
            )
            if (rival := next(rivals, None)) is not None:
                message = f"its files would go to the same folder as those of {rival.manifest.file}"
                yield at(item.document, ("source",), message, _SHARING_REMEDY)


def _nested(by_target: Mapping[tuple[str, ...], Sequence[tuple[Declared, _Claim]]]) -> Iterator[Diagnostic]:
    """Yield manifests of which one's folder would be inside the other's."""
    for target, claims in by_target.items():
        above = [outer for depth in range(2, len(target)) for outer in by_target.get(target[:depth], ())]
        for (item, claim), (other, rival) in product(claims, above):
            if _meet(claim, rival):
                files = (item.manifest.file, other.manifest.file)
                inside = f"its files would go inside the folder of {files[1]}"
                yield at(item.document, ("source",), inside, _NESTED_REMEDY)
                around = f"its folder would hold the one of {files[0]}"
                yield at(other.document, ("source",), around, _NESTED_REMEDY)


def _meet(claim: _Claim, rival: _Claim) -> bool:
    return bool(claim.hosts & rival.hosts) or _ANY_HOST in claim.hosts | rival.hosts


def _may_share(item: Declared, claim: _Claim, other: Declared, rival: _Claim) -> bool:
    if not _meet(claim, rival):
        return True
    same = _content(item.manifest) == _content(other.manifest)
    return same and are_disjoint(portion_of(item.manifest), portion_of(other.manifest))


def _content(manifest: Manifest) -> tuple[str, ...]:
    """Return what is in the folder that a manifest claims."""
    source = manifest.source
    if isinstance(source, RepositorySource):
        return source.repo, source.revision
    return ("path", source.path) if isinstance(source, PathSource) else ()


def _claim(
    manifest: Manifest,
    locations: Mapping[str, Location],
    routing: Mapping[str, object],
    labels: Mapping[str, Mapping[str, object]],
) -> _Claim | None:
    """Return the folder that a manifest claims, as far as it can be told without looking at a host."""
    if manifest.state is State.ABSENT:
        return None
    source = manifest.source
    if isinstance(source, PathSource) and manifest.location is None:
        target: tuple[str, ...] = ("path", fold(source.path.rstrip("/")))
    elif isinstance(source, RepositorySource):
        place, layout = _place(manifest, locations, routing)
        folder = folder_name(layout, manifest.name, source.repo, source.ref)
        target = _target(place, folder)
    else:
        return None
    return _Claim(target, _hosts(manifest, labels))


def _target(root: str, folder: str) -> tuple[str, ...]:
    """Return a folder as its parts, the same however its root is written; ten thousand have few roots between them."""
    path = posixpath.normpath(f"{root}/{folder}") if root.startswith(("/", "~")) else f"{root}/{folder}"
    *above, name = fold(path).split("/")
    return (*map(intern, above), name)


def _place(manifest: Manifest, locations: Mapping[str, Location], routing: Mapping[str, object]) -> tuple[str, str]:
    """Return a key for the root of a manifest's location, and its layout."""
    name: object = manifest.location
    if name is None:
        container = manifest.text("format")
        if container is None:
            # Detection will route it; until then it can only clash with others that wait for the same.
            return "routed", "owner/repo"
        name = routing.get(container, routing.get("default"))
    location = locations.get(name) if isinstance(name, str) else None
    if location is not None:
        return location.path.rstrip("/"), location.layout
    return str(name).rstrip("/"), "owner/repo"


def _hosts(manifest: Manifest, labels: Mapping[str, Mapping[str, object]]) -> frozenset[str]:
    """Return the hosts that a manifest is for."""
    if not manifest.hosts:
        return _ON_ANY
    chosen = {wanted for wanted in manifest.hosts if "=" not in wanted}
    for wanted in manifest.hosts:
        key, equals, value = wanted.partition("=")
        if equals:
            chosen |= {host for host, own in labels.items() if own.get(key) == value}
    return frozenset(chosen)


def all_locations(settings: Document) -> dict[str, Location]:
    """Return every location that some host has."""
    document = settings.value if isinstance(settings.value, dict) else {}
    found: dict[str, Location] = {}
    for host in [*sorted(part(mapping(document), "hosts"), reverse=True), ""]:
        found |= read_settings(document, host).locations
    return found


def _of_locations(name: str, locations: Iterable[str]) -> str:
    return suggest(name, sorted(locations), what="locations in registry.yaml")
