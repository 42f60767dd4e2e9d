"""The errors that users of the Python API catch, under the name that docs/python-api.md gives them."""

from imageworks.foundation.errors import ExitCode, ImageworksError, UsageError

__all__ = ["ExitCode", "ImageworksError", "UsageError"]
