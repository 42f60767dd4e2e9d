"""What is known of one model in Ollama, as a value for the planner, and what entries record of such models. Pure."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from imageworks.detection.file_names import Container, Role, classify
from imageworks.foundation.errors import ImageworksError
from imageworks.plan.facts import Blocker, DeclaredModel, FileState, Observation, UndeclaredModel
from imageworks.providers.ollama.model import OllamaLayer, OllamaModel, OllamaObservation, UpstreamOllama
from imageworks.providers.ollama.names import parse_name, same_model
from imageworks.providers.ollama.reasons import OllamaReason
from imageworks.registry.entries.entry import ArtifactFile, Entry, is_in_store, stands_in_store
from imageworks.registry.manifests.manifest import Manifest, Modelfile, OllamaSource, RepositorySource

PROVIDER: Final = "ollama"
SCHEME: Final = "ollama://"
SECTION: Final = "ollama"
"""The part of an entry's metadata that says what Ollama has of the model."""
STALLED: Final = "Stalled"
KEPT: Final = "imageworks-kept"
DIGEST_PREFIX: Final = "sha256:"


class Blob(NamedTuple):
    """A layer or config that a model needs."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class BuildInputs:
    """What a model of one's own would be made of now.

    Args:
        spec: The sha256 of everything that its modelfile says, the content of its files included.
        base: The base as it is installed; ``None`` when it is not there, or is a file.
        base_name: The base's name in Ollama; ``None`` when it is a file.
        files: The GGUF file that it is made from, and its adapters, with their sha256.
        base_follows: Other declared models that bring the base.
    """

    spec: str
    base: OllamaModel | None = None
    base_name: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    base_follows: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OllamaFacts:
    """What Ollama has of one model.

    Args:
        seen: Everything that Ollama has, and who told.
        name: The wanted name, shortest form with its tag.
        installed: The model under that name.
        recorded: The model under the name that the entry records, which may be another.
        upstream: What the registry has under the name, or why that cannot be said; ``None`` where nobody needs to know.
        reuse: Files on this host that hold wanted blobs, by digest.
        here: Digests of the blobs that the store has already.
        begun: Bytes that a broken off pull has left of a blob, by digest; the next one goes on from there.
        filesystem: Key of the store's filesystem, where it is on this machine.
        ours: Whether a killed run of ours was bringing it.
        claimed: Whether this host remembers having brought just what Ollama has under the recorded name.
        others: Other declared or recorded models that are the same one in Ollama.
        made: What it would be made of; ``None`` for a model that is pulled.
        bad: Digests of its blobs that are there and damaged: of another size, or found so by who read them.
        missing: Digests of its blobs that are not there.
        replaceable: Whether this host may write into the store, so that a damaged blob can be put right.
        offline: Whether the network may not be used.
        unusable: The manifest that lies under the name though the daemon lists no such model, with what is wrong in it.
    """

    seen: OllamaObservation
    name: str
    installed: OllamaModel | None = None
    recorded: OllamaModel | None = None
    upstream: UpstreamOllama | Blocker | None = None
    reuse: Mapping[str, Path] = field(default_factory=dict)
    here: frozenset[str] = frozenset()
    begun: Mapping[str, int] = field(default_factory=dict)
    filesystem: str | None = None
    ours: bool = False
    claimed: bool = False
    others: tuple[str, ...] = ()
    made: BuildInputs | Blocker | None = None
    bad: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    replaceable: bool = False
    offline: bool = False
    unusable: str | None = None

    @property
    def reachable(self) -> bool:
        """Whether anything can be brought or removed now."""
        return self.seen.daemon_answers

    def is_in_use(self, name: str) -> bool:
        """Return whether a model is loaded now."""
        return self.seen.is_in_use(name)

    @property
    def gone(self) -> str:
        """What to say of a recorded model that was not found: nothing is gone where nobody could look."""
        what = "is gone from Ollama" if shows_absence(self.seen) else "cannot be looked for in Ollama"
        return f"{self.name} {what}"

    def also_have(self, digests: Collection[str]) -> tuple[str, ...]:
        """Return other models that have some of these blobs too."""
        others = [model for model in self.seen.models if not same(model.name, self.name)] if digests else []
        return tuple(model.name for model in others if not set(digests).isdisjoint(model.content))


def sight_in(known: DeclaredModel | UndeclaredModel) -> OllamaFacts | None:
    """Return what Ollama has of a model; ``None`` where neither its manifest nor its entry speaks of Ollama."""
    found = known.facts.get(PROVIDER)
    return found if isinstance(found, OllamaFacts) else None


def offered_name(manifest: Manifest) -> str | None:
    """Return the name under which Ollama is to have a GGUF of the Hub; ``None`` where nobody asks for that."""
    if not isinstance(manifest.source, RepositorySource) or manifest.text("backend") != PROVIDER:
        return None
    return manifest.text("served_model_id") or ollama_word(manifest.name)


def offerable(entry: Entry) -> tuple[ArtifactFile, ...]:
    """Return the files of a model that Ollama can be given: one GGUF, with what projects images into it."""
    named = [(file, classify(file.path)) for file in entry.files]
    ggufs = [(file, what.role) for file, what in named if what.container is Container.GGUF]
    given = tuple(file for file, role in ggufs if role in {Role.WEIGHTS, Role.PROJECTOR})
    return given if sum(role is Role.WEIGHTS for _, role in ggufs) == 1 else ()


def ollama_word(name: str) -> str:
    """Return a variant name as Ollama's grammar takes it."""
    word = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "-" for c in name)
    return word.strip("-.") or "model"


def offered(entry: Entry | None) -> str | None:
    """Return the name under which Ollama was given a GGUF of ours; ``None`` when it was not."""
    if entry is None or is_in_store(entry):
        return None
    name = section(entry).get("name")
    return name if isinstance(name, str) else None


def section(entry: Entry) -> Mapping[str, object]:
    """Return what an entry records of Ollama, empty when it records nothing."""
    value = entry.noted.get(SECTION)
    return value if isinstance(value, Mapping) else {}


def recorded_name(entry: Entry) -> str | None:
    """Return the name in Ollama that an entry records."""
    own = section(entry).get("name")
    return own if isinstance(own, str) else entry.text("served_model_id")


def same(one: str | None, other: str | None) -> bool:
    """Return whether two names mean one model of Ollama."""
    return one is not None and other is not None and same_model(one, other)


def name_key(name: str | None) -> tuple[str, ...] | None:
    """Return what is equal for two spellings of one model of Ollama; ``None`` for what is no name."""
    try:
        return None if name is None else parse_name(name).key
    except ImageworksError:
        return None


def kept_name(name: str) -> str:
    """Return the name of ours under which a model is kept while another comes in its place."""
    parsed = parse_name(name)
    return f"{KEPT}/{hashlib.sha256('/'.join(parsed.key).encode()).hexdigest()[:16]}:{parsed.tag}"


def marker(name: str) -> Path:
    """Return what stands for a model of Ollama where this host remembers paths."""
    try:
        return Path(f"{SCHEME}{'/'.join(parse_name(name).key)}")
    except ImageworksError:
        return Path(f"{SCHEME}{name}")


def blobs_of(config: str | None, layers: Iterable[OllamaLayer], size: int) -> tuple[Blob, ...]:
    """Return config and layers once each; the config's size is what the layers leave of the whole."""
    listed = list(layers)
    if config is None:
        return ()
    blobs = {config: Blob(config, max(0, size - sum(layer.size for layer in listed)))}
    blobs |= {layer.digest: Blob(layer.digest, layer.size) for layer in listed}
    return tuple(blobs.values())


def artifacts_of(model: OllamaModel) -> tuple[ArtifactFile, ...]:
    """Return a model's blobs as files below its store; empty when they are not known or not on this machine."""
    if model.store is None:
        return ()
    blobs = blobs_of(model.config_digest, model.layers, model.size)
    return tuple(sorted(ArtifactFile(f"blobs/sha256-{blob.digest}", blob.size, blob.digest) for blob in blobs))


def is_as_recorded(entry: Entry, model: OllamaModel) -> bool:
    """Return whether Ollama still has what an entry records.

    Config and layers are compared where both sides know them: some versions write the manifest anew.
    """
    recorded = {file.sha256 for file in entry.files} if is_in_store(entry) else _digests(section(entry))
    if recorded and model.content:
        return recorded == set(model.content)
    known = {section(entry).get("digest"), entry.revision and entry.revision.removeprefix(DIGEST_PREFIX)} - {None}
    return not known or model.digest in known  # what an import recorded by its name alone is whatever has the name


def _digests(recorded: Mapping[str, object]) -> set[str]:
    value = recorded.get("content")
    return {item for item in value if isinstance(item, str)} if isinstance(value, list) else set()


def same_content(model: OllamaModel, upstream: UpstreamOllama) -> bool:
    """Return whether an installed model is what the registry has now."""
    if model.content and upstream.content:
        return set(model.content) == set(upstream.content)
    return model.digest == upstream.digest


def shows_absence(seen: OllamaObservation) -> bool:
    """Return whether a model that was not seen is not there: a daemon knows, and a store all of which can be read."""
    return seen.origin == "api" or (seen.origin == "store" and not seen.damaged)


def observation_of(entry: Entry, seen: OllamaObservation, *, distrusted: bool = False) -> Observation | None:
    """Return how a recorded model stands in Ollama; ``None`` when that cannot be said."""
    name = recorded_name(entry)
    if name is None or not stands_in_store(entry):
        return None
    path = entry.path or Path(f"{SCHEME}{name}")
    model = seen.find(name)
    every = {file.path for file in entry.files} or {name}
    if model is None:
        gone = Observation(path, exists=False, damaged=dict.fromkeys(every, FileState.MISSING))
        return gone if shows_absence(seen) else None
    if not is_as_recorded(entry, model):
        return Observation(path, exists=True, damaged=dict.fromkeys(every, FileState.DIGEST))
    if not model.complete:
        return Observation(path, exists=True, damaged=dict.fromkeys(every, FileState.MISSING))
    if distrusted:
        return Observation(path, exists=True, damaged=dict.fromkeys(every, FileState.DIGEST))
    return Observation(path, exists=True)


def stalled_on(entry: Entry | None, source: OllamaSource, version: str | None) -> str | None:
    """Return why a recorded refusal still holds, or ``None`` when it is worth another try."""
    stalled = section(entry).get("stalled") if entry is not None else None
    if not isinstance(stalled, Mapping):
        return None
    now = stall_of(source, version)
    if any(stalled.get(key) != value for key, value in now.items()):
        return None
    return str(stalled.get("message") or "this version of Ollama is too old for it")


def stall_of(source: OllamaSource, version: str | None) -> dict[str, object]:
    """Return what must change before a refused model is tried again."""
    base = source.modelfile.base if source.modelfile is not None else None
    return {"source": source.name, "digest": source.digest, "base": base, "version": version}


def spec_of(modelfile: Modelfile, digests: Mapping[str, str]) -> str:
    """Return the digest of everything that a modelfile says."""
    said = {
        "from": modelfile.base,
        "template": modelfile.template,
        "system": modelfile.system,
        "parameters": dict(modelfile.parameters),
        "license": modelfile.license,
        "adapters": list(modelfile.adapters),
        "files": dict(digests),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def obstacle_of(seen: OllamaObservation, doing: str) -> Blocker:
    """Return why Ollama cannot be asked to do something."""
    problem = seen.problem or "no daemon answers"
    remedy = seen.remedy or "start it with `ollama serve`, or name it in OLLAMA_HOST"
    return Blocker(OllamaReason.UNREACHABLE, f"{doing}: {problem}; {remedy}")
