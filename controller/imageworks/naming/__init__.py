"""Names of models, labels of quantizations, identifiers of hubs. Pure."""
