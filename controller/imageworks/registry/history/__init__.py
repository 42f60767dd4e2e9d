"""A registry's past in words of models."""
