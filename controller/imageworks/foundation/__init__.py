"""The ground under every room: what knows nothing of models, registries or hubs."""
