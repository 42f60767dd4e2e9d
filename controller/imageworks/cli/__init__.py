"""The command line: parse arguments, call one function, render, exit. A module a command group, no logic."""
