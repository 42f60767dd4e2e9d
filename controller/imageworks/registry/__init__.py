"""The registry on disk and in git: manifests, entries, merge, schemas, history."""
