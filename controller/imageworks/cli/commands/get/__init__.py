"""Get models."""
