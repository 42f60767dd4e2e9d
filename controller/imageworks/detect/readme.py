"""What a README says: the model card's front matter, and signals found in the text by fixed patterns."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

LARGEST_HASHED: Final = 10 << 20
"""READMEs of this many bytes and more are recorded without their digest."""
LARGEST_READ: Final = 1 << 18
"""Bytes in which signals are searched."""
LARGEST_FRONT: Final = 1 << 20
"""Bytes of front matter; a card with more is not read."""
LARGEST_KEPT: Final = 16 << 10
"""Bytes of the few keys that are kept of it: YAML is parsed slowly, and evaluation tables have hundreds of KB."""
DEEPEST: Final = 8

_FRONT: Final = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_KEYS: Final = ("license", "license_name", "license_link", "base_model", "tags", "language", "library_name",
                "pipeline_tag")  # fmt: skip
_PLAIN_LICENSE: Final = re.compile(r"(?m)^license:[ \t]*([A-Za-z0-9][A-Za-z0-9.+-]{1,60})[ \t]*$")
_TOP_KEY: Final = re.compile(r"^([A-Za-z_][\w-]*)[ \t]*:", re.ASCII)
_DANGEROUS: Final = re.compile(r"""(?m)(?:^|[\s\[{,:-])[&*!][\w!<]""")

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
        license: The licence's identifier; the named one when the card says ``other``.
        license_link: Where its text is.
        base_model: The models that this one was made from.
        tags: The card's tags.
        language: Its languages.
        library: The library that loads it.
        task: The pipeline tag.
        warnings: Why it could not be read, or not wholly.
    """

    license: str | None = None
    license_link: str | None = None
    base_model: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    library: str | None = None
    task: str | None = None
    warnings: tuple[str, ...] = ()


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
    """Return what a README says.

    Args:
        data: Its content.
    """
    digest = hashlib.sha256(data).hexdigest() if len(data) < LARGEST_HASHED else None
    text = data[:LARGEST_READ].decode(errors="replace")
    card = read_card(text)
    return Readme(digest, signals_of(_FRONT.sub("", text, count=1), card.license), card)


def signals_of(text: str, license_hint: str | None = None) -> dict[str, object]:
    """Return what fixed patterns find in a README; keys that find nothing are left out.

    Args:
        text: The README without its front matter.
        license_hint: The licence that the front matter names, which is the first hint.
    """
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
    """Return the licence that a README's sentence or a licence's own text names first.

    Args:
        text: The text; only its beginning is looked at for a licence's own words.
    """
    line = _LICENSE_LINE.search(text)
    if line:
        return _license_identifier(line[1])
    return license_of_file(text)


def license_of_file(text: str) -> str | None:
    """Return which of the usual licences a LICENSE file is, by its first words.

    Args:
        text: The file's content.
    """
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
    """Return what a model card's front matter says, through huggingface_hub's own reading of it.

    It is anybody's YAML: only the few keys that we keep reach a parser, nothing with anchors, aliases, tags or depth.

    Args:
        text: The README.
    """
    front = _FRONT.match(text[: LARGEST_FRONT + 1])
    if front is None:
        return Card()
    kept = _kept_lines(front[1])
    if len(kept) > LARGEST_KEPT:
        return _refused(kept, "is too large to read")
    if _DANGEROUS.search(kept) or _depth(kept) > DEEPEST:
        return _refused(kept, "uses anchors, aliases, tags or deep nesting and was not read")
    return _parse_card(kept)


def _refused(kept: str, why: str) -> Card:
    """Return a card that was not parsed: a licence on a line of its own is plain text, and is all that is taken."""
    line = _PLAIN_LICENSE.search(kept)
    return Card(license=line[1].lower() if line else None, warnings=(f"the model card's front matter {why}",))


def _kept_lines(front: str) -> str:
    """Return the lines of the top-level keys that we keep."""
    lines: list[str] = []
    keeping = False
    for line in front.splitlines():
        key = _TOP_KEY.match(line)
        if key:
            keeping = key[1] in _KEYS
        if keeping:
            lines.append(line)
    return "\n".join(lines)


def _depth(text: str) -> int:
    """Return a bound of how deep a text nests: brackets, and list dashes on one line."""
    opened = deepest = 0
    for letter in text:
        if letter in "[{":
            opened += 1
            deepest = max(deepest, opened)
        elif letter in "]}":
            opened -= 1
    dashes = max((len(match.group().split()) for match in re.finditer(r"(?m)^[ \t]*(?:- )+", text)), default=0)
    return max(deepest, dashes)


def _parse_card(kept: str) -> Card:
    """Parse the kept lines."""
    from huggingface_hub import ModelCard
    from yaml import YAMLError  # type: ignore[import-untyped]  # comes with huggingface_hub, without its types

    try:
        data = ModelCard(f"---\n{kept}\n---\n", ignore_metadata_errors=True).data.to_dict()  # type: ignore[no-untyped-call]
    except (YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return Card(warnings=(f"the model card's front matter cannot be read: {type(error).__name__}",))
    name = _words(data.get("license"))
    license_id = name[0] if name else None
    if license_id in {None, "other"}:
        named = _words(data.get("license_name"))
        license_id = named[0] if named else license_id
    link = _words(data.get("license_link"))
    library, task = _words(data.get("library_name")), _words(data.get("pipeline_tag"))
    return Card(
        license=license_id.lower() if license_id else None,
        license_link=link[0] if link else None,
        base_model=_words(data.get("base_model")),
        tags=_words(data.get("tags")),
        language=tuple("no" if word == "False" else word for word in _words(data.get("language"))),
        library=library[0] if library else None,
        task=task[0] if task else None,
    )


def _words(value: object) -> tuple[str, ...]:
    """Return short texts from a text or a list; ``no`` for Norwegian reads as false, and is kept."""
    items = value if isinstance(value, list) else [value]
    plain = [str(item) for item in items[:100] if isinstance(item, str) or _is_short_number(item)]
    return tuple(_whole_characters(text.strip()[:200]) for text in plain if text.strip())


def _is_short_number(item: object) -> bool:
    return isinstance(item, int) and abs(item) < 1 << 63  # Python refuses to write the longest ones out


def _whole_characters(text: str) -> str:
    """Return a text whose halves of characters, which nobody can write down, are replaced."""
    return text.encode("utf-8", "replace").decode()
