"""What other programs read: their own files, made as text from what is recorded. Nothing is run from here."""
