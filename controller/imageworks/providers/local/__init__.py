"""Folders and files that are on this machine already."""
