"""Changes to many entries at once."""
