"""Where models come from and live: the Hugging Face Hub and local folders."""
