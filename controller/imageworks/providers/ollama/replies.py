"""What Ollama's answers mean: from JSON to values, and from status and wording to one of our errors. Pure."""

import ast
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from imageworks.foundation.json_values import EMPTY, parse_object, part, text, whole
from imageworks.providers.ollama.errors import (
    OllamaBrokenStreamError,
    OllamaDigestMismatchError,
    OllamaDiskFullError,
    OllamaError,
    OllamaNameError,
    OllamaNeedsNewerError,
    OllamaNotFoundError,
    OllamaUnauthorisedError,
    OllamaUnreachableError,
)
from imageworks.providers.ollama.model import OllamaLayer, OllamaModel, PullProgress, ShownModel
from imageworks.transfer.links import without_queries

_LONGEST_SAID: Final = 300
_DIGEST: Final = re.compile(r"(?:sha256[:-])?([0-9a-f]{64})")
# Each word of Ollama's is looked for in lower case; the first that fits wins.
_WORDS: Final[tuple[tuple[re.Pattern[str], type[OllamaError], str | None, bool], ...]] = (
    (
        re.compile(r"newer version of ollama|manifest: 412\b|not supported by your version|you may need to upgrade"),
        OllamaNeedsNewerError,
        "Update Ollama: https://ollama.com/download.",
        False,
    ),
    (
        re.compile(r"no space left|not enough (?:disk )?space|quota exceeded|disk full"),
        OllamaDiskFullError,
        "Free space on the disk of Ollama's store, then run again; what came so far is kept.",
        True,
    ),
    (
        re.compile(r"digest mismatch|sha256 (?:digest )?mismatch|digest does not match"),
        OllamaDigestMismatchError,
        "Run again; if it stays, the registry or something between sends other bytes than it announces.",
        True,
    ),
    (
        re.compile(r"invalid model name|invalid name|name is invalid"),
        OllamaNameError,
        "Check the spelling at https://ollama.com/library.",
        False,
    ),
    (
        re.compile(
            r"file does not exist|model .{1,500} not found|manifest unknown|pull model manifest: 4(?:00|10|22)\b"
        ),
        OllamaNotFoundError,
        "Check the spelling, and that this tag exists in its registry; `ollama list` shows what is installed.",
        False,
    ),
    (
        re.compile(r"no such file or directory|llama-quantize|template error|unsupported|unknown type|requires mlx"),
        OllamaError,
        "This Ollama cannot make or take it as it is: read what it says, and correct the model or the installation.",
        False,
    ),
    (
        re.compile(r"unauthori[sz]ed|authentication required|realm host|\bsign ?in\b"),
        OllamaUnauthorisedError,
        "Sign in with `ollama signin`; for a private Hub repository add Ollama's public key to your account.",
        False,
    ),
    (
        re.compile(
            r"dial tcp|no such host|connection re(?:fused|set)|timeout|timed out|unexpected eof|max retries|tls:"
            r"|\b50[0234]\b"
        ),
        OllamaError,
        "Ollama cannot reach the registry: check its network, then run again; what came so far is kept.",
        True,
    ),
)


def said_error(said: str, what: str, *, status: int | None = None, key: str | None = None) -> OllamaError:
    """Return the error for what Ollama says went wrong."""
    shown = _shown(said, key)
    message = f"{what}: {shown}" if shown else f"{what}: HTTP {status} without a word"
    for pattern, kind, remedy, retryable in _WORDS:
        if pattern.search(said.lower()):
            return kind(message, remedy=remedy, retryable=retryable)
    match status:
        case 401:
            return OllamaUnauthorisedError(message, remedy="Set OLLAMA_API_KEY, or sign in with `ollama signin`.")
        case 403 if not shown:
            return OllamaUnauthorisedError(
                f"{what}: the daemon refuses the host name by which it was called",
                remedy="Call it by localhost or its IP address in OLLAMA_HOST.",
            )
        case 403:
            return OllamaUnauthorisedError(message, remedy="The daemon, or a proxy before it, does not allow this.")
        case 404 | 405:
            return OllamaUnreachableError(
                message, remedy="What answers there may be no Ollama, or an old one: check OLLAMA_HOST."
            )
        case 412:
            return OllamaNeedsNewerError(message, remedy="Update Ollama: https://ollama.com/download.")
        case _:
            retryable = status is None or status >= 500  # noqa: PLR2004 # the server's own failures
            return OllamaError(message, remedy="Read the daemon's log; run again later.", retryable=retryable)


def refusal(status: int, body: bytes, what: str, *, key: str | None = None) -> OllamaError:
    """Return the error for an answer that is not what was asked for."""
    found = parse_object(body)
    said = body[:_LONGEST_SAID].decode("utf-8", "replace") if found is None else text(found, "error") or _listed(found)
    return said_error("" if said.lstrip().startswith("<") else said, what, status=status, key=key)


def whole_object(body: bytes, what: str) -> Mapping[str, object]:
    """Return the JSON object that an answer is, or raise OllamaBrokenStreamError."""
    found = parse_object(body)
    if found is None:
        raise OllamaBrokenStreamError(
            f"{what}: what came is not what Ollama says: {body[:80].decode('ascii', 'backslashreplace')!r}",
            remedy="What answers there may be no Ollama: check OLLAMA_HOST and the proxy.",
        )
    return found


def hex_digest(value: object) -> str | None:
    """Return the 64 digits of a sha256 in any of Ollama's spellings, ``None`` when it is none."""
    found = _DIGEST.fullmatch(value.lower()) if isinstance(value, str) else None
    return found[1] if found else None


def read_listed(found: Mapping[str, object], what: str) -> tuple[OllamaModel, ...]:
    """Return the models of ``/api/tags``, or raise OllamaBrokenStreamError."""
    rows = found.get("models")
    if rows is None:
        rows = []  # how Go writes an empty list that was never made
    if not isinstance(rows, list):
        raise _unknown(what)
    models = []
    for row in rows:
        name, digest = (row.get("name") or row.get("model"), row.get("digest")) if isinstance(row, dict) else (0, 0)
        pure = hex_digest(digest)
        if not isinstance(name, str) or pure is None:
            raise _unknown(what)
        models.append(
            OllamaModel(
                name=name,
                digest=pure,
                size=whole(row, "size") or 0,
                modified_at=utc_time(row.get("modified_at")),
                details=known_details(part(row, "details")),
                capabilities=texts(row.get("capabilities")),
                remote_host=text(row, "remote_host") or None,
            )
        )
    return tuple(models)


def read_names(found: Mapping[str, object]) -> frozenset[str]:
    """Return the names of ``/api/ps``."""
    rows = found.get("models")
    found_rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    names = (row.get("name") or row.get("model") for row in found_rows)
    return frozenset(name for name in names if isinstance(name, str))


def read_shown(name: str, found: Mapping[str, object]) -> ShownModel:
    """Return what ``/api/show`` says."""
    licence = found.get("license")
    return ShownModel(
        name=name,
        details=known_details(part(found, "details")),
        capabilities=texts(found.get("capabilities")),
        template=text(found, "template") or "",
        system=text(found, "system") or "",
        license="\n".join(texts(licence)) if isinstance(licence, list) else text(found, "license") or "",
        parameters=read_parameters(text(found, "parameters") or ""),
        modelfile=text(found, "modelfile") or "",
        model_info=part(found, "model_info"),
        modified_at=utc_time(found.get("modified_at")),
        requires=text(found, "requires") or None,
        remote_host=text(found, "remote_host") or None,
        remote_model=text(found, "remote_model") or None,
    )


def read_parameters(aligned: str) -> Mapping[str, object]:
    """Return the parameters of ``/api/show``, which are lines of a name, blanks and a value as Go writes it."""
    found: dict[str, list[object]] = {}
    for line in aligned.split("\n"):
        name, _, value = line.strip().partition(" ")
        if name:
            found.setdefault(name, []).append(_parameter(value.strip()))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def read_layers(manifest: Mapping[str, object]) -> tuple[OllamaLayer | None, tuple[OllamaLayer, ...]]:
    """Return config and layers of a manifest."""
    config = manifest.get("config")
    layers = manifest.get("layers")
    if layers is None:
        layers = []
    if not isinstance(layers, list):
        raise ValueError("`layers` is no list")  # noqa: TRY004 # content, not a caller's mistake
    named = isinstance(config, dict) and config.get("digest")
    return _layer(config, "config") if named else None, tuple(_layer(layer, "a layer") for layer in layers)


def read_progress(found: Mapping[str, object]) -> PullProgress:
    """Return one line of a pull or create."""
    digest = text(found, "digest")
    return PullProgress(
        status=_shown(text(found, "status") or "", None),
        digest=hex_digest(digest) or digest or None,
        total=whole(found, "total"),
        completed=whole(found, "completed") or 0,
    )


def known_details(found: Mapping[str, object]) -> Mapping[str, object]:
    """Return a model's details without what is empty, so that the daemon's and the store's are equal."""
    return {key: value for key, value in found.items() if value not in (None, "", [], 0)}


def details_of_config(config: Mapping[str, object], parent: str | None = None) -> Mapping[str, object]:
    """Return the details that a config blob holds, by the names of the API."""
    named = {
        "parent_model": parent,
        "format": config.get("model_format"),
        "family": config.get("model_family"),
        "families": config.get("model_families"),
        "parameter_size": config.get("model_type"),
        "quantization_level": config.get("file_type"),
        "context_length": config.get("context_length"),
        "embedding_length": config.get("embedding_length"),
    }
    return known_details(named)


def texts(value: object) -> tuple[str, ...]:
    """Return the texts of a JSON list; empty when it is none."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def utc_time(value: object) -> str | None:
    """Return a time of the API in UTC without fractions, ``None`` when it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value))
    except ValueError:
        return None
    return utc_seconds(moment.timestamp()) if moment.tzinfo else None


def utc_seconds(seconds: float) -> str:
    """Return seconds since 1970 as ``2026-08-01T12:00:00Z``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _layer(value: object, which: str) -> OllamaLayer:
    found = value if isinstance(value, Mapping) else EMPTY
    digest, size = hex_digest(found.get("digest")), whole(found, "size")
    if digest is None:
        raise ValueError(f"{which} has no sha256 digest")
    if size is None or size < 0:
        raise ValueError(f"{which} has no size")
    return OllamaLayer(text(found, "mediaType") or "", digest, size)


def _parameter(value: str) -> object:
    if value in {"true", "false"}:
        return value == "true"
    if value.startswith('"'):
        try:
            return ast.literal_eval(value)  # Go's quoting is Python's, for all that Ollama writes
        except (ValueError, SyntaxError):
            return value
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            continue
    return value


def _listed(found: Mapping[str, object]) -> str:
    """Return the first error in a registry's shape, ``{"errors": [{"code": …, "message": …}]}``."""
    rows = found.get("errors")
    first = rows[0] if isinstance(rows, list) and rows else None
    return text(first, "message") or text(first, "code") or "" if isinstance(first, Mapping) else ""


def _shown(said: str, key: str | None) -> str:
    plain = " ".join("".join(c if c.isprintable() else " " for c in said[: 4 * _LONGEST_SAID]).split())
    plain = without_queries(plain)
    if key:
        plain = plain.replace(key, "[redacted]")
    return plain if len(plain) <= _LONGEST_SAID else plain[:_LONGEST_SAID] + "…"


def _unknown(what: str) -> OllamaBrokenStreamError:
    return OllamaBrokenStreamError(
        f"{what}: the list of models is not what Ollama says", remedy="What answers there may be no Ollama."
    )
