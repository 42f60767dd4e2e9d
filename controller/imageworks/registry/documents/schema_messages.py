"""Plain words for what a schema validator finds, with the nearest right spelling where there is one.

Only bounded parts of a value ever reach a message: the validator's own ``str(error)`` prints the whole instance and
schema, which a hostile document can make as large as it likes.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imageworks.foundation.similar_words import nearest
from imageworks.registry.documents.document import Pointer
from imageworks.registry.documents.lookalikes import odd_characters, plain

if TYPE_CHECKING:
    from jsonschema import ValidationError

Written = Callable[[Pointer], str | None]

_SHOWN_CHARACTERS = 60
_LISTED = 12

_TYPE_WORDS: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of keys to values",
    "null": "nothing",
}
_MEANT: Final = {"true": ("enabled", "present"), "false": ("disabled", "absent")}
_TRUTHS: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}

# Keys that people reach for and that are called differently here, or are not written at all.
_HINTS: Final[Mapping[tuple[str, str], str]] = {
    ("manifest", "name"): "the file's name is the model's name: rename the file instead",
    ("manifest", "repo"): "write it as `source: {huggingface: owner/repo}`",
    ("manifest", "repo_id"): "write it as `source: {huggingface: owner/repo}`",
    ("manifest", "huggingface"): "write it as `source: {huggingface: owner/repo}`",
    ("manifest", "ollama"): "write it as `source: {ollama: name:tag}`",
    ("manifest", "path"): "write it as `source: {path: /folder}`, or `location:` for where files go",
    ("manifest", "revision"): "it belongs below `source:`, beside `huggingface:`",
    ("manifest", "include"): "it belongs below `source:`, beside `huggingface:`",
    ("manifest", "quant"): 'did you mean "quantization"?',
    ("manifest", "download_format"): 'did you mean "format"?',
    ("manifest", "download_location"): 'did you mean "location"?',
    ("manifest", "enabled"): 'did you mean "state"? (present, absent or suspended)',
}
_HUB_URL: Final = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/\s]+/[^/\s?#@]+)")
_REVISION_SUFFIX: Final = re.compile(r"([^@\s]+)@([^@\s]+)\Z")


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """One thing that is wrong in a document.

    Args:
        pointer: The keys and indexes that lead to it.
        message: What is wrong, in one line.
        suggestion: What to write instead, if anything can be said.
        key: Whether the key itself is the problem, rather than its value.
    """

    pointer: Pointer
    message: str
    suggestion: str | None = None
    key: bool = False


def suggest(word: str, known: Sequence[str], *, what: str) -> str:
    """Return `did you mean …?`, or what there is to choose from."""
    near = nearest(word, known)
    if near is not None:
        return f'did you mean "{near}"?'
    if not known:
        return f"there are no {what}"
    more = f", and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"{what}: {', '.join(known[:_LISTED])}{more}"


def show(value: object) -> str:
    """Return a value as a person would name it, in one short line."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 2]}…" + '"' * text.startswith('"')


def describe(name: str, error: "ValidationError", written: Written) -> Iterator[SchemaProblem]:
    """Yield what one validator error means."""
    pointer: Pointer = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        yield _bad_name(pointer, error)
        return
    yield from HANDLERS[str(error.validator)](name, error, pointer, written)


def _bad_name(pointer: Pointer, error: "ValidationError") -> SchemaProblem:
    return SchemaProblem(
        (*pointer, str(error.instance)),
        f"{show(error.instance)} cannot be a name here",
        "use letters, digits, `.`, `_` and `-`, starting with a letter or digit",
        key=True,
    )


def _unknown_keys(name: str, error: "ValidationError", pointer: Pointer, _written: Written) -> Iterator[SchemaProblem]:
    known = list(error.schema.get("properties", {}))
    for key in error.instance:
        if key in known:
            continue
        hint = _HINTS.get((name, key)) if not pointer else None
        unused = [candidate for candidate in known if candidate not in error.instance]
        yield SchemaProblem(
            (*pointer, key),
            f"unknown key {show(key)}{_odd(key)}",
            hint or suggest(key, unused, what="keys that can stand here"),
            key=True,
        )


def _odd(text: str) -> str:
    found = odd_characters(text)
    return f" (with {found})" if found else ""


def _missing(_name: str, error: "ValidationError", pointer: Pointer, _written: Written) -> Iterator[SchemaProblem]:
    known = error.schema.get("properties", {})
    misspelt = {nearest(plain(key), known) for key in error.instance if key not in known}
    for key in error.validator_value:
        if key not in error.instance and key not in misspelt:  # else that key is reported, with what mends both
            rules = error.schema.get("properties", {}).get(key, {})
            example = rules.get("const", next(iter(rules.get("examples", ())), None))
            suggestion = f"add `{key}: {example}`" if isinstance(example, str | int) else f"add `{key}:`"
            yield SchemaProblem(pointer, f'the key "{key}" is missing', suggestion)


def _not_one_of(_name: str, error: "ValidationError", pointer: Pointer, _written: Written) -> Iterator[SchemaProblem]:
    known = [str(value) for value in error.validator_value]
    yield SchemaProblem(
        pointer,
        f"{show(error.instance)} is not a known value{_odd(str(error.instance))}",
        _meant_by_truth(error) or suggest(str(error.instance), known, what="values that can stand here"),
    )


def _meant_by_truth(error: "ValidationError") -> str | None:
    """Return the value that true, false, on or off stand for where there are names for that."""
    truth = _TRUTHS.get(str(error.instance).lower(), str(error.instance).lower())
    meant = [value for value in error.schema.get("enum", ()) if value in _MEANT.get(truth, ())]
    return f"write {meant[0]}" if meant else None


def _not_const(_name: str, error: "ValidationError", pointer: Pointer, _written: Written) -> Iterator[SchemaProblem]:
    expected = show(error.validator_value)
    yield SchemaProblem(
        pointer, f"{show(error.instance)} is not {expected}", f"write {expected}; this program knows no other"
    )


def _wrong_type(_name: str, error: "ValidationError", pointer: Pointer, written: Written) -> Iterator[SchemaProblem]:
    expected = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    wanted = " or ".join(_TYPE_WORDS[kind] for kind in expected if kind != "null" or len(expected) == 1)
    value = error.instance
    as_written = written(pointer)
    if value is None:
        if pointer:
            yield SchemaProblem(
                pointer, f"nothing is given where {wanted} is expected", "give a value, or remove the key"
            )
        else:
            yield SchemaProblem(pointer, "the document is empty", "give at least `schema_version: 1`")
        return
    if isinstance(value, Mapping | list):
        yield SchemaProblem(pointer, f"{show(value)} stands where {wanted} is expected", _example(error.schema))
        return
    if "enum" in error.schema:
        yield from _not_one_of(_name, error, pointer, written)
        return
    shown = show(value) if as_written is None else as_written[:_SHOWN_CHARACTERS]
    if isinstance(value, str) and re.match(r"0[0-9]", value):
        zero = f"{shown} has a leading zero, which makes it text where {wanted} is expected"
        yield SchemaProblem(pointer, zero, _conversion(value, shown, expected, error))
        return
    kind = "text" if isinstance(value, str) else "true or false" if isinstance(value, bool) else "a number"
    yield SchemaProblem(
        pointer, f"{shown} is {kind} where {wanted} is expected", _conversion(value, shown, expected, error)
    )


def _conversion(value: object, shown: str, expected: Sequence[str], error: "ValidationError") -> str | None:
    """Return how a scalar would have to be written to be what is expected."""
    if "string" in expected:
        return f'write "{shown}" in quotes'
    if "boolean" in expected and isinstance(value, str):
        truth = _TRUTHS.get(value.lower(), value.lower())
        return f"write {truth} without quotes" if truth in {"true", "false"} else "write true or false"
    if {"integer", "number"} & set(expected) and (number := _number(error, value)) is not None:
        return f"write {number} without quotes" if number == value else f"write {number}"
    if "array" in expected:
        return f"write it as a list: [{shown}]"
    return _example(error.schema)


def _number(error: "ValidationError", value: object) -> str | None:
    """Return the number that was probably meant, as it has to be written; ``010`` is ten to some readers of YAML."""
    if "const" in error.schema:
        return show(error.schema["const"])
    text = plain(str(value)).replace("_", "").strip()
    if re.fullmatch(r"[+-]?[0-9]+(?:\.0*)?", text, re.ASCII):
        return str(int(text.partition(".")[0]))
    if re.fullmatch(r"[+-]?[0-9]+\.[0-9]+", text, re.ASCII) and "number" in str(error.validator_value):
        return str(float(text))
    return None


def _wrong_form(_name: str, error: "ValidationError", pointer: Pointer, _written: Written) -> Iterator[SchemaProblem]:
    text = str(error.instance)
    message = f"{show(error.instance)} has not the form that is expected here"
    if pointer[-1:] == ("huggingface",):
        if url := _HUB_URL.match(text):
            yield SchemaProblem(pointer, message, f"write the repository alone: {url.group(1)}"[:200])
            return
        if branch := _REVISION_SUFFIX.match(text):
            hint = f'write `huggingface: {branch.group(1)}` and `revision: "{branch.group(2)}"`'
            yield SchemaProblem(pointer, message, hint[:200])
            return
    if text != text.strip():
        yield SchemaProblem(pointer, message, "remove the spaces or line breaks around it")
        return
    if found := odd_characters(text):
        yield SchemaProblem(pointer, f"{message} (with {found})", f"write {show(plain(text))}")
        return
    yield SchemaProblem(pointer, message, _example(error.schema))


def _example(rules: Mapping[str, object]) -> str | None:
    """Return what a schema says about a value, with its first example."""
    examples = rules.get("examples")
    description = str(rules.get("description", ""))
    if not isinstance(examples, list) or not examples:
        return description or None
    example = json.dumps(examples[0], ensure_ascii=False) if not isinstance(examples[0], str) else examples[0]
    return f"{description} For example: {example}".strip()


def _out_of_range(_name: str, error: "ValidationError", pointer: Pointer, _written: Written) -> Iterator[SchemaProblem]:
    word = "least" if error.validator in {"minimum", "minLength", "minItems"} else "most"
    limit = error.validator_value
    if error.validator in {"minimum", "maximum"}:
        yield SchemaProblem(pointer, f"{show(error.instance)} is out of range", f"at {word} {limit} is allowed here")
    elif error.validator in {"minItems", "maxItems"}:
        yield SchemaProblem(
            pointer, f"the list has {len(error.instance)} items", f"at {word} {limit}; or remove the key"
        )
    else:
        yield SchemaProblem(
            pointer, f"the text has {len(error.instance)} characters", f"at {word} {limit} are allowed here"
        )


def _not_exactly_one(
    _name: str, error: "ValidationError", pointer: Pointer, _written: Written
) -> Iterator[SchemaProblem]:
    choices = [key for rules in error.validator_value for key in rules.get("required", ())]
    given = [key for key in choices if key in error.instance]
    if not given and any(nearest(key, choices) for key in error.instance):
        return  # the misspelt key is reported by itself, with the same remedy
    message = f"both {' and '.join(given)} are given" if given else f"none of {', '.join(choices)} is given"
    yield SchemaProblem(pointer, message, f"give exactly one of {', '.join(choices)}")


def _wrong_company(
    _name: str, error: "ValidationError", pointer: Pointer, _written: Written
) -> Iterator[SchemaProblem]:
    for key, needed in error.validator_value.items():
        absent = [other for other in needed if other not in error.instance]
        if key in error.instance and absent:
            yield SchemaProblem(
                (*pointer, key),
                f'"{key}" means nothing without "{absent[0]}"',
                f'remove it, or give "{absent[0]}"',
                key=True,
            )


# One for each keyword that our schemas use; a test keeps the two together.
HANDLERS: Final[Mapping[str, Callable[[str, "ValidationError", Pointer, Written], Iterator[SchemaProblem]]]] = {
    "additionalProperties": _unknown_keys,
    "required": _missing,
    "enum": _not_one_of,
    "const": _not_const,
    "type": _wrong_type,
    "pattern": _wrong_form,
    "minimum": _out_of_range,
    "maximum": _out_of_range,
    "minLength": _out_of_range,
    "maxLength": _out_of_range,
    "minItems": _out_of_range,
    "maxItems": _out_of_range,
    "oneOf": _not_exactly_one,
    "dependentRequired": _wrong_company,
}
