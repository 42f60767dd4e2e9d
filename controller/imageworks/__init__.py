"""A Git-backed declarative registry for AI models, with a reconcile controller."""

from typing import Final

__version__: Final = "0.1.0"
