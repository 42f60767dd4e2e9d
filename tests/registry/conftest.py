"""Fixtures for tests of reconciling through the real program."""

from support.ollama_world import started_ollama
from support.team import colleagues_clone, served_registry
from support.world import log_is_closed, started_world

__all__ = ["colleagues_clone", "log_is_closed", "served_registry", "started_ollama", "started_world"]
