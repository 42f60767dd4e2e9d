"""Compare files with what is recorded of them."""
