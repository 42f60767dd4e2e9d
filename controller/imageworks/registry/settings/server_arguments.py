"""Command lines of servers as options with their values, so that none is given twice. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"-\d")
_SHORT = {
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-dp": "--data-parallel-size",
    "-q": "--quantization",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command line with its values; values before any option have no name.

    Args:
        name: The option as it is known, whatever its spelling; empty for plain words.
        words: Everything as it was written.
    """

    name: str
    words: tuple[str, ...]

    @property
    def meaning(self) -> tuple[str, ...]:
        """What it says, whatever its spelling: two options of one meaning are one."""
        first, equals, value = self.words[0].partition("=")
        negated = first.replace("_", "-").startswith("--no-")
        return (self.name, str(negated), *([value] if equals else []), *self.words[1:]) if self.name else self.words


def split_options(words: Iterable[str]) -> list[Option]:
    """Return a command line's options, each with the values that follow it."""
    options: list[Option] = []
    for word in words:
        if word.startswith("-") and word != "-" and not _NUMBER.match(word):
            options.append(Option(_known_name(word), (word,)))
        elif options:
            last = options[-1]
            options[-1] = Option(last.name, (*last.words, word))
        else:
            options.append(Option("", (word,)))
    return options


def _known_name(word: str) -> str:
    """Return an option's one name: ``--max_model_len=8`` is ``--max-model-len``, ``--no-x`` speaks of ``--x``."""
    name = word.partition("=")[0].replace("_", "-")
    name = _SHORT.get(name, name)
    return f"--{name[5:]}" if name.startswith("--no-") else name


def merge_options(*sources: Sequence[str]) -> list[str]:
    """Return one command line of several, in which a later source replaces what an earlier one says of an option.

    Within a source the same option may stand several times with other values, as some servers want it; said twice in
    the same words, it stands once.
    """
    kept: list[Option] = []
    for source in sources:
        options = list({option.meaning: option for option in split_options(source)}.values())
        replaced = {option.name for option in options if option.name}
        kept = [option for option in kept if option.name not in replaced] + options
    return [word for option in kept for word in option.words]
