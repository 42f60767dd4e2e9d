"""Bytes on disk: digests, staging, publishing, removal, what is here already."""
