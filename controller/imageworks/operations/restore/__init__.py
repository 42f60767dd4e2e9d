"""Bring back an earlier state of the registry."""
