"""Look back, and go back."""
