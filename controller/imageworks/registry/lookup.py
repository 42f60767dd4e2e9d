"""Look a model up by its name, and say what was probably meant where there is none."""

from collections.abc import Iterable
from difflib import get_close_matches

from imageworks.errors import ImageworksError


class UnknownModelError(ImageworksError):
    """No model has that name.

    Args:
        name: What was asked for.
        known: The names that there are.
    """

    def __init__(self, name: str, known: Iterable[str]) -> None:
        near = get_close_matches(name, list(known), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "`imageworks-models list --details` shows what there is."
        super().__init__(f"no model is called {name!r} here", remedy=hint)
