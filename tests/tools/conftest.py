"""A world for each test of the downloader."""

from support.world import log_is_closed, started_world

__all__ = ["log_is_closed", "started_world"]
