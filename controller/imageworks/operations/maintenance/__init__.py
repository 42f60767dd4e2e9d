"""Changes to many entries at once: formats, duplicates, names."""
