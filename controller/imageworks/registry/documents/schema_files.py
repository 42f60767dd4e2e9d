"""Where the schemas are: apart from what reads them, so that a cache can ask whether they changed and load nothing."""

from functools import cache
from pathlib import Path


@cache
def schema_dir() -> Path:
    """Return the folder of the schemas: the one in the installed package, else the one of the checkout."""
    package = Path(__file__).resolve().parents[2]
    bundled = package / "schemas"
    return bundled if bundled.is_dir() else package.parents[1] / "schemas"
