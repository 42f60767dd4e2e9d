"""Fixtures for tests on filesystems that refuse things."""

from support.world import log_is_closed, started_world

__all__ = ["log_is_closed", "started_world"]
