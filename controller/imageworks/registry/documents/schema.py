"""The schemas of every document, and what is wrong with a document in words that its author can act on."""

import json
from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Final

from imageworks.foundation.errors import ImageworksError
from imageworks.registry.documents.document import JsonValue, Pointer
from imageworks.registry.documents.schema_files import schema_dir
from imageworks.registry.documents.schema_messages import SchemaProblem, describe
from imageworks.registry.documents.schema_shortcut import certainty

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

SCHEMA_NAMES: Final = ("manifest", "entry", "snapshot", "registry", "plan")
SCHEMA_SUFFIX: Final = ".schema.json"
SCHEMA_FOLDER: Final = ".schemas"
"""Where a registry has its copies, for editors."""
MAX_PROBLEMS: Final = 100


class UnknownSchemaError(ImageworksError):
    """A schema was asked for by a name that none has."""

    def __init__(self, name: str) -> None:
        super().__init__(f'there is no schema "{name}"', remedy=f"Schemas: {', '.join(SCHEMA_NAMES)}.")


def schema_text(name: str) -> str:
    """Return a schema as it stands in its file."""
    if name not in SCHEMA_NAMES:
        raise UnknownSchemaError(name)
    return (schema_dir() / f"{name}{SCHEMA_SUFFIX}").read_text(encoding="utf-8")


def load_schema(name: str) -> dict[str, JsonValue]:
    """Return a schema as a value of the caller's own; see `schema_text`."""
    schema: dict[str, JsonValue] = json.loads(schema_text(name))
    return schema


@cache
def _validator(name: str) -> "Validator":
    """Return the one validator of a schema: building it costs thirty times as much as using it."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    def is_integer(_checker: object, instance: object) -> bool:
        # JSON Schema calls 8.0 an integer; Python code that was promised one would not find it.
        return isinstance(instance, int) and not isinstance(instance, bool)

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer)
    validator: Validator = extend(Draft202012Validator, type_checker=types)(load_schema(name))
    return validator


@cache
def _certainty(name: str) -> Callable[[JsonValue], bool]:
    return certainty(load_schema(name))


def check(
    name: str, value: JsonValue, *, written: Callable[[Pointer], str | None] = lambda _pointer: None
) -> list[SchemaProblem]:
    """Return what is wrong in a document by its schema, in a stable order and at most a hundred; empty when valid."""
    if _certainty(name)(value):
        return []
    errors = list(islice(_validator(name).iter_errors(value), MAX_PROBLEMS))
    if not errors:
        return []
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    # One error can stand for thousands of unknown keys, and looking for the nearest right spelling of each takes time.
    problems = islice(
        (
            problem
            for error in errors
            if error.validator == "type" or tuple(error.absolute_path) not in mistyped
            for problem in describe(name, error, written)
        ),
        MAX_PROBLEMS,
    )
    return sorted(set(problems), key=lambda problem: ([str(step) for step in problem.pointer], problem.message))
