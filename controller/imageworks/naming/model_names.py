"""Names of models: variant names, Ollama's Strategy A, slugs, display names, producers, testing filters. Pure."""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from imageworks.foundation.errors import ImageworksError
from imageworks.naming.quantization_labels import find_quantizations, quantization_label

LONGEST_NAME: Final = 80
"""Characters of the longest name that is kept in full."""

_HASH_DIGITS: Final = 8
_SEPARATORS: Final = re.compile(r"[/\\_\s@:]+", re.ASCII)
_FOREIGN: Final = re.compile(r"[^a-z0-9._+-]+", re.ASCII)
_DASHES: Final = re.compile(r"-{2,}")
_DOTS: Final = re.compile(r"\.{2,}")
_EDGES: Final = "-._+"
_SIZE: Final = (
    r"(?i)(?<![a-z0-9.])(?:\d{1,3}x)?[ae]?\d{1,4}(?:\.\d{1,3})?[bmt](?:-a\d{1,3}(?:\.\d{1,3})?b)?(?![a-z0-9])"
)
_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
)
_WRITTEN_BY_OLLAMA: Final = ("hf.co", "huggingface.co", "registry.ollama.ai", "ollama.com")
_DEFAULT_BRANCHES: Final = ("main", "HEAD")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")

# As few alternatives as can be: each is tried at each letter of each name that `list` looks at.
TESTING_PATTERNS: Final = (r"testzzz", r"^(?:model-awq|model-fp16|demo-model|r(?:[-_.@ (].*)?$)")
"""What marks an entry as made by a test or a demo: a token anywhere, or one of the old placeholders as the name."""

_GENERIC_FAMILIES: Final = frozenset({"model", "demo", "demo-model", "r"})


class NamingError(ImageworksError):
    """No name can be made from what was given."""


class OllamaName(NamedTuple):
    """What Strategy A makes of a name in Ollama's store.

    Args:
        served_model_id: The name as Ollama has it, which the runtime is asked for.
        family: Base, with the tag unless that is a quantization.
        quantization: Our label of the tag, or ``None`` when the tag is not a quantization.
        variant: The variant name, ``<family>-ollama-gguf[-<quant>]``.
    """

    served_model_id: str
    family: str
    quantization: str | None
    variant: str


def normalize_family(text: str) -> str:
    """Return a family: lower case, with ``/``, ``_``, blanks, ``@`` and ``:`` as ``-`` and no repeated dashes."""
    return _normalize(text, keep_labels=False)


@lru_cache(maxsize=4096)
def _normalize(text: str, *, keep_labels: bool) -> str:
    """Normalize a family; underscores inside quantization tokens stay when asked for, as Strategy A does."""
    lowered = text.lower()
    kept = find_quantizations(lowered) if keep_labels else ()
    pieces: list[str] = []
    position = 0
    for token in kept:
        pieces += (_SEPARATORS.sub("-", lowered[position : token.start]), lowered[token.start : token.end])
        position = token.end
    pieces.append(_SEPARATORS.sub("-", lowered[position:]))
    dashed = "".join(pieces)
    plain = _DOTS.sub(".", _DASHES.sub("-", _FOREIGN.sub("-", dashed))).strip(_EDGES)
    if not dashed.isascii():  # letters that a path may spell in two ways: two names must not become one
        plain = f"{plain}-{_digest(text)}".strip(_EDGES)
    if not plain:
        raise NamingError(f"{text!r} leaves nothing to name a model by", remedy="Give a family with letters or digits.")
    return f"{plain}-model" if plain.split(".", 1)[0] in _RESERVED else plain


def family_of(
    repo: str, *, revision: str | None = None, download_format: str | None = None, quantization: str | None = None
) -> str:
    """Return the family of a repository: its normalized tail, and the branch if it is not the default."""
    tail = repo.rstrip("/").rsplit("/", 1)[-1]
    stripped = without_suffixes(normalize_family(tail), (download_format, quantization))
    if not revision or revision in _DEFAULT_BRANCHES or _COMMIT.fullmatch(revision):
        return stripped
    return normalize_family(f"{stripped}@{revision}")


def without_suffixes(family: str, tokens: Iterable[str | None]) -> str:
    """Return a family without trailing tokens that the rest of the name says anyway; never leaves it empty."""
    endings: set[str] = set()
    for token in tokens:
        if token:
            low = token.lower()
            endings.update((low, low.replace("_", "-")))
    shortened = True
    while shortened:
        shortened = False
        for ending in endings:
            for separator in "-.":
                if family.lower().endswith(separator + ending) and family[: -len(ending) - 1].strip(_EDGES):
                    family = family[: -len(ending) - 1].rstrip(_EDGES)
                    shortened = True
    return family


def variant_name(family: str, backend: str, download_format: str | None = None, quantization: str | None = None) -> str:
    """Return ``<family>-<backend>-<format>-<quant>``, leaving out what is absent or said already."""
    said = [_token(part) for part in (download_format, quantization) if part]
    suffix = dict.fromkeys((_token(backend), *said))
    return _shorten(without_suffixes(normalize_family(family), said), "-" + "-".join(suffix))


def default_variant_name(
    repo: str,
    backend: str,
    *,
    revision: str | None = None,
    download_format: str | None = None,
    quantization: str | None = None,
) -> str:
    """Return the name a repository's variant gets when nobody has chosen one.

    Safetensors goes unsaid: it is what every backend but the GGUF ones loads, and the quantization tells the rest.
    """
    family = family_of(repo, revision=revision, download_format=download_format, quantization=quantization)
    shown = None if download_format == "safetensors" else download_format
    return variant_name(family, backend, shown, quantization)


def with_producer(name: str, repo: str) -> str:
    """Return a variant name that says who made it: what tells two repositories of one model apart."""
    return _shorten(name, f"-{_token(repo.partition('/')[0])}")


def ollama_name(served_model_id: str) -> OllamaName:
    """Name a model of Ollama's store by Strategy A."""
    base, tag = split_ollama_tag(served_model_id)
    label = quantization_label(tag)
    family = _normalize(base if label else f"{base}-{tag}", keep_labels=True)
    suffix = "-ollama-gguf" + (f"-{label}" if label else "")
    return OllamaName(served_model_id, family, label, _shorten(family, suffix))


def split_ollama_tag(name: str) -> tuple[str, str]:
    """Return base and tag of an Ollama name; a port in the host is no tag."""
    base, colon, tag = name.strip().rpartition(":")
    return (base, tag) if colon and base and tag and "/" not in tag else (name.strip().rstrip(":"), "latest")


def display_name(
    family: str, *, parameter_size: str | None = None, extra: str | None = None, quantization: str | None = None
) -> str:
    """Return the simplified name people read: ``<family> <size>[-extra] (<QUANT>)``, as in ``llama 12.2b (Q4 K M)``."""
    base = _display_base(family, parameter_size, extra, quantization)
    return f"{base} ({display_quantization(quantization)})" if quantization else base


def display_quantization(label: str) -> str:
    """Return a quantization as people read it: ``q4_k_m`` becomes ``Q4 K M``."""
    return label.upper().replace("_", " ")


def simple_slug(
    family: str, *, parameter_size: str | None = None, extra: str | None = None, quantization: str | None = None
) -> str:
    """Return the display name as a file's name: ``llama-12.2b-q4_k_m``."""
    base = normalize_family(_display_base(family, parameter_size, extra, quantization))
    return _shorten(base, f"-{_token(quantization)}" if quantization else "")


def producer_of(
    *, repo: str | None = None, served_model_id: str | None = None, relative_path: str | None = None
) -> str | None:
    """Return who made a variant, in lower case, or ``None`` when nothing says so."""
    if repo and "/" in repo:
        return repo.split("/", 1)[0].lower()
    if served_model_id:
        parts = split_ollama_tag(served_model_id)[0].lower().split("/")
        if parts[0] in _WRITTEN_BY_OLLAMA or "." in parts[0] or ":" in parts[0] or parts[0] == "localhost":
            parts = parts[1:]
        if len(parts) > 1 and parts[0] != "library":
            return parts[0]
    if relative_path:
        folders = [part for part in relative_path.replace("\\", "/").split("/") if part not in {"", "."}]
        if len(folders) > 1 and ".." not in folders:
            return folders[0].lower()
    return None


def compile_testing_patterns(patterns: str | None = None) -> re.Pattern[str]:
    """Return one pattern that finds the names of testing and demo entries."""
    extra = [pattern.strip() for pattern in (patterns or "").split(",")]
    for pattern in extra:
        try:
            re.compile(pattern)
        except re.error as error:
            raise NamingError(
                f"IMAGEWORKS_TEST_MODEL_PATTERNS: {pattern!r} is not a regular expression: {error}",
                remedy="Separate the expressions by commas; a comma cannot be part of one.",
            ) from error
    return re.compile("|".join(f"(?:{pattern})" for pattern in (*TESTING_PATTERNS, *extra) if pattern), re.IGNORECASE)


def is_testing_name(name: str, *, display: str | None = None, filters: re.Pattern[str] | None = None) -> bool:
    """Tell whether an entry is a testing or demo one by its names."""
    searched = filters or _default_filter()
    return any(searched.search(text) for text in (name, display) if text)


def is_generic_family(family: str) -> bool:
    """Tell whether a folder's name says nothing of a model, so that a scan passes it over."""
    return normalize_family(family) in _GENERIC_FAMILIES


@lru_cache(maxsize=1)
def _default_filter() -> re.Pattern[str]:
    """Return the default patterns, compiled once."""
    return compile_testing_patterns()


def parameter_size_in(text: str) -> str | None:
    """Return the model size a name says, such as ``7b``, ``8x7b`` or ``30b-a3b``, in lower case."""
    found = re.search(_SIZE, text)
    return found.group().lower() if found else None


def _display_base(family: str, parameter_size: str | None, extra: str | None, quantization: str | None) -> str:
    """Return the display name without its quantization."""
    text = without_suffixes(family.strip(), (quantization,))
    found = re.search(_SIZE, text)
    rest = extra.strip() if extra else ""
    if found and found.start() > 0:
        before, size = text[: found.start()].rstrip("-_ "), found.group().lower()
        rest = "-".join(part for part in (text[found.end() :].strip("-_ "), rest) if part)
        return f"{before} {size}" + (f"-{rest}" if rest else "")
    if parameter_size and not found:
        return f"{text} {parameter_size.strip().lower()}" + (f"-{rest}" if rest else "")
    return text + (f"-{rest}" if rest else "")


def _token(text: str) -> str:
    """Return a backend, container or quantization as part of a name: a known label in our spelling, else plain."""
    label = quantization_label(text)
    if label:
        return label
    plain = _DASHES.sub("-", _FOREIGN.sub("-", re.sub(r"[/\\\s@:]+", "-", text.lower()))).strip(_EDGES)
    if not plain:
        raise NamingError(f"{text!r} cannot be part of a name")
    return plain


def _shorten(family: str, suffix: str) -> str:
    """Return family and suffix within `LONGEST_NAME`: the family gives way, and a digest keeps it distinct."""
    if len(family) + len(suffix) <= LONGEST_NAME:
        return family + suffix
    room = max(LONGEST_NAME - len(suffix) - _HASH_DIGITS - 1, _HASH_DIGITS)
    return f"{family[:room].rstrip(_EDGES)}-{_digest(family)}{suffix}"


def _digest(text: str) -> str:
    """Return a few digits that tell two long or foreign names apart."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
