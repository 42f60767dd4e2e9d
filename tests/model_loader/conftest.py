"""A world for each test of the registry's Python functions."""

from support.world import log_is_closed, started_world

__all__ = ["log_is_closed", "started_world"]
