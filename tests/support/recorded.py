"""What a controller would have recorded, written by hand: entries, and the snapshot that follows from them."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from imageworks.git.repository import RegistryRepository
from imageworks.registry.documents.cache import ParsedDocuments
from imageworks.registry.load import load_registry
from imageworks.registry.snapshot import expected_snapshot
from support.git import git
from support.reconcile import HOST, World

DECLARED = ("roles", "role_priority")
"""What only people say of a model."""


def record(world: World, *models: Mapping[str, object]) -> None:
    """Commit these models, as merged ones say, in the place of what was recorded."""
    for folder in ("models", f"discovered/{HOST}"):
        shutil.rmtree(world.root / folder, ignore_errors=True)
    for model in models:
        said = {key: value for key, value in model.items() if key in DECLARED}
        if said:
            world.write(f"models/{model['name']}.yaml", json.dumps({"schema_version": 1, **said}), commit=False)
        entry = {"schema_version": 1, **{key: value for key, value in model.items() if key not in DECLARED}}
        world.write(f"discovered/{HOST}/{model['name']}.json", json.dumps(entry), commit=False)
    world.commit("Record")
    write_snapshot(world)


def write_snapshot(world: World, host: str = HOST) -> None:
    """Commit the snapshot that a host's controller would."""
    repository = RegistryRepository.open(world.root, host=host)
    registry = load_registry(repository, host, revision=repository.head(), cache=ParsedDocuments(Path("/dev/null")))
    file = world.root / f"snapshot/{host}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(expected_snapshot(registry))
    if git(world.git_root, "status", "--porcelain"):
        world.commit(f"Write the snapshot of {host}")
