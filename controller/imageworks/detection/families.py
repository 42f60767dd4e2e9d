"""What each family of models can do, as ``families.tsv`` says it: one line a family, with its source."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

_PATTERNS: Final = frozenset({"class", "pipeline", "processor"})


@dataclass(frozen=True, slots=True)
class Family:
    """One line of the table.

    Args:
        flags: What it can do.
        without: What a class of it cannot do that its type can.
        adds: Whether the flags come to what the type says, and do not stand for all of it.
        made: The class that its source names.
    """

    flags: frozenset[str]
    without: frozenset[str] = frozenset()
    adds: bool = False
    made: str = ""


@dataclass(frozen=True, slots=True)
class Families:
    """The whole table.

    Args:
        named: Families by table and name.
        patterns: Patterns with what they say, by table, in order.
    """

    named: Mapping[str, dict[str, Family]] = field(default_factory=dict)
    patterns: Mapping[str, list[tuple[re.Pattern[str], Family]]] = field(default_factory=dict)

    def find(self, table: str, name: str | None) -> Family | None:
        """Return the family of a name."""
        return self.named[table].get(name) if name else None


@lru_cache(maxsize=4096)  # the same few classes are asked for again and again
def match_family(table: str, text: str) -> Family | None:
    """Return what the first pattern of a table says that is in a text."""
    return next((family for pattern, family in families().patterns[table] if pattern.search(text)), None)


@cache
def families() -> Families:
    """Return the table, read once."""
    named: dict[str, dict[str, Family]] = {}
    patterns: dict[str, list[tuple[re.Pattern[str], Family]]] = {}
    for line in Path(__file__).with_name("families.tsv").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        table, name, flags, source = line.split("\t")
        words = flags.replace("+", " + ").split()
        family = Family(
            frozenset(word for word in words if word[0] not in "+-"),
            frozenset(word[1:] for word in words if word[0] == "-"),
            any(word[0] in "+-" for word in words),
            source.rpartition(" ")[2],
        )
        if table in _PATTERNS:
            patterns.setdefault(table, []).append((re.compile(name), family))
        else:
            named.setdefault(table, {})[name] = family
    return Families(named, patterns)
