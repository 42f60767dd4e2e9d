"""Thin doors to what is below: the Python API of earlier tools."""
