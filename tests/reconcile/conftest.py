"""Fixtures for tests of reconciling through the real program."""

from support.ollama_world import started_ollama
from support.world import log_is_closed, started_world

__all__ = ["log_is_closed", "started_ollama", "started_world"]
