"""Bytes to disk: staging, transfer by aria2, verification, publishing, and the index of what is already here."""
