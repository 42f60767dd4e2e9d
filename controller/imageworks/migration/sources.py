"""Where a model of the predecessor came from and where it stands: what a manifest may say of that, the best first."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.migration.entries import plain_path
from imageworks.migration.model import Fields, Record
from imageworks.naming.hub_identifiers import parse_hub_identifier
from imageworks.registry.documents.document import JsonValue
from imageworks.registry.manifests.manifest import is_commit
from imageworks.registry.settings.model_places import Use, why_declared
from imageworks.registry.settings.settings import Location

OLLAMA: Final = "ollama"
_SCHEME: Final = "ollama://"
_HOME: Final = re.compile(r"/(?:home|Users)/[^/]+/|/root/")
_GGUF: Final = re.compile(r"gguf|i?q\d[\w-]*", re.IGNORECASE)
_REPO_KEYS: Final = ("huggingface_id", "huggingface", "repo_id", "repo")
_PIN_KEYS: Final = ("revision", "commit", "sha")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a migration knows of the registry that it writes to.

    Args:
        host: The host that the entries are of.
        locations: The registry's locations by name, as this host has them.
        host_known: Whether a manifest may name the host.
        modeline: The first line of a manifest.
        registry: Its folder.
    """

    host: str
    locations: Mapping[str, Location]
    host_known: bool
    modeline: str
    registry: Path | None = None


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """One way to declare where a model comes from and stands.

    Args:
        source: The manifest's ``source``; empty for none.
        fields: What goes with it: ``location``, ``format``, ``quantization``, ``hosts``.
        comments: What to write behind a value, by its key.
        placed: Whether the recorded path follows from it.
        doubts: What it does not say, by field.
        folder: What no other model may claim too; ``None`` for nothing.
    """

    source: Fields = field(default_factory=dict)
    fields: Fields = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)
    placed: bool = True
    doubts: Mapping[str, str] = field(default_factory=dict)
    folder: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """The source as people read it."""
        return next((f"{key}:{value}" for key, value in self.source.items()), "none")


def choices(record: Record, found: Record | None, around: Surroundings) -> Iterator[SourceChoice]:
    """Yield what a manifest could say, the best first; the last says nothing and always does."""
    recorded = _path(record) or (_path(found) if found else None)
    plain = recorded is not None and not recorded.startswith(_SCHEME)
    refused = why_declared(recorded, around.registry, Use.SOURCE) if recorded is not None and plain else None
    path = recorded if refused is None else None
    name = _ollama_name(record, found, path)
    repo, evidence = _repo(record, found, path)
    if name is not None:
        quantization = _text(record, "quantization")
        yield SourceChoice(
            {"ollama": name},
            {"quantization": quantization} if quantization else {},
            {"ollama": "as Ollama calls it", "quantization": "what its tag stands for"},
        )
    elif repo is not None:
        yield from _of_hub(record, found, repo, path, evidence, around)
    if name is None and path is not None:
        yield _of_path(path, repo, around)
    doubts = {} if name or path or repo else {"source": "neither a repository, nor a path, nor a name of Ollama's"}
    if refused is not None:
        doubts = {"source": f"its files at {recorded} are in no place for a model: {refused}"}
    elif path is not None and name is None:
        doubts = {"source": f"its files at {path} are declared by another manifest, or no manifest can name them"}
    yield SourceChoice(placed=False, doubts=doubts)


def _of_hub(
    record: Record, found: Record | None, repo: str, path: str | None, evidence: str, around: Surroundings
) -> Iterator[SourceChoice]:
    revision, pinned = _revision(record, found)
    source: Fields = {"huggingface": repo, "revision": revision}
    comments = {
        "huggingface": evidence,
        "revision": "the commit that was recorded" if pinned else "no commit was recorded; `pin` writes one",
        "location": "a location of registry.yaml, or a folder",
        "format": "how the weights are packed",
        "quantization": "which one of several",
    }
    fields: Fields = {}
    form, quantization = _text(found or record, "download_format"), _text(record, "quantization")
    if (path or "").lower().endswith(".gguf") or form == "gguf" or _GGUF.fullmatch(quantization or ""):
        fields["format"] = "gguf"
        if quantization and quantization.lower() != "gguf":
            fields["quantization"] = quantization
    if path is None:
        yield SourceChoice(source, fields, comments, folder=("", repo.lower()))
        return
    tail = repo if revision == "main" or pinned else f"{repo}@{revision.replace('/', '-')}"
    at = f"{path.lower()}/".find(f"/{tail.lower()}/")
    if at < 0:
        return  # declared by the repository it would be fetched again, into another folder: the path is better
    root = path[:at] or "/"
    location = _location(root, found or record, around)
    yield SourceChoice(
        source,
        {**fields, "location": location},
        comments,
        folder=(location, tail.lower(), str(fields.get("quantization"))),
    )


def _location(root: str, record: Record, around: Surroundings) -> str:
    """Return a location's name, where one stands for a folder; else the folder."""
    named = _text(record, "download_location")
    if named in around.locations and named is not None:
        return named
    return next((name for name, place in around.locations.items() if _is_at(place.path, root)), root)


def _is_at(location: str, root: str) -> bool:
    """Return whether a location's path is a recorded folder, whoever's home that was in."""
    if location.startswith("~/"):
        return _HOME.sub("~/", root, count=1) == location.rstrip("/")
    return location.rstrip("/") == root


def _of_path(path: str, repo: str | None, around: Surroundings) -> SourceChoice:
    fields: Fields = {"hosts": [around.host]} if around.host_known else {}
    doubts = (
        {"source.huggingface": f"{repo} is what it came from; its folder is not where that would go"} if repo else {}
    )
    return SourceChoice(
        {"path": path},
        fields,
        {"path": "where its files are; nothing is copied or moved", "hosts": "only this host has that path"},
        doubts=doubts,
        folder=("path", path.rstrip("/").lower()),
    )


def _text(record: Record, key: str) -> str | None:
    value = record.fields.get(key)
    return value if isinstance(value, str) and value else None


def _part(record: Record | None, key: str) -> Mapping[str, JsonValue]:
    value = record.fields.get(key) if record else None
    return value if isinstance(value, dict) else {}


def _path(record: Record) -> str | None:
    """Return the recorded path, or Ollama's name in the form of one."""
    for value in (record.fields.get("download_path"), _part(record, "backend_config").get("model_path")):
        if isinstance(value, str) and value:
            plain = plain_path(value)
            if plain.startswith(("/", "~/", _SCHEME)):
                return plain
    return None


def _ollama_name(record: Record, found: Record | None, path: str | None) -> str | None:
    """Return what Ollama calls a model; the path of one that came from Ollama is made up, or its whole store."""
    if path is not None and path.startswith(_SCHEME):
        return path.removeprefix(_SCHEME)
    providers = {_text(one, "source_provider") for one in (record, found) if one is not None}
    if OLLAMA in providers or (path is None and _text(record, "backend") == OLLAMA):
        served = _text(record, "served_model_id")
        return served if served != "None" else None
    return None


def _repo(record: Record, found: Record | None, path: str | None) -> tuple[str | None, str]:
    """Return the repository, and what says that it is."""
    for one in (record, found):
        for key in _REPO_KEYS:
            value = _part(one, "source").get(key)
            if isinstance(value, str) and (repo := _hub_name(value)):
                return repo, "the repository that it came from"
    aliases = record.fields.get("model_aliases")
    for alias in aliases if isinstance(aliases, list) and path else ():
        repo = _hub_name(alias) if isinstance(alias, str) and alias.count("/") == 1 else None
        if repo and f"/{repo}/".lower() in f"{path}/".lower():
            return repo, "not recorded; its alias and its folder both say so"
    return None, ""


def _hub_name(text: str) -> str | None:
    try:
        return parse_hub_identifier(text).repo
    except ImageworksError:
        return None


def _revision(record: Record, found: Record | None) -> tuple[str, bool]:
    """Return the revision, and whether it is a pin."""
    for one in (record, found):
        for part in (_part(one, "source"), _part(one, "metadata")):
            for key in _PIN_KEYS:
                value = part.get(key)
                if isinstance(value, str) and is_commit(value):
                    return value, True
    branch = _part(record, "metadata").get("branch") or _part(found, "metadata").get("branch")
    return (branch, False) if isinstance(branch, str) and branch else ("main", False)
