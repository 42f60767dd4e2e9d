"""What moved upstream, and pins."""
