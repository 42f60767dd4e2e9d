"""What clients read of a model in a list: its context, size and abilities, under the names that each of them knows.

``context_length`` is OpenRouter's, which Open WebUI and coding agents read; ``max_model_len`` is vLLM's and SGLang's,
which LiteLLM and agents read; ``meta.n_ctx_train`` is llama.cpp's. What goes in and out is told as OpenRouter does.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from imageworks.foundation.json_values import part, whole
from imageworks.registry.entries.queries import Model, abilities, texts
from imageworks.registry.settings.server_arguments import split_options

_CONTEXT_OPTIONS: Final = frozenset({"--max-model-len", "--session-len"})
_TOKENS: Final = re.compile(r"(\d{1,9})([kKmM]?)")
_TIMES: Final = {"": 1, "k": 1000, "K": 1024, "m": 1000**2, "M": 1024**2}
_GOES_IN: Final = {"vision": "image", "video": "video", "audio": "audio"}
_COMES_OUT: Final = {"image": "image", "speech": "audio", "embedding": "embeddings", "reranker": "rerank"}


def client_hints(model: Model) -> dict[str, object]:
    """Return what is known of a model for clients; nothing where nothing is."""
    metadata = part(model, "metadata")
    trained, served = _trained(metadata), _served(model)
    context = min((one for one in (served, trained) if one), default=None) if trained else served
    size = whole(model, "download_size_bytes")
    meta = {"n_ctx_train": trained, "n_params": whole(metadata, "parameters"), "size": size}
    able = set(abilities(model))
    hints: dict[str, object] = {
        "context_length": context,
        "max_model_len": context,
        "meta": {key: value for key, value in meta.items() if value},
        "architecture": _modalities(able),
        "supported_parameters": _parameters(able),
    }
    return {key: value for key, value in hints.items() if value}


def _trained(metadata: Mapping[str, object]) -> int | None:
    """Return the longest context that a model is made for."""
    details = part(part(metadata, "ollama"), "details")
    found = whole(part(metadata, "architecture"), "context_length") or whole(details, "context_length")
    return found if found and found > 0 else None


def _served(model: Model) -> int | None:
    """Return the context that its server is started with, where somebody said one."""
    said = [_tokens(words) for words in _said(texts(part(model, "backend_config"), "extra_args"))]
    said.append(whole(part(part(part(model, "metadata"), "ollama"), "parameters"), "num_ctx"))
    said.append(whole(part(model, "generation_defaults"), "context_window"))
    return min((one for one in said if one and one > 0), default=None)


def _said(extra: Iterable[str]) -> Iterable[tuple[str, ...]]:
    return [option.words for option in split_options(extra) if option.name in _CONTEXT_OPTIONS]


def _tokens(words: tuple[str, ...]) -> int | None:
    """Return a number of tokens as vLLM reads it: ``32768``, ``32k`` (thousands), ``32K`` (of 1024)."""
    found = _TOKENS.fullmatch(words[-1].partition("=")[2] or words[-1])
    return int(found[1]) * _TIMES[found[2]] if found else None


def _modalities(able: set[str]) -> dict[str, object]:
    """Return what goes in and what comes out."""
    if not able:
        return {}
    made = [word for flag, word in _COMES_OUT.items() if flag in able]
    taken = [word for flag, word in _GOES_IN.items() if flag in able]
    if taken == ["video"] and "text" not in able:  # a video is made of a text
        made, taken = [*made, "video"], []
    return {"input_modalities": ["text", *taken], "output_modalities": made or ["text"]}


def _parameters(able: set[str]) -> list[str]:
    """Return the parameters of a chat that a model's template knows."""
    asked = (("tools", ["tools", "tool_choice"]), ("thinking", ["reasoning"]))
    return [name for flag, names in asked if flag in able for name in names]
