"""Entries come by pull request too: one that is wrong or hostile stops only itself and leads nowhere."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.reconcile import HOST, MODEL, REPO, World
from support.transfer import tree


def record(world: World, name: str, path: Path | str, files: Mapping[str, bytes], **fields: object) -> None:
    """Commit an entry as someone's pull request might bring it, claiming that we installed its files."""
    listed = [{"path": p, "size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for p, d in files.items()]
    entry = {
        "schema_version": 1,
        "name": name,
        "managed": True,
        "download_path": str(path),
        "artifacts": {"files": listed},
        "metadata": {"acquisition": "installed"},
        **fields,
    }
    world.write(f"discovered/{HOST}/{name}.json", json.dumps(entry))


@pytest.mark.parametrize(
    ("place", "file"),
    [
        ("/srv/a\0b", "config.json"),
        ("/srv/a\ud800b", "config.json"),
        ("/srv/../etc", "config.json"),
        ("/srv//x", "config.json"),
        ("/srv/x", "a\ud800b"),
        ("/srv/x", "a\0b"),
        ("/srv/x", "../up"),
        ("/srv/x", "/absolute"),
        ("/srv/x", "a//b"),
        ("/srv/x", ""),
    ],
)
def test_an_entry_that_leads_nowhere_blocks_only_itself(world: World, place: str, file: str) -> None:
    """I9."""
    world.serve()
    world.declare()
    record(world, "hostile", place, {file: b""})
    result = world.reconcile(code=1, valid=False)
    assert "! hostile  blocked (invalid-entry)" in result.out
    assert "bug" not in result.err
    assert tree(world.weights / REPO) == dict(MODEL)


def test_an_entry_whose_folder_has_too_long_a_name_is_only_missing(world: World) -> None:
    record(world, "long", "/srv/" + "a" * 300, {"config.json": b"{}"}, managed=False)
    assert world.status() == {"long": ("undeclared", "missing", "file-missing")}


def test_a_pipe_where_a_file_is_recorded_is_never_read(world: World) -> None:
    """It would hold up every run, for every model."""
    os.mkfifo(world.folder / "pipe")
    record(world, "hostile", world.folder, {"pipe": b""}, managed=False)
    assert world.status() == {"hostile": ("undeclared", "damaged", "digest-mismatch")}
