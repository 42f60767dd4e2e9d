"""Whether a model was made by a test or a demo, for Python code that shows models to people."""

import os
from collections.abc import Mapping

from imageworks.naming.model_names import compile_testing_patterns
from imageworks.naming.model_names import is_testing_name as matches
from imageworks.registry.entries.queries import TESTING_VARIABLE

__all__ = ["is_testing_entry", "is_testing_name"]


def is_testing_name(name: str) -> bool:
    """Return whether a name is one that tests and demos give, also by ``IMAGEWORKS_TEST_MODEL_PATTERNS``.

    Args:
        name: A variant name or display name.
    """
    return matches(name, filters=compile_testing_patterns(os.environ.get(TESTING_VARIABLE)))


def is_testing_entry(name: str, entry: object) -> bool:
    """Return whether a model is a test's or a demo's, by its name or by ``metadata.testing``.

    Args:
        name: The variant name.
        entry: The model, of which only ``metadata`` is looked at.
    """
    metadata = getattr(entry, "metadata", None)
    return is_testing_name(name) or (isinstance(metadata, Mapping) and metadata.get("testing") is True)
