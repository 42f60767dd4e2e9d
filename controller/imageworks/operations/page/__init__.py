"""What the page shows: read from a registry, its history and this machine's disks."""
