"""The predecessor's files as manifests, entries and dated commits."""
