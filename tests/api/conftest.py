"""The world that the Python API is tried in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imageworks.loopback_hub.server import HubServer
from support.reconcile import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "hub").mkdir()
    with HubServer(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(tmp_path / "weights"))
        yield World(tmp_path, hub)
