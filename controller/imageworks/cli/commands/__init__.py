"""One module a command or group: parse, call one operation, show."""
