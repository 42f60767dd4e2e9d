"""Folders as git stores them, read by their bytes: a history has thousands, which hardly differ."""
