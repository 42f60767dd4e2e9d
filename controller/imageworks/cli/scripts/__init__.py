"""Console scripts that earlier tools had."""
