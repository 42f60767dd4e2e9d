"""A world for each test of the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.registry import World, world
from support.world import log_is_closed, started_world

__all__ = ["fresh", "log_is_closed", "started_world", "template"]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry as ``init`` makes it."""
    with world(tmp_path_factory.mktemp("template") / "world") as made:
        return made.registry


@pytest.fixture
def fresh(tmp_path: Path, template: Path) -> Iterator[World]:
    """An empty registry and an empty hub."""
    with world(tmp_path / "world", template) as made:
        yield made
