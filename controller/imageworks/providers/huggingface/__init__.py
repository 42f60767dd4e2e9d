"""The Hugging Face Hub: listings, links, files, what is chosen of a repository."""
