"""How values are shown to people."""
