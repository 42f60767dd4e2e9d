"""More hosts than one."""
