"""Worlds for faults: a fresh one for a test, or one for all kills of a worker, put back before each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kills import Stage
from support.registry import World, world


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


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Stage]:
    """One world for all kills; ``stage.set(name)`` puts it where a story begins."""
    with world(tmp_path_factory.mktemp("kills") / "world", template) as made:
        yield Stage(made)
