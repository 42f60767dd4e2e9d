"""What people declare, and edits of it."""
