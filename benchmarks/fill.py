"""Fills the environment's registry with models that stand as declared: ``python -m benchmarks.fill COUNT``.

A process of its own, because it lives in the scratch environment. Calls what reconcile itself calls after a download.
"""

import os
import sys
from pathlib import Path
from typing import Final

from benchmarks.registries import REVISION, manifest_text, model_name

from imageworks.config import find_registry, load_host_settings
from imageworks.detect.problems import complete_condition
from imageworks.reconcile.compose import compose_entry
from imageworks.reconcile.records import Records
from imageworks.reconcile.situation import Case, Place, Upstream
from imageworks.registry.entry import ArtifactFile, Entry
from imageworks.registry.git import RegistryRepository
from imageworks.registry.load import load_registry
from imageworks.registry.manifest import read_manifest
from imageworks.registry.parsed import ParsedDocuments
from imageworks.registry.yaml_gate import parse_yaml
from imageworks.transfer.digests import Algorithm, Digest, hash_file
from imageworks.transfer.state import STATE_FILE, StateDatabase

FILES: Final = ("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

Verified = tuple[Path, os.stat_result, Digest]


def main() -> None:
    count = int(sys.argv[1])
    host = load_host_settings()
    repository = RegistryRepository.open(find_registry(), host=host.host)
    manifests = {f"models/{model_name(number)}.yaml": manifest_text(number).encode() for number in range(count)}
    declared = repository.commit(manifests, message=f"Declare {count} models", expected=repository.head())
    installed = [install(number) for number in range(count)]
    entries = {entry.name: entry for entry, _ in installed}
    with StateDatabase.open(host.state_dir / STATE_FILE) as state:
        state.remember_all(file for _, verified in installed for file in verified)
    no_cache = Path(os.devnull)
    registry = load_registry(repository, host.host, revision=declared.id, cache=ParsedDocuments(no_cache))
    changes = Records(repository, no_cache).changes(registry, entries, gone=())
    repository.commit(changes, message=f"Record {count} models", expected=declared.id)


def install(number: int) -> tuple[Entry, list[Verified]]:
    """Put one model's files on disk and return its entry, and each file with its look and its digest."""
    file = f"models/{model_name(number)}.yaml"
    fields = parse_yaml(manifest_text(number).encode(), file).value
    if not isinstance(fields, dict):
        raise TypeError(file)
    manifest = read_manifest(file, fields)
    root = Path(os.environ["IMAGEWORKS_MODEL_ROOT"])
    folder = root / "bench" / manifest.name
    folder.mkdir(parents=True)
    artifacts, verified = [], []
    for name in FILES:
        path = folder / name
        path.write_text(f"{name} of model {number}\n" * 8, encoding="utf-8")
        digest = hash_file(path, Algorithm.SHA256)
        found = path.stat()
        artifacts.append(ArtifactFile(name, found.st_size, digest.value))
        verified.append((path, found, digest))
    revision = REVISION.format(number)
    upstream = Upstream(files=(), commit=revision, ref=revision, repo=f"bench/{manifest.name}", container="safetensors")
    place = Place(root=root, path=folder, location="linux_wsl", filesystem="")
    described: dict[str, object] = {
        "download_format": "safetensors",
        "capabilities": {"vision": True, "text": True},
        "metadata": {"architecture": "Qwen2_5_VLForConditionalGeneration"},
        "conditions": [complete_condition((), ())],  # as a description of real files records it
    }
    case = Case(manifest, place=place, upstream=upstream)
    return compose_entry(case, place, artifacts, described, acquisition="installed"), verified


if __name__ == "__main__":
    main()
