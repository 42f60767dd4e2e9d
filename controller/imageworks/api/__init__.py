"""What `import imageworks` gives: the registry and downloads, as Python code and notebooks use them."""
