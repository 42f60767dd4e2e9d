"""From the registry to whoever uses models: which one a role means, what starts a server, and a list for clients."""
