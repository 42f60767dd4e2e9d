"""Where a model's chat template is and what it mentions. Templates are programs of strangers: none is ever rendered."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.detection.file_names import Role, classify
from imageworks.detection.formats.gguf_header import GgufHeader
from imageworks.foundation.json_values import parse_object

_KEY: Final = "tokenizer.chat_template"
_LOADED: Final = ("chat_template.jinja", "chat_template.json")
"""The files that loaders read, at the top only: any other template in a repository is somebody's example."""
_ADDITIONAL: Final = "additional_chat_templates/"
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FoundTemplate:
    """A model's chat template.

    Args:
        source: ``external`` (a file of its own), ``embedded`` (in the tokenizer's config or a GGUF header) or ``none``.
        path: The relative path of the file that holds it.
        sha256: The digest of the template's text.
        names: The names of all templates, when there are several.
        text: The default template, for looking words up in it.
        others: Other files that hold templates.
    """

    source: str = "none"
    path: str | None = None
    sha256: str | None = None
    names: tuple[str, ...] = ()
    text: str = ""
    others: tuple[str, ...] = ()

    def fields(self) -> dict[str, object]:
        """Return what an entry records of it."""
        return {"source": self.source, "path": self.path, "sha256": self.sha256}


def find_chat_template(
    paths: Iterable[str], read_small: Callable[[str], bytes | None], gguf: tuple[str, GgufHeader] | None = None
) -> FoundTemplate:
    """Return the template that a loader would take: a file of its own, else the tokenizer's config, else GGUF's key."""
    listed = set(paths)
    files = sorted(path for path in listed if classify(path).role is Role.CHAT_TEMPLATE)
    more: dict[str, str] = {}
    for path in (one for one in files if one.startswith(_ADDITIONAL) and one.endswith(".jinja")):
        if text := _templates_in_file(path, read_small(path)).get("default"):
            more[path.removeprefix(_ADDITIONAL).removesuffix(".jinja")[:80]] = text
    for path in _LOADED:
        templates = _templates_in_file(path, read_small(path)) if path in listed else {}
        if templates:
            others = tuple(other for other in files if other != path)
            return _template("external", path, {**more, **templates}, others)
    config = parse_object(read_small("tokenizer_config.json")) if "tokenizer_config.json" in listed else None
    embedded = _templates(config.get("chat_template")) if config else {}
    if embedded:
        return _template("embedded", "tokenizer_config.json", {**more, **embedded}, tuple(files))
    if gguf:
        path, header = gguf
        held = {
            key[len(_KEY) :].lstrip(".") or "default": header.text(key)
            for key in header.metadata
            if key.startswith(_KEY)
        }
        texts = {name: value for name, value in held.items() if value and value.strip()}
        if texts:
            return _template("embedded", path, texts, ())
    return _template("external", next(iter(files)), more, tuple(files)) if more else FoundTemplate(others=tuple(files))


def _templates_in_file(path: str, data: bytes | None) -> dict[str, str]:
    """Return the templates that a file holds, by name; a blank file holds none."""
    if not data or len(data) > _LARGEST:
        return {}
    if not path.endswith(".json"):
        text = data.decode(errors="replace")
        return {"default": text} if text.strip("\ufeff \t\r\n") else {}
    content = parse_object(data)
    return _templates(content.get("chat_template")) if content else {}


def _templates(value: object) -> dict[str, str]:
    """Return templates by name: a text is the default one, a list holds named ones."""
    if isinstance(value, str):
        return {"default": value} if value.strip() and len(value) <= _LARGEST else {}
    if isinstance(value, Mapping):
        value = [{"name": name, "template": template} for name, template in value.items()]
    if not isinstance(value, list):
        return {}
    named: dict[str, str] = {}
    for item in value[:64]:
        if isinstance(item, Mapping):
            name, template = item.get("name"), item.get("template")
            if isinstance(name, str) and isinstance(template, str) and template.strip() and len(template) <= _LARGEST:
                named[name[:80]] = template
    return named


def _template(source: str, path: str, templates: Mapping[str, str], others: tuple[str, ...]) -> FoundTemplate:
    """Return the value for templates of one place."""
    text = templates.get("default") or next(iter(templates.values()))
    names = tuple(sorted(templates)) if len(templates) > 1 else ()
    searched = "\n".join([text, *(template for name, template in sorted(templates.items()) if name != "default")])
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return FoundTemplate(source, path, digest, names, searched[:_LARGEST], others)
