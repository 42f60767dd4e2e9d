"""LM Studio's library."""
