"""YAML that every reader understands alike: what YAML 1.1 would not take for a text stands in quotes."""

import io
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

_PLAIN: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_NO_TEXT: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"})
WIDEST: Final = 1_000_000
"""Columns: a folded text is one that a person reads wrongly."""


class Unsafe(str):
    """A text in which Ansible must not look for templates."""

    __slots__ = ()


class _Representer(SafeRepresenter):
    """Writes texts in quotes unless nobody can take them for anything else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 # ruamel's own signature
        """Return true: no reader needs anchors."""
        del data
        return True


def _text(representer: SafeRepresenter, data: str) -> ScalarNode:
    plain = _PLAIN.fullmatch(data) is not None and data.lower() not in _NO_TEXT
    tag = "!unsafe" if isinstance(data, Unsafe) else "tag:yaml.org,2002:str"
    return representer.represent_scalar(tag, str(data), style=None if plain and tag != "!unsafe" else '"')


_Representer.add_representer(str, _text)
_Representer.add_representer(Unsafe, _text)


def yaml_text(documents: Iterable[Mapping[str, object] | list[object]], *, comment: str = "") -> str:
    """Return documents as YAML, one after the other, below a comment of ours."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.width = WIDEST
    stream = io.StringIO()
    yaml.dump_all(list(documents), stream)
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + stream.getvalue()
