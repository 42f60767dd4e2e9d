"""registry.yaml: settings, policies, and what may be where."""
