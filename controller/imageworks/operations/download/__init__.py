"""Download: a request becomes a manifest that a run installs."""
