"""Declare models and settings."""
