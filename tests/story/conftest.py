"""Fixtures for stories, told through the real program."""

from support.world import log_is_closed, started_world

__all__ = ["log_is_closed", "started_world"]
