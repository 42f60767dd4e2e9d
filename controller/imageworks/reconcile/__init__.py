"""Observe, plan, apply, report: what makes this host be as the registry declares."""
