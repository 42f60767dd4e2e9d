"""File formats: headers, pickles, tokenizers, templates and model cards, read within bounds."""
