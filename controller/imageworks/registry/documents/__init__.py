"""YAML and JSON documents, schemas, and messages with their places."""
