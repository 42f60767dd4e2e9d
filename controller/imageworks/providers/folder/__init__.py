"""What all providers share whose models are folders of files."""
