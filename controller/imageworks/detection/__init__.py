"""What a set of files is: container, quantization, architecture, chat template, capabilities, licence, safety. Pure."""
