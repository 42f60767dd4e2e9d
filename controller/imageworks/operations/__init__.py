"""What commands and the Python API call: one verb a module or folder."""
