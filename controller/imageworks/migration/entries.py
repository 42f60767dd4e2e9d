"""One model of the predecessor as an entry: what is known stays, what is unknown is kept apart, nothing is lost."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from imageworks.migration.model import Fields, MigratedModel, Record, Tally
from imageworks.registry.documents.document import JsonValue, Pointer
from imageworks.registry.documents.schema import check, load_schema
from imageworks.registry.entries.entry import InvalidEntryError, read_entry, render_entry

SCHEMA_VERSION: Final = 1
LEGACY: Final = "legacy"
UNASSIGNED: Final = "unassigned"
NOTHING: Final = "None"  # what str(None) left where a text was expected
PROVIDERS: Final[Mapping[str, str]] = {"hf": "huggingface"}
LAYER_MARK: Final = "registry_layer"
_BLANK: Final[Mapping[str, JsonValue]] = {"performance": {"rolling_samples": 0}, "version_lock": {"locked": False}}
_OLLAMA_PATH: Final = re.compile(r"ollama:/{1,2}(?=[^/])")
_FEW: Final = 1000  # items of a list that are worth looking at one by one
_MAPPINGS: Final = frozenset(
    {"backend_config", "capabilities", "chat_template", "generation_defaults", "metadata", "version_lock"}
)
_REQUIRED: Final[Mapping[str, Fields]] = {"entry": {"name": "a", "managed": False}}
_CONDITION: Final = {
    "type": "Ready",
    "status": "Unknown",
    "reason": "Migrated",
    "message": "recorded by an earlier tool; nothing was looked at since",
}
PEOPLES: Final = frozenset({"roles", "role_priority"})
"""What only people say, in manifests."""

SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("language", "chat"),
    "vision": ("visual", "multimodal", "mm", "image", "vl"),
    "audio": ("asr", "speech", "tts", "voice"),
    "embedding": ("embed", "text-embedding", "representation"),
    "tools": (
        "tool-call", "tool-use", "tool_call", "tool_calls", "tool_choice", "tool_use", "toolcalling", "toolcalls",
        "toolchoice", "auto_tool_choice", "function-call", "function-calling", "function_call", "function_calling",
        "function_calls", "function_tools", "functioncalling",
    ),
    "thinking": ("think", "chain_of_thought", "cot"),
    "reasoning": ("reason", "reasoner", "o1", "o3", "r1", "deepseek"),
}  # fmt: skip
"""Other words that the predecessor wrote beside each flag."""

_FLAG_OF: Final = {word: flag for flag, words in SYNONYMS.items() for word in (flag, *words)}
"""What it meant by each of them: `image` and `speech` were words for vision and audio."""


def to_entry(record: Record, name: str, *, declared: Mapping[str, JsonValue] | None) -> MigratedModel:
    """Return the entry that a discovered model becomes; nothing on any disk is looked at."""
    tally = Tally()
    fields: Fields = {}
    legacy: Fields = {}
    for key, value in record.fields.items():
        if key == "name":
            _tell_name(record.name, name, tally)
        elif says_nothing(key, value):
            tally.empty.append(key)
        elif key == "last_accessed":
            tally.outside.append(key)
        elif why := _apart(key, value, declared):
            set_apart(legacy, tally, key, value, why)
        elif key in PEOPLES:
            tally.same.append(key)
        elif key == "download_files" and isinstance(value, list):
            fields[key] = _real_files(value, legacy, tally)
        else:
            fields[key] = _converted(key, value, legacy, tally)
    _complete(fields, record, name)
    fields = fitting("entry", fields, legacy, tally)
    try:
        read_entry(f"{name}.json", render_entry(fields))
    except InvalidEntryError as error:
        set_apart(legacy, tally, "download_path", fields.pop("download_path"), error.problem)
    tally.kept.extend(
        key for key in record.fields if key in fields and key not in {*tally.changed, *tally.legacy, "name"}
    )
    with_legacy(fields, legacy)
    accessed = record.fields.get("last_accessed")
    return MigratedModel(name, fields, tally, accessed if isinstance(accessed, str) else None)


def _apart(key: str, value: JsonValue, declared: Mapping[str, JsonValue] | None) -> str | None:
    """Return why no field of an entry can say this, or ``None`` when one can."""
    if key == "artifacts":
        return "no sizes were recorded; `verify` and `scan` look at the files"
    if key in PEOPLES:
        if declared is None:
            return "only a manifest says this: `promote` writes one"
        return None if declared.get(key) == value else "the curated layer says otherwise"
    if key not in known_fields():
        return "this registry has no such field"
    return "not a mapping of fields" if key in _MAPPINGS and not isinstance(value, dict) else None


def with_legacy(fields: Fields, legacy: Mapping[str, JsonValue]) -> None:
    """Put what fits nowhere below ``metadata.legacy`` of an entry or a manifest."""
    if not legacy:
        return
    metadata = fields.get("metadata")
    before = dict(metadata) if isinstance(metadata, dict) else {}
    older = before.get(LEGACY)
    merged: JsonValue = {**older, **legacy} if isinstance(older, dict) else dict(legacy)
    fields["metadata"] = {**before, LEGACY: merged}


def says_nothing(key: str, value: JsonValue) -> bool:
    """Return whether a field of the predecessor says nothing: nulls, empty texts, figures and locks that never were."""
    if isinstance(value, dict) and key in _BLANK and without_blanks(value) == _BLANK[key]:
        return True
    return is_blank(value) or (key == "served_model_id" and value == NOTHING)


def is_blank(value: JsonValue) -> bool:
    """Return whether a value holds nothing, however deep: nulls, empty texts and lists."""
    if isinstance(value, dict):
        return all(is_blank(item) for item in value.values())
    return value is None or value in ("", [])


def without_blanks(value: Mapping[str, JsonValue]) -> Fields:
    """Return a mapping without the keys that hold nothing."""
    return {key: item for key, item in value.items() if not is_blank(item)}


def shrink_capabilities(value: Mapping[str, JsonValue]) -> Fields:
    """Return the flags that a block of synonyms stands for.

    A flag is true where it or any other word for it is. What is no word for a flag, or more than a flag, stays.
    """
    shrunk: Fields = {}
    for word, item in value.items():
        flag = _FLAG_OF.get(word, word)
        if not isinstance(item, bool):
            shrunk[flag if isinstance(item, dict) else word] = item
        elif isinstance(shrunk.get(flag, False), bool):
            shrunk[flag] = shrunk.get(flag) is True or item
    return shrunk


def plain_path(value: str) -> str:
    """Return a path in which Ollama's scheme has both its slashes again, which the predecessor had folded into one."""
    return _OLLAMA_PATH.sub("ollama://", value, count=1)


@cache
def known_fields() -> frozenset[str]:
    """Return the fields of an entry that the predecessor may have written."""
    properties = load_schema("entry")["properties"]
    return frozenset(properties if isinstance(properties, dict) else ()) - {"schema_version", "managed", "conditions"}


@cache
def backends() -> tuple[str, ...]:
    """Return the backends that the schema knows; no set, for what is looked up may be anything."""
    properties = load_schema("entry")["properties"]
    backend = properties["backend"] if isinstance(properties, dict) else None
    words = backend["enum"] if isinstance(backend, dict) else None
    return tuple(str(word) for word in words) if isinstance(words, list) else ()


def _tell_name(there: str, here: str, tally: Tally) -> None:
    if there == here:
        tally.kept.append("name")
    else:
        tally.changed["name"] = f"{there!a} is called {here} here; the old name is an alias"


def set_apart(legacy: Fields, tally: Tally, key: str, value: JsonValue, why: str) -> None:
    """Keep a field for ``metadata.legacy``, and tell why."""
    legacy[key] = value
    tally.legacy[key] = why


def _real_files(value: list[JsonValue], legacy: Fields, tally: Tally) -> list[JsonValue]:
    """Return the recorded files without what Windows hangs onto files, which the predecessor took for some."""
    streams = [item for item in value if isinstance(item, str) and ":" in item]
    if streams:
        set_apart(legacy, tally, "download_files", list(streams), "names with a colon are streams of Windows, no files")
    return [item for item in value if item not in streams]


def _converted(key: str, value: JsonValue, legacy: Fields, tally: Tally) -> JsonValue:
    """Return a known field as an entry says it."""
    if key == "backend" and value not in backends():
        set_apart(legacy, tally, key, value, "no backend here is called so")
        return UNASSIGNED
    if isinstance(value, dict):
        new, how = _mapping(key, value)
        if how:
            tally.changed[key] = how
        return new
    if not isinstance(value, str):
        return value
    text = PROVIDERS.get(value, value) if key == "source_provider" else value
    text = plain_path(text) if key == "download_path" else text
    if text != value:
        tally.changed[key] = f"{value} is written {text}"
    return text


def _mapping(key: str, value: Mapping[str, JsonValue]) -> tuple[Fields, str]:
    """Return a field that is a mapping as an entry says it, and how it was changed; empty where it was not."""
    if key == "capabilities":
        flags = shrink_capabilities(value)
        return flags, f"{len(value)} words became {len(flags)} flags" if len(flags) != len(value) else ""
    if key == "metadata":
        left = {name: item for name, item in value.items() if name != LAYER_MARK}
        return left, f"{LAYER_MARK} is left out: the folder says the layer" if len(left) != len(value) else ""
    if key not in _MAPPINGS:
        return dict(value), ""
    filled = without_blanks(value)
    path = filled.get("model_path")
    if key == "backend_config" and isinstance(path, str) and plain_path(path) != path:
        return {**filled, "model_path": plain_path(path)}, f"{path} is written {plain_path(path)}"
    return filled, ""


def _complete(fields: Fields, record: Record, name: str) -> None:
    """Add what every entry says, and what follows from the fields."""
    if record.name != name:
        aliases = fields.get("model_aliases")
        known = aliases if isinstance(aliases, list) else []
        fields["model_aliases"] = [*known, *([] if record.name in known else [record.name])]
        fields.setdefault("display_name", record.name)
    fields["schema_version"] = SCHEMA_VERSION
    fields["name"] = name
    fields["managed"] = False
    source = fields.get("source")
    repo = source.get("huggingface_id") if isinstance(source, dict) else None
    if isinstance(repo, str) and repo:
        fields["resolved"] = {"repo": repo}
    if "download_path" in fields:
        fields["verification"] = "unverified"
    fields["conditions"] = [dict(_CONDITION)]
    metadata = fields.get("metadata")
    # Nobody can tell who put the files there, so no command of ours ever takes them for its own to delete.
    fields["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "acquisition": "adopted"}


def fitting(schema: str, fields: Fields, legacy: Fields, tally: Tally) -> Fields:
    """Return fields without those that a schema refuses, which are set apart."""
    while problems := check(schema, fields):
        # One for each field, or key of a field: once a list is shorter, the other pointers into it lead elsewhere.
        by_place = {
            problem.pointer[: 1 + isinstance(fields[str(problem.pointer[0])], dict)]: problem for problem in problems
        }
        for problem in by_place.values():
            fields = _without(schema, fields, problem.pointer, problem.message, legacy, tally)
    return fields


def _without(schema: str, fields: Fields, pointer: Pointer, why: str, legacy: Fields, tally: Tally) -> Fields:
    """Return fields without what a pointer leads to, which is set apart; at most two steps deep."""
    key = str(pointer[0])
    if key not in fields:
        return fields
    value = fields[key]
    left = dict(fields)
    below = str(pointer[1]) if len(pointer) > 1 else None
    apart = legacy.setdefault(key, {})
    if isinstance(value, dict) and isinstance(apart, dict) and below is not None and below in value:
        left[key] = {name: item for name, item in value.items() if name != below}
        apart[below] = value[below]
        tally.legacy[f"{key}.{below}"] = why
        return left
    if isinstance(value, list) and below is not None and len(value) <= _FEW:
        own = {"schema_version": SCHEMA_VERSION, **_REQUIRED.get(schema, {})}
        left[key] = [item for item in value if not check(schema, {**own, key: [item]})]
    else:
        del left[key]
    legacy[key] = _joined(apart, value)
    tally.legacy[key] = why
    return left


def _joined(apart: JsonValue, value: JsonValue) -> JsonValue:
    """Return a value together with what was set apart of it before."""
    if isinstance(value, dict) and isinstance(apart, dict):
        return {**value, **apart}
    return [*apart, *value] if isinstance(value, list) and isinstance(apart, list) else value
