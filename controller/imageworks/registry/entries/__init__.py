"""What a host recorded of its models."""
