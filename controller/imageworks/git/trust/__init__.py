"""Who made a commit, who owns a repository."""
