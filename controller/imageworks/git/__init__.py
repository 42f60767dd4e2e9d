"""A Git repository: read, commit, index, branches, remotes. Knows nothing of models."""
