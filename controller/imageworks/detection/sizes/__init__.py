"""Parameters, layers, and the memory that a model takes."""
