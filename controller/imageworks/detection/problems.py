"""What a model lacks, as values: problems that stop it from being loaded, and doubts that nobody can settle."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

COMPLETE: Final = "Complete"
"""The condition of an entry that says whether the model has all that loading it needs."""
UNUSABLE: Final = frozenset(
    {
        "missing-weights", "missing-shard", "empty-file", "truncated-file", "pointer-file", "not-weights",
        "unreadable-header",
    }
)  # fmt: skip
"""Kinds of problems with which there are no weights to speak of: what is found so is not recorded."""

UNCERTAIN: Final = frozenset({"missing-code"})
"""Kinds of problems that may be none: a loader that knows the architecture itself needs no code of the repository."""

_MOST_SAID: Final = 3


class MissingPart(NamedTuple):
    """Something that a model lacks.

    Args:
        kind: In kebab-case: ``missing-weights``, ``missing-shard``, ``missing-config`` …
        message: What it is, naming the file.
        path: The file, where it is one.
    """

    kind: str
    message: str
    path: str = ""


def complete_condition(problems: Iterable[MissingPart], doubts: Iterable[MissingPart]) -> dict[str, str]:
    """Return the condition that an entry records: ``Unknown`` where nothing is wrong and something cannot be told."""
    wrong, unsure = list(problems), list(doubts)
    said = wrong or unsure
    if not said:
        return {"type": COMPLETE, "status": "True", "reason": "PartsPresent", "message": "all parts are there"}
    more = f"; and {len(said) - _MOST_SAID} more" if len(said) > _MOST_SAID else ""
    message = "; ".join(problem.message for problem in said[:_MOST_SAID]) + more
    reason = "".join(word.capitalize() for word in said[0].kind.split("-"))
    return {"type": COMPLETE, "status": "False" if wrong else "Unknown", "reason": reason, "message": message}


def condition_of(fields: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return what an entry or a merged model records of its completeness."""
    conditions = fields.get("conditions")
    listed = conditions if isinstance(conditions, list) else []
    for one in listed:  # asked of each model that is listed
        if isinstance(one, (dict, Mapping)) and one.get("type") == COMPLETE:
            return one
    return None
