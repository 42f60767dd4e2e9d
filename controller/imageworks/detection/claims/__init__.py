"""What configs, names and tensors say of a quantization and an architecture, weighed by what each can know."""
