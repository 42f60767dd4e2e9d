"""What a README says: the model card's front matter, and signals found in the text by fixed patterns."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

LARGEST_HASHED: Final = 10 << 20
"""READMEs of this many bytes and more are recorded without their digest."""
LARGEST_READ: Final = 1 << 18
"""Bytes in which signals are searched."""
LARGEST_FRONT: Final = 2 << 20
"""Bytes of front matter that are looked through: evaluation tables of embedding models have hundreds of KB."""
_MOST_LINES: Final = 400
"""Lines of one key that are kept."""
_LONGEST_LINE: Final = 2_000

_FENCE: Final = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n")
_END: Final = re.compile(r"(?m)^---[ \t]*\r?$")
_KEYS: Final = ("license", "license_name", "license_link", "base_model", "tags", "language", "library_name",
                "pipeline_tag", "datasets", "metrics")  # fmt: skip
_TOP_KEY: Final = re.compile(r"^([A-Za-z_][\w-]*)[ \t]*:(?:[ \t]+|$)", re.ASCII)
_ITEM: Final = re.compile(r"^[ \t]*-(?:[ \t]+(.*))?$")
_FLOW: Final = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,\[\]{}]+)\s*(,|\]|$)""")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})

_SCHEMES: Final = re.compile(
    r"(?<![\w-])(awq|gptq|gguf|exl2|exl3|hqq|aqlm|squeezellm|bitsandbytes|nf4|smoothquant|mxfp4|nvfp4|fp8"
    r"|int8|int4|bf16|fp16|i?q[2-8](?:_[0-9k](?:_[sml])?)|w[48]a(?:16|8))(?![\w-])",
    re.IGNORECASE,
)
_DETAILS: Final = re.compile(r"(?<!\w)w[2-8]g(?:32|64|128|256|512|1024)(?!\w)", re.IGNORECASE)
_GROUP: Final = re.compile(
    r"(?<!\w)([2-8])[- ]?bit[^.\n]{0,40}?(?:group[ _-]?size\D{0,5}|g)(32|64|128|256)(?!\d)", re.IGNORECASE
)
_CONTAINERS: Final = re.compile(
    r"(?<![\w-])(gguf|safetensors|onnx|openvino|mlx|coreml|tensorrt|exl2|exl3)(?![\w-])", re.IGNORECASE
)
_BACKENDS: Final = re.compile(
    r"(?<![\w-])(vllm|lmdeploy|ollama|llama\.cpp|lm studio|sglang|tgi|text-generation-inference|transformers"
    r"|exllamav[23]|tensorrt-llm|mlx-lm|koboldcpp|autoawq|autogptq|gptqmodel|diffusers)(?![\w-])",
    re.IGNORECASE,
)
_TOOLS: Final = re.compile(
    r"(?<![\w-])(?:tool[ -_](?:calls?|calling|use)|function[ -_]?call(?:s|ing)?|--enable-auto-tool-choice"
    r"|tool-call-parser)(?!\w)",
    re.IGNORECASE,
)
_REASONING: Final = re.compile(
    r"(?<![\w-])(?:chain[ -]of[ -]thought|reasoning (?:model|mode|effort|parser|capabilit\w+)|thinking mode"
    r"|enable_thinking|--reasoning-parser|<think>)",
    re.IGNORECASE,
)
_LICENSE_LINE: Final = re.compile(
    r"licen[cs]e[ds]?(?:[:=\-|\[\]*_`\"'(]|[^\S\n]|is|the|under|an|a){0,12}?"
    r"(apache[ -](?:license[, ]{0,2})?(?:version )?2(?:\.0)?|mit|bsd-[23]-clause"
    r"|cc[ -]by(?:[ -](?:nc|sa|nd)){0,3}[ -]\d\.\d|a?gpl[ -]?v?[23](?:\.0)?|llama ?[234](?:\.\d)?|gemma"
    r"|openrail(?:\+\+|-?m)?|mrl|cc0(?:-1\.0)?|unlicense)(?!\w)",
    re.IGNORECASE,
)
_LICENSE_TEXTS: Final = (
    (re.compile(r"apache license\s+version 2\.0", re.IGNORECASE), "apache-2.0"),
    (re.compile(r"\bmit license\b|permission is hereby granted, free of charge", re.IGNORECASE), "mit"),
    (re.compile(r"llama (\d(?:\.\d)?) community license", re.IGNORECASE), "llama{}"),
    (re.compile(r"gemma terms of use", re.IGNORECASE), "gemma"),
    (re.compile(r"creativeml open ?rail", re.IGNORECASE), "creativeml-openrail-m"),
    (re.compile(r"mistral ai (?:non-production|research) license", re.IGNORECASE), "mrl"),
    (re.compile(r"gnu affero general public license", re.IGNORECASE), "agpl-3.0"),
    (re.compile(r"gnu general public license\s+version 3", re.IGNORECASE), "gpl-3.0"),
    (re.compile(r"redistribution and use in source and binary forms", re.IGNORECASE), "bsd-3-clause"),
    (re.compile(r"attribution-noncommercial 4\.0", re.IGNORECASE), "cc-by-nc-4.0"),
)


@dataclass(frozen=True, slots=True)
class Card:
    """What a model card's front matter says.

    Args:
        licenses: The licences' identifiers; the named one when the card says ``other``.
        license_link: Where its text is.
        base_model: The models that this one was made from.
        tags: The card's tags.
        language: Its languages.
        library: The library that loads it.
        task: The pipeline tag.
        warnings: Why it could not be read, or not wholly.
    """

    licenses: tuple[str, ...] = ()
    license_link: str | None = None
    base_model: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    library: str | None = None
    task: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def license(self) -> str | None:
        """All licences, as one text."""
        return ", ".join(self.licenses) or None


@dataclass(frozen=True, slots=True)
class Readme:
    """What a README says.

    Args:
        sha256: Its digest; ``None`` when it is too large to hash.
        signals: Quantization schemes and details, containers, backends, tool and reasoning claims, the licence hint.
        card: Its front matter.
    """

    sha256: str | None
    signals: Mapping[str, object]
    card: Card = field(default_factory=Card)


def read_readme(data: bytes) -> Readme:
    """Return what a README says."""
    digest = hashlib.sha256(data).hexdigest() if len(data) < LARGEST_HASHED else None
    text = data[:LARGEST_FRONT].decode(errors="replace")
    card, body = _split(text)
    return Readme(digest, signals_of(text[body : body + LARGEST_READ], card.license), card)


def signals_of(text: str, license_hint: str | None = None) -> dict[str, object]:
    """Return what fixed patterns find in a README; keys that find nothing are left out."""
    found: dict[str, object] = {}
    schemes = {match.lower() for match in _SCHEMES.findall(text)}
    details = {match.lower() for match in _DETAILS.findall(text)} | {
        f"w{bits}g{group}" for bits, group in _GROUP.findall(text)
    }
    for key, values in (
        ("quant_schemes", schemes),
        ("quant_details", details),
        ("containers", {match.lower() for match in _CONTAINERS.findall(text)}),
        ("backends", {match.lower() for match in _BACKENDS.findall(text)}),
    ):
        if values:
            found[key] = sorted(values)[:32]
    if _TOOLS.search(text):
        found["tool_calls"] = True
    if _REASONING.search(text):
        found["reasoning"] = True
    hint = license_hint or license_of_text(text)
    if hint:
        found["license_hint"] = hint
    return found


def license_of_text(text: str) -> str | None:
    """Return the licence that a README's sentence or a licence's own text names first."""
    line = _LICENSE_LINE.search(text)
    if line:
        return _license_identifier(line[1])
    return license_of_file(text)


def license_of_file(text: str) -> str | None:
    """Return which of the usual licences a LICENSE file is, by its first words."""
    beginning = text[:4096]
    for pattern, name in _LICENSE_TEXTS:
        match = pattern.search(beginning)
        if match:
            return name.format(*match.groups())
    return None


def _license_identifier(words: str) -> str:
    """Return a licence's usual identifier."""
    low = re.sub(r"[ _]+", "-", words.strip().lower())
    if low.startswith("apache"):
        return "apache-2.0"
    gnu = re.fullmatch(r"(a?gpl)-?v?([23])(?:\.0)?", low)
    if gnu:
        return f"{gnu[1]}-{gnu[2]}.0"
    if low.startswith("llama"):
        return low.replace("llama-", "llama")
    return low


def read_card(text: str) -> Card:
    """Return what a model card's front matter says.

    It is anybody's YAML, and often none: the few keys that are kept are read line by line, so that a slip in one costs
    no other, and nothing with anchors, aliases, tags or depth is followed.
    """
    return _split(text)[0]


def _split(text: str) -> tuple[Card, int]:
    """Return the front matter's words, and where the text behind it begins."""
    found, slips, behind = _fields(text)
    licenses = tuple(dict.fromkeys(one.lower() for one in found.get("license", ())))
    named = tuple(one.lower() for one in found.get("license_name", ()))
    if named and licenses in ((), ("other",)):
        licenses = named
    one = {key: found[key][0] for key in ("license_link", "library_name", "pipeline_tag") if found.get(key)}
    what = f"the model card's front matter is not sound ({slips[0] if slips else ''}); what could be read of it counts"
    card = Card(
        licenses=licenses,
        license_link=one.get("license_link"),
        base_model=found.get("base_model", ()),
        tags=found.get("tags", ()),
        language=found.get("language", ()),
        library=one.get("library_name"),
        task=one.get("pipeline_tag"),
        warnings=(what,) if slips else (),
    )
    return card, behind


def front_matter(text: str) -> Mapping[str, tuple[str, ...]]:
    """Return the texts of the front matter's well-known keys."""
    return _fields(text)[0]


def without_front_matter(text: str) -> str:
    """Return the text behind the front matter."""
    return text[_fields(text)[2] :]


def _fields(text: str) -> tuple[dict[str, tuple[str, ...]], list[str], int]:
    """Return the texts by key, what is not sound of them, and where the text behind the front matter begins."""
    fence = _FENCE.match(text)
    if fence is None:
        return {}, [], 0
    end = _END.search(text, fence.end())
    front = text[fence.end() : end.start() if end else len(text)]
    if end is None and not _TOP_KEY.match(front):
        return {}, [], 0  # a line across the page, and no front matter
    slips = [] if end else ["it has no end"]
    found: dict[str, tuple[str, ...]] = {}
    for key, lines in _kept_lines(front):
        found[key] = (*found.get(key, ()), *_values(lines, slips))
    return found, slips, end.end() if end else len(text)


def _kept_lines(front: str) -> Iterable[tuple[str, list[str]]]:
    """Return the top-level keys that we keep with their lines."""
    kept: list[tuple[str, list[str]]] = []
    lines: list[str] | None = None
    for line in front.splitlines():
        key = _TOP_KEY.match(line)
        if key:
            lines = [] if key[1] in _KEYS and len(kept) < _MOST_LINES else None
            if lines is not None:
                kept.append((key[1], lines))
        if lines is not None and len(lines) <= _MOST_LINES and not line.lstrip().startswith("#"):
            lines.append(line[key.end() if key else 0 :][:_LONGEST_LINE])
    return kept


def _values(lines: list[str], slips: list[str]) -> tuple[str, ...]:
    """Return the texts of one key: a scalar, a list in brackets or one with dashes; told is what is not sound."""
    if len(lines) > _MOST_LINES:
        slips.append(f"more than {_MOST_LINES} lines of one key")
    if any(_CONTROL.search(line) or line != line.strip("\t") for line in lines):
        slips.append("tabs or control characters")
    plain = [_CONTROL.sub("", line) for line in lines]
    items = [item[1] or "" for line in plain if (item := _ITEM.match(line))]
    first = " ".join(line.strip() for line in plain if not _ITEM.match(line)).strip()
    if first.startswith("["):
        listed = [found[1] for found in _FLOW.finditer(first, 1)]
        if not first.endswith("]") or first.count("[") > 1:
            slips.append("a list that does not end")
        items = [*listed, *items]
    elif first.startswith((">", "|")):
        items = [first.lstrip(">|-+0123456789 "), *items]
    elif first:
        items = [first, *items]
    texts = (_text(item, slips) for item in items[:100])
    return tuple(dict.fromkeys(text for text in texts if text))


def _text(item: str, slips: list[str]) -> str:
    """Return a scalar's text without its quotes and comment; nothing of what leads elsewhere."""
    item = item.strip()
    if item[:1] in {'"', "'"}:
        closed = item.find(item[0], 1)
        if closed < 0:
            slips.append("a quote that does not end")
        inner = item[1 : closed if closed > 0 else None].strip()
    elif item.startswith(("{", "[", "- ")) or re.match(r"[&*!][\w!<]", item):
        if not item.startswith("{"):
            slips.append("anchors, aliases, tags or depth")
        return ""
    else:
        inner = re.split(r"\s#", item, maxsplit=1)[0].strip()
        if inner.startswith(("@", "`", "%")) or ": " in inner:
            slips.append("a word that needs quotes")
    return "" if inner in _NOTHING else inner[:200].encode("utf-8", "replace").decode()
