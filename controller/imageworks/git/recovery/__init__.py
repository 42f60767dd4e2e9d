"""What an interrupted run left in a repository, and how it becomes whole."""
