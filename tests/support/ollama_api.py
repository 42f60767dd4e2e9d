"""How the loopback Ollama reads requests and writes answers: names, details, parameters and lines."""

import http.client
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imageworks.providers.ollama.errors import OllamaNameError
from imageworks.providers.ollama.names import ModelName, parse_name
from support.ollama_http import Asked

_REPLACED = {"template": "template", "system": "system", "parameters": "params"}

Line = dict[str, object]


class FailedError(Exception):
    """What the daemon says went wrong, with the status it has as a first answer."""

    def __init__(self, text: str, status: int = 500) -> None:
        super().__init__(text)
        self.status = status


def with_fields(layers: list[tuple[str, bytes]], body: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Return layers with a Modelfile's fields in place of the base's; licences add up, parameters merge."""
    for key, kind in _REPLACED.items():
        value = body.get(key)
        if not value:
            continue
        if key == "parameters":
            base: dict[str, object] = next((json.loads(data) for had, data in layers if had == kind), {})
            value = json.dumps({**base, **value})
        layers = [*((had, data) for had, data in layers if had != kind), (kind, value.encode())]
    licenses = body.get("license") or []
    return layers + [("license", text.encode()) for text in ([licenses] if isinstance(licenses, str) else licenses)]


def fetched(host: str, path: str, span: str | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request("GET", path, headers={"Range": span} if span else {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    except OSError as error:
        raise FailedError(f'pull model manifest: Get "http://{host}{path}": dial tcp {host}: {error}') from None
    finally:
        connection.close()


def body_of(asked: Asked) -> dict[str, Any]:
    found = asked.json()
    if found is None:
        raise FailedError("missing request body" if not asked.body else "invalid request body", 400)
    return found


def parsed_name(value: object, otherwise: str) -> ModelName:
    try:
        return parse_name(str(value))
    except OllamaNameError:
        raise FailedError(otherwise, 400) from None


def layers_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(manifest["layers"])


def config_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return dict(manifest["config"])


def details_of(config: Mapping[str, object]) -> dict[str, object]:
    return {
        "parent_model": "",
        "format": config.get("model_format", ""),
        "family": config.get("model_family", ""),
        "families": config.get("model_families"),
        "parameter_size": config.get("model_type", ""),
        "quantization_level": config.get("file_type", ""),
    }


def aligned(parameters: Mapping[str, object]) -> str:
    """Return parameters as ``show`` prints them: names padded to 30, texts quoted, a line for each of several."""
    lines = []
    for name, value in parameters.items():
        for one in value if isinstance(value, list) else [value]:
            shown = json.dumps(one, ensure_ascii=False) if isinstance(one, str | bool) else str(one)
            lines.append(f"{name:<30} {shown}")
    return "\n".join(lines)


def taken_in(data: bytes) -> bytes:
    """Return what a decoder that reads in growing steps has read once the object is complete."""
    taken = 512
    while taken < len(data):
        try:
            json.JSONDecoder().raw_decode(data[:taken].decode("utf-8", "replace"))
        except ValueError:
            taken = 2 * taken + 512
        else:
            break
    return data[:taken]


def time_of(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f123Z")


def now() -> str:
    return datetime.now(UTC).isoformat()


def line_of(line: Line) -> bytes:
    return json.dumps(line).encode() + b"\n"
