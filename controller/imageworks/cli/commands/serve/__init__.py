"""Serve models and repositories."""
