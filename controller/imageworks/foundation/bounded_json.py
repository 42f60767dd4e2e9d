"""JSON of strangers, of other programs and of killed runs, read with bounds: whatever is wrong is a ``ValueError``."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from imageworks.foundation.plain_files import read_plain_file

LARGEST: Final = 32 << 20
"""Bytes of the largest JSON that is read at all; shard indexes of the largest models have under twenty million."""
DEEPEST: Final = 100
"""Levels of lists and objects: what a reader accepts must be walked, compared and written again."""
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class JsonReadError(ValueError):
    """A text that is no JSON which could be used; its words fit behind a file's name and a colon."""


def read_json(
    data: bytes | str,
    *,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
    constant: Callable[[str], Any] | None = None,
) -> Any:  # noqa: ANN401 # JSON
    """Return what a JSON text says."""
    if len(data) > LARGEST:
        raise JsonReadError(f"it is larger than {LARGEST >> 20} MiB")
    text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise JsonReadError("it is nested too deep") from None
    if text.count("[") + text.count("{") > DEEPEST and _is_deeper(value, DEEPEST):
        raise JsonReadError("it is nested too deep")
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a character cannot be written again
    return value


def read_json_file(path: Path) -> Any:  # noqa: ANN401 # JSON
    """Return what a JSON file says, of which no more is read than may be."""
    return read_json(read_plain_file(path, LARGEST + 1))


def _is_deeper(value: object, most: int) -> bool:
    """Tell whether lists and objects are nested deeper than a number of levels; level by level, without recursing."""
    level = [value] if isinstance(value, (list, dict)) else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (list, dict))
        ]
        if not level:
            return False
    return True
