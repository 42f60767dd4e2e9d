"""One curated model of the predecessor as a manifest: what can be declared, and in comments what cannot and why."""

from collections.abc import Mapping
from typing import Final

from imageworks.migration.entries import (
    LAYER_MARK,
    SCHEMA_VERSION,
    UNASSIGNED,
    backends,
    fitting,
    is_blank,
    says_nothing,
    set_apart,
    shrink_capabilities,
    with_legacy,
    without_blanks,
)
from imageworks.migration.model import Declaration, Fields, MigratedModel, Record, Tally
from imageworks.migration.sources import SourceChoice, Surroundings
from imageworks.registry.documents.diagnostic import Diagnostic
from imageworks.registry.documents.document import JsonValue
from imageworks.registry.manifests.manifest import FOLDER
from imageworks.registry.manifests.writer import Line, comment, suggestion
from imageworks.registry.validate import check_manifest

_BLOCKS: Final = ("source", "backend_config", "metadata")
_ORDER: Final = (
    "source", "format", "quantization", "backend", "location", "hosts", "display_name", "family", "roles",
    "role_priority", "capabilities", "backend_config", "served_model_id", "model_aliases", "generation_defaults",
    "chat_template", "license", "version_lock", "deprecated", "metadata",
)  # fmt: skip
_BARE: Final = frozenset({"schema_version", "source", "backend", "location", "format", "quantization", "hosts"})
_DECLARED: Final = frozenset(_ORDER) - {"source", "format", "quantization", "location", "hosts"}
_COMMENTS: Final[Mapping[str, str]] = {
    "backend": "what serves it",
    "display_name": "what people see",
    "family": "the first part of a variant name",
    "roles": "what it is used for",
    "role_priority": "the highest number is preferred",
    "capabilities": "as it was declared; detection finds the rest",
    "served_model_id": "what clients send as `model`",
    "model_aliases": "what else it is called",
    "generation_defaults": "for requests that give none",
    "license": "as it was recorded",
    "deprecated": "kept for going back",
    "extra_args": "for the server's command line",
}
_FACTS: Final = frozenset({
    "architecture", "branch", "created_from_download", "embedded_chat_template_preview", "external_chat_template_files",
    "files_downloaded", "has_chat_template", "has_embedded_chat_template", "library", "license_file", "model_type",
    "ollama_architecture", "ollama_capabilities", "ollama_context_length", "ollama_embedding_length", "ollama_family",
    "ollama_license", "ollama_parameter_size", "ollama_parameters", "primary_chat_template_file",
    "primary_chat_template_sha256", "producer", "readme_file", "readme_sha256", "readme_signals", "verified_complete",
})  # fmt: skip
_FOLLOWS: Final[Mapping[str, str]] = {
    "source": "the source says it",
    "source_provider": "the source says it",
    "download_location": "the location says it",
    "download_path": "the source or the location says it",
}
_ENDING: Final = "Nothing was lost: what is not declared is kept below metadata.legacy, here or in the entry."


def declare(
    record: Record, name: str, choice: SourceChoice, found: MigratedModel | None, around: Surroundings
) -> Declaration:
    """Return the manifest of a curated model."""
    tally, legacy = Tally(), Fields()
    document: Fields = {"schema_version": SCHEMA_VERSION, **choice.fields}
    if choice.source:
        document["source"] = choice.source
    _Reader(document, legacy, tally, found.fields if found else {}, choice).read(record, name)
    document = fitting("manifest", document, legacy, tally)
    with_legacy(document, legacy)
    doubts = {**choice.doubts, **tally.legacy}
    file = f"{FOLDER}/{name}.yaml"
    for kept in (document.keys(), document.keys() - {"metadata"}, _BARE, {"schema_version"}):
        said = {key: value for key, value in document.items() if key in kept}
        data = _render(said, name, record.name, choice, around, doubts)
        checked = check_manifest(file, data)
        if checked.document is not None and checked.document.value == said:
            break
        doubts["metadata" if "metadata" in kept else "further fields"] = _why(checked.diagnostics)
    overflow = {key: value for key, value in document.items() if key not in said}
    for key in overflow:
        tally.legacy[key] = "no manifest can hold it; the entry keeps it"
    tally.kept.extend(
        key for key in record.fields if key in said and key not in {*tally.changed, *tally.legacy, "name"}
    )
    return Declaration(name, data, choice.label if "source" in said else "none", tally, overflow)


def _why(diagnostics: tuple[Diagnostic, ...]) -> str:
    return diagnostics[0].message if diagnostics else "it would not be read as it is written"


class _Reader:
    """Reads one curated model into a manifest's document."""

    def __init__(
        self, document: Fields, legacy: Fields, tally: Tally, found: Mapping[str, JsonValue], choice: SourceChoice
    ) -> None:
        self._document = document
        self._legacy = legacy
        self._tally = tally
        self._found = found
        self._choice = choice

    def read(self, record: Record, name: str) -> None:
        """Read every field."""
        for key, value in record.fields.items():
            if key == "name":
                self._name(record.name, name)
            elif says_nothing(key, value) or (key == "deprecated" and value is False):
                self._tally.empty.append(key)
            elif key in _FOLLOWS and (key not in {"source", "download_path"} or self._choice.placed):
                self._tally.changed[key] = _FOLLOWS[key]
            elif key == "last_accessed":
                self._tally.outside.append(key)
            elif key in self._choice.fields:
                self._tally.kept.append(key)
            elif key not in _DECLARED:
                self._undeclarable(key, value)
            else:
                self._known(key, value)
        if record.name != name:
            aliases = self._document.get("model_aliases")
            older = aliases if isinstance(aliases, list) else []
            self._document["model_aliases"] = [*older, *([] if record.name in older else [record.name])]
            self._document.setdefault("display_name", record.name)

    def _name(self, there: str, here: str) -> None:
        if there == here:
            self._tally.kept.append("name")
        else:
            self._tally.changed["name"] = f"{there!a} is called {here} here; the old name is an alias"

    def _undeclarable(self, key: str, value: JsonValue) -> None:
        if key == "download_format" and "format" in self._choice.fields:
            self._tally.changed[key] = "declared as `format`"
            return
        if self._found.get(key) == value and key not in {"quantization", "source"}:
            self._tally.same.append(key)
            return
        why = "this registry has no such field"
        if key in {"quantization", "download_format"}:
            why = "detected; declared, it would choose among files"
        elif key == "source" or key in self._found:
            why = "only what is found on a host says this"
        set_apart(self._legacy, self._tally, key, value, why)

    def _known(self, key: str, value: JsonValue) -> None:
        if key == "backend" and value not in backends():
            set_apart(self._legacy, self._tally, key, value, "no backend here is called so")
            self._document[key] = UNASSIGNED
        elif not isinstance(value, dict):
            self._document[key] = value
        elif new := self._mapping(key, value):
            self._document[key] = new

    def _mapping(self, key: str, value: Mapping[str, JsonValue]) -> Fields:
        """Return what a manifest says of a field that is a mapping; empty for nothing."""
        if key == "metadata":
            return self._metadata(value)
        if key == "capabilities":
            flags = shrink_capabilities(value)
            told = {flag: item for flag, item in flags.items() if item is not False}
            self._tally.changed[key] = f"{len(value)} words became {len(told)} flags; what was false is detected"
            return told
        filled = without_blanks(value)
        if key == "backend_config" and "model_path" in filled:
            path = filled.pop("model_path")
            if self._choice.placed:
                self._tally.changed["backend_config.model_path"] = "source and location say where the files are"
            elif self._found_path() != path:
                set_apart(self._legacy, self._tally, "model_path", path, "manifests name no path beside a source")
        if key == "chat_template" and filled.get("source") != "external" and self._found.get(key) == filled:
            self._tally.same.append(key)
            return {}
        return filled

    def _found_path(self) -> JsonValue:
        config = self._found.get("backend_config")
        return config.get("model_path") if isinstance(config, dict) else None

    def _metadata(self, value: Mapping[str, JsonValue]) -> Fields:
        found = self._found.get("metadata")
        facts = found if isinstance(found, dict) else {}
        left: Fields = {}
        for name, item in value.items():
            if name == LAYER_MARK:
                self._tally.changed[f"metadata.{name}"] = "left out: the folder says the layer"
            elif is_blank(item):
                self._tally.empty.append(f"metadata.{name}")
            elif name in _FACTS and facts.get(name) == item:
                self._tally.same.append(f"metadata.{name}")
            else:
                left[name] = item
        return left


def _render(
    document: Fields, name: str, there: str, choice: SourceChoice, around: Surroundings, doubts: Mapping[str, str]
) -> bytes:
    was = "" if there == name else f" as {there!a}"
    lines = [
        around.modeline,
        comment(f"{name}, curated in an earlier tool{was} and migrated. This file's name is the model's name."),
        "# Change what you like and commit it: the next `imageworks-models reconcile` makes the machine be so.",
        f"schema_version: {SCHEMA_VERSION}",
    ]
    said = {**_COMMENTS, **choice.comments}
    for key in _ORDER:
        value = document.get(key)
        if value is None:
            continue
        if key in _BLOCKS and isinstance(value, dict):
            lines.append(f"{key}:")
            lines += [
                Line(inner, item, "" if key == "metadata" else said.get(inner, ""), inside=True).render()
                for inner, item in value.items()
            ]
        else:
            lines.append(Line(key, value, said.get(key, "")).render())
    if "roles" not in document:
        lines.append(suggestion("roles: [caption]", "what it is used for; take the first # away"))
    if doubts:
        lines += ["#", "# What could not be declared, and why:"]
        lines += [comment(f"  {key}: {why}") for key, why in doubts.items()]
        lines.append(comment(_ENDING))
    return ("\n".join(lines) + "\n").encode()
