"""Durations as people write them: ``90s``, ``5m``, ``2h``, ``7d``."""

import re
from typing import Final

from imageworks.foundation.errors import UsageError

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FORM: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([smhdw]?)", re.ASCII)


def parse_duration(text: str, option: str) -> float:
    """Return the seconds that a text means; a plain number is seconds."""
    found = _FORM.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"{option}: {text!r} is no duration", remedy="Write it like 90s, 5m, 2h or 7d.")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def shown_duration(seconds: float) -> str:
    """Return a duration roughly, by its largest unit: ``3 d``, ``2 h``, ``5 min``, ``12 s``."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
