"""This host's settings, and where LM Studio lives."""
