"""A read-only hub that speaks the Hugging Face protocol over a folder tree; see `server`."""
