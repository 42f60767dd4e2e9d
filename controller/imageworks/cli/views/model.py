"""One merged model for people: every field on a line, nested ones indented, files with their sizes."""

from collections.abc import Iterable, Mapping
from typing import Final

from imageworks.cli.output import one_line, printable
from imageworks.foundation.texts import human_bytes

FIRST: Final = (
    "name",
    "display_name",
    "managed",
    "deprecated",
    "backend",
    "source",
    "resolved",
    "roles",
    "role_priority",
)
LEFT_OUT: Final = frozenset({"schema_version", "download_files", "download_directory_checksum"})
DIGEST_DIGITS: Final = 12


def model_text(model: Mapping[str, object]) -> str:
    """Return a merged model for a terminal.

    Args:
        model: A model of a snapshot.
    """
    keys = [*(key for key in FIRST if key in model), *sorted(model.keys() - {*FIRST, *LEFT_OUT})]
    return "\n".join(printable(line) for key in keys for line in _lines(key, model[key], ""))


def _lines(key: str, value: object, indent: str) -> Iterable[str]:
    if key == "files" and isinstance(value, list):
        yield f"{indent}files: {len(value)}"
        yield from (f"{indent}  {_file(item)}" for item in value)
    elif isinstance(value, Mapping) and value:
        yield f"{indent}{key}:"
        for inner, item in value.items():
            yield from _lines(one_line(str(inner)), item, f"{indent}  ")
    elif key == "conditions" and isinstance(value, list):
        yield f"{indent}{key}:"
        yield from (line for item in value if isinstance(item, Mapping) for line in _condition(item, f"{indent}  "))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        yield f"{indent}{key}:"
        yield from (f"{indent}  - {_plain(item)}" for item in value)
    else:
        yield f"{indent}{key}: {_plain(value, key)}"


def _condition(item: Mapping[str, object], indent: str) -> Iterable[str]:
    """Yield a finding in the words that name it and, below it, what explains it."""
    reason = f", {_plain(item['reason'])}" if item.get("reason") else ""
    since = f", since {_plain(item['since'])}" if item.get("since") else ""
    yield f"{indent}{_plain(item.get('type'))}: {_plain(item.get('status'))}{reason}{since}"
    if item.get("message"):
        yield f"{indent}  {_plain(item['message'])}"


def _file(item: object) -> str:
    if not isinstance(item, Mapping):
        return _plain(item)
    size, digest = item.get("size"), str(item.get("sha256") or "")[:DIGEST_DIGITS]
    return f"{item.get('path')}  {human_bytes(size) if isinstance(size, int) else '?'}  {digest}"


def _plain(value: object, key: str = "") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    if isinstance(value, int) and key.endswith("size_bytes"):
        return f"{value} ({human_bytes(value)})"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items()) or "none"
    return str(value).replace("\n", "\n      ")
