"""Fixtures that start a world; a folder's conftest imports them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imageworks.foundation.http_access import ServerAccess
from imageworks.loopback_hub.server import HubServer
from support.network import HUB_NAME
from support.reconcile import World, closed_log


@pytest.fixture(autouse=True)
def log_is_closed() -> Iterator[None]:
    """Close the log that an in-process command opened."""
    with closed_log():
        yield


@pytest.fixture(name="world")
def started_world(tmp_path: Path, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A hub that serves, a registry in git, and an environment that leads to both; everything below tmp_path."""
    (tmp_path / "hub").mkdir()
    with HubServer(tmp_path / "hub", access=ServerAccess(names=frozenset({HUB_NAME}))) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(tmp_path / "weights"))
        monkeypatch.chdir(tmp_path)
        made = World(tmp_path, hub)
        made.user_config(isolated_environment, f'roots = ["{tmp_path}"]\n')
        yield made
