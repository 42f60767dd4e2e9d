"""The registry to look at: values in, HTML files out. Pure; no file of it asks another machine for anything."""
