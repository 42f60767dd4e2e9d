"""Ollama: its daemon, its store, its names."""
