"""Files that a manifest names by their addresses and digests: release pages, company stores, sites like Civitai."""
