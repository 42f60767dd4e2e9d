"""aria2c as a child process."""
