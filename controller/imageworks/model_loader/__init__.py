"""The registry and its downloads as Python code sees them: thin doors to what is below, as earlier tools had them."""
