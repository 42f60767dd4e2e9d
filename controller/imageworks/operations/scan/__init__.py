"""Models found on disk become entries."""
