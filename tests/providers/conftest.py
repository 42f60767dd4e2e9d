"""Fixtures for tests through the real program; and no connection outlives its test."""

from collections.abc import Iterator

import huggingface_hub
import pytest

from support.ollama_world import started_ollama
from support.providers import close_clients
from support.team import colleagues_clone, served_registry
from support.world import log_is_closed, started_world

__all__ = [
    "closed_connections",
    "colleagues_clone",
    "log_is_closed",
    "served_registry",
    "started_ollama",
    "started_world",
]


@pytest.fixture(autouse=True)
def closed_connections() -> Iterator[None]:
    yield
    close_clients()
    huggingface_hub.close_session()
