"""Models of Ollama for tests: their blobs and manifests, and a store on disk that keeps them by Ollama's layout."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imageworks.providers.ollama.names import ModelName, parse_name

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.ollama.image."


def hex_sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Content:
    """A model's manifest as bytes, and its blobs by digest."""

    manifest: bytes
    blobs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return hex_sha256(self.manifest)

    @property
    def parsed(self) -> dict[str, object]:
        found = json.loads(self.manifest)
        assert isinstance(found, dict)
        return found

    @property
    def size(self) -> int:
        return sum(layer["size"] for layer in [*self.parsed["layers"], self.parsed["config"]])  # type: ignore[misc]


def model(
    weights: bytes | None = b"weights",
    *,
    projector: bytes | None = None,
    template: str | None = "{{ .Prompt }}",
    system: str | None = None,
    parameters: Mapping[str, object] | None = None,
    licenses: Sequence[str] = (),
    family: str = "llama",
    parameter_size: str = "1.2B",
    quantization: str = "Q4_K_M",
    config: Mapping[str, object] | None = None,
) -> Content:
    """Return a model as Ollama's registry would have it; ``weights=None`` is a cloud stub."""
    layers: list[tuple[str, bytes]] = []
    if weights is not None:
        layers.append(("model", weights))
    if projector is not None:
        layers.append(("projector", projector))
    if template is not None:
        layers.append(("template", template.encode()))
    if system is not None:
        layers.append(("system", system.encode()))
    layers += [("license", text.encode()) for text in licenses]
    if parameters:
        layers.append(("params", json.dumps(parameters).encode()))
    about: dict[str, object] = {
        "model_format": "gguf",
        "model_family": family,
        "model_families": [family],
        "model_type": parameter_size,
        "file_type": quantization,
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hex_sha256(data)}" for _, data in layers]},
        **(config or {}),
    }
    return assembled(about, layers)


def assembled(
    about: Mapping[str, object], layers: Sequence[tuple[str, bytes]], *, parent: str | None = None
) -> Content:
    """Return a manifest and blobs from a config and layers by kind; a parent is named in the layer of the weights."""
    encoded = json.dumps(about).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": entry(CONFIG, encoded),
        "layers": [
            {**entry(LAYER + kind, data), **({"from": parent} if parent and kind == "model" else {})}
            for kind, data in layers
        ],
    }
    blobs = {hex_sha256(data): data for data in (encoded, *(data for _, data in layers))}
    return Content(json.dumps(manifest, separators=(",", ":")).encode(), blobs)


def entry(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{hex_sha256(data)}", "size": len(data)}


class Store:
    """A models folder on disk; everything is read anew at each call, as the daemon does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        (folder / "manifests").mkdir(exist_ok=True)

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / f"sha256-{digest.removeprefix('sha256:')}"

    def manifest(self, name: str | ModelName) -> Path:
        return self.folder.joinpath("manifests", *_name(name).parts)

    def install(self, name: str | ModelName, content: Content) -> Path:
        """Put a model there as a finished pull does; returns the manifest's path."""
        for digest, data in content.blobs.items():
            self.write_blob(digest, data)
        return self.write_manifest(name, content.manifest)

    def write_blob(self, digest: str, data: bytes) -> None:
        path = self.blob(digest)
        if not path.exists():
            new = path.with_name(f"{path.name}-new")
            new.write_bytes(data)
            new.rename(path)

    def write_manifest(self, name: str | ModelName, data: bytes) -> Path:
        path = self.manifest(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def config_of(self, name: str) -> str:
        """Return the digest of an installed model's config."""
        return str(json.loads(self.manifest(name).read_bytes())["config"]["digest"])

    def existing(self, name: ModelName) -> ModelName:
        """Return a name in the case that any readable manifest has, each part for itself, as Ollama does."""
        parts = list(name.parts)
        for there, path in self.manifests():
            if _is_manifest(path.read_bytes()):
                same = (part.lower() == wanted.lower() for part, wanted in zip(there.parts, name.parts, strict=True))
                parts = [part if fits else had for part, had, fits in zip(there.parts, parts, same, strict=True)]
        return ModelName(*parts)

    def manifests(self) -> Iterator[tuple[ModelName, Path]]:
        for path in sorted((self.folder / "manifests").glob("*/*/*/*")):
            if path.is_file():
                yield ModelName(*path.relative_to(self.folder / "manifests").parts), path

    def read(self, path: Path) -> tuple[dict[str, object], dict[str, object]] | None:
        """Return manifest and config, ``None`` where either cannot be read."""
        try:
            manifest = json.loads(path.read_bytes())
            config = json.loads(self.blob(manifest["config"]["digest"]).read_bytes())
            self.layers(path, "template")  # the daemon looks into them, too
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return manifest, config

    def layers(self, path: Path, kind: str) -> list[bytes]:
        """Return the content of a manifest's layers of one kind."""
        manifest = json.loads(path.read_bytes())
        return [self.blob(row["digest"]).read_bytes() for row in manifest["layers"] if row["mediaType"] == LAYER + kind]

    def remove(self, name: ModelName) -> None:
        """Remove a model, its orphaned layers and its empty folders."""
        path = self.manifest(name)
        digests = _digests(path.read_bytes())
        path.unlink()
        self.drop_orphans(digests)
        for folder in list(path.parents)[:3]:
            if not any(folder.iterdir()):
                folder.rmdir()

    def drop_orphans(self, digests: set[str]) -> None:
        kept: set[str] = set()
        for _, path in self.manifests():
            kept |= _digests(path.read_bytes())
        for digest in digests - kept:
            self.blob(digest).unlink(missing_ok=True)


def _digests(data: bytes) -> set[str]:
    try:
        found = json.loads(data)
        return {row["digest"] for row in [*found["layers"], found["config"]]}
    except (ValueError, KeyError, TypeError):
        return set()


def _is_manifest(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False


def _name(name: str | ModelName) -> ModelName:
    return parse_name(name) if isinstance(name, str) else name
