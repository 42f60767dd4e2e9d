"""What is done for or with all hosts of a registry."""
