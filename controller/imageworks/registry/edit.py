"""Change a few values of a manifest that people wrote; comments, order and quoting of the rest survive."""

from collections.abc import Mapping, MutableMapping
from io import StringIO
from typing import TYPE_CHECKING, Final

from imageworks.errors import ImageworksError
from imageworks.registry.document import DocumentError, JsonValue
from imageworks.registry.yaml_edit import with_value
from imageworks.registry.yaml_gate import parse_yaml

if TYPE_CHECKING:
    from ruamel.yaml import YAML

WIDTH: Final = 100_000
Keys = tuple[str, ...]


class EditError(ImageworksError):
    """A manifest cannot be changed without changing more than was asked."""


def edit_manifest(
    file: str, data: bytes, changes: Mapping[Keys, JsonValue], *, comments: Mapping[Keys, str] | None = None
) -> bytes:
    """Return a manifest's bytes with some values changed.

    Args:
        file: The manifest's path, for messages.
        data: The valid manifest.
        changes: New value by the keys that lead to it; ``None`` removes the key.
        comments: What to write behind a changed value, without the ``#``.

    Raises:
        EditError: What would be written does not say exactly that.
    """
    before = parse_yaml(data, file).value
    wanted = _applied(before, changes)
    if wanted == before:
        return data
    written = _in_place(file, data, changes, comments or {})
    if written is not None:
        return written
    left = dict(changes)
    for keys, new in changes.items():
        cut = without_key(file, data, keys[0]) if new is None and len(keys) == 1 else None
        if cut is not None:
            data = cut
            del left[keys]
    text = _round_trip(data.decode(), left, comments or {}) if left else data.decode()
    if parse_yaml(text.encode(), file).value != wanted:
        named = ", ".join(".".join(keys) for keys in changes)
        raise EditError(f"{file}: {named} cannot be changed by a program here", remedy="Edit and commit the file.")
    return text.encode()


def _in_place(file: str, data: bytes, changes: Mapping[Keys, JsonValue], comments: Mapping[Keys, str]) -> bytes | None:
    """Return a manifest's bytes with no other byte changed; ``None`` where some change needs an editor of YAML."""
    for keys, new in changes.items():
        before = parse_yaml(data, file).value
        wanted = _applied(before, {keys: new})
        if wanted == before:
            continue
        if new is None:
            found = without_key(file, data, keys[0]) if len(keys) == 1 else None
        else:
            found = with_value(file, data, keys, new, comments.get(keys, ""))
        try:
            if found is None or parse_yaml(found, file).value != wanted:
                return None
        except DocumentError:
            return None
        data = found
    return data


def without_key(file: str, data: bytes, key: str) -> bytes | None:
    """Return a manifest without one of its keys, its lines cut out; ``None`` where it has no lines of its own.

    A YAML editor would take away the comments behind them too, as a part of the value.

    Args:
        file: The manifest's path, for messages.
        data: The valid manifest.
        key: A key at the top.
    """
    before = parse_yaml(data, file).value
    lines = data.decode().splitlines(keepends=True)
    start = next((number for number, line in enumerate(lines) if line.startswith(f"{key}:")), None)
    if start is None or not isinstance(before, dict):
        return None
    end = next((number for number in range(start + 1, len(lines)) if lines[number][0] != " "), len(lines))
    cut = "".join(lines[:start] + lines[end:]).encode()
    try:
        after = parse_yaml(cut, file).value
    except DocumentError:
        return None
    return cut if after == {name: value for name, value in before.items() if name != key} else None


def _applied(value: JsonValue, changes: Mapping[Keys, JsonValue]) -> JsonValue:
    if not isinstance(value, dict):
        return value
    changed = dict(value)
    for key in dict.fromkeys(keys[0] for keys in changes):
        below = {keys[1:]: new for keys, new in changes.items() if keys[0] == key}
        if () not in below:
            changed[key] = _applied(changed.get(key, {}), below)
        elif below[()] is None:
            changed.pop(key, None)
        else:
            changed[key] = below[()]
    return changed


def _round_trip(text: str, changes: Mapping[Keys, JsonValue], comments: Mapping[Keys, str]) -> str:
    from ruamel.yaml.comments import CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString
    from ruamel.yaml.util import load_yaml_guess_indent

    _, indent, offset = load_yaml_guess_indent(text)
    yaml = _round_tripper(indent, offset)
    document = yaml.load(text)
    for (*above, last), new in changes.items():
        part: MutableMapping[str, object] = document
        for key in above:
            part = part.setdefault(key, type(document)())  # type: ignore[assignment] # a mapping, by the schema
        if new is None:
            part.pop(last, None)
            continue
        old = part.get(last)
        if isinstance(new, list) and isinstance(old, list) and old and new[: len(old)] == old:
            old += new[len(old) :]  # in place: a new list would lose the comments in the old one and behind it
        elif isinstance(new, list):
            part[last] = CommentedSeq(new)
            part[last].fa.set_flow_style()  # type: ignore[attr-defined] # ruamel's own list
        else:
            part[last] = DoubleQuotedScalarString(new) if isinstance(new, str) and not new.isalpha() else new
        comment = comments.get((*above, last))
        if comment and not part.fa.flow_style():  # type: ignore[attr-defined] # ruamel's own mapping
            part.yaml_add_eol_comment(comment, last)  # type: ignore[attr-defined]
    stream = StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _round_tripper(indent: int | None, offset: int | None) -> "YAML":
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    if indent is not None:
        yaml.indent(mapping=2, sequence=indent, offset=offset or 0)
    return yaml
