"""Which files of a repository are wanted."""
