"""The schemas of every document, and what is wrong with a document in words that its author can act on."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.errors import ImageworksError
from imageworks.registry.document import JsonValue, Pointer
from imageworks.registry.wording import Problem, describe

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

SCHEMA_NAMES: Final = ("manifest", "entry", "snapshot", "registry", "plan")
SCHEMA_SUFFIX: Final = ".schema.json"
MAX_PROBLEMS: Final = 100


class UnknownSchemaError(ImageworksError):
    """A schema was asked for by a name that none has."""

    def __init__(self, name: str) -> None:
        super().__init__(f'there is no schema "{name}"', remedy=f"Schemas: {', '.join(SCHEMA_NAMES)}.")


@cache
def schema_dir() -> Path:
    """Return the folder of the schemas: the one in the installed package, else the one of the checkout."""
    package = Path(__file__).resolve().parents[1]
    bundled = package / "schemas"
    return bundled if bundled.is_dir() else package.parents[1] / "schemas"


def schema_text(name: str) -> str:
    """Return a schema as it stands in its file.

    Args:
        name: One of `SCHEMA_NAMES`.

    Raises:
        UnknownSchemaError: No schema has that name.
    """
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


def check(
    name: str, value: JsonValue, *, written: Callable[[Pointer], str | None] = lambda _pointer: None
) -> list[Problem]:
    """Return what is wrong in a document by its schema, in a stable order and at most a hundred; empty when valid.

    Args:
        name: The schema's name.
        value: The document.
        written: Returns how a plain YAML scalar was written, so that a message can quote it back.

    Raises:
        UnknownSchemaError: No schema has that name.
    """
    from itertools import islice

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
