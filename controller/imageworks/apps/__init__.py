"""Doors that ImageWorks' other applications use."""
