"""What configs say of a quantization: ``quantization_config`` of every kind, and the files beside ``config.json``."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from imageworks.detection.claims.evidence import Claim, Evidence, Level
from imageworks.detection.claims.quantization_methods import (
    PROOF,
    Said,
    bits_of,
    group_of,
    label_of_words,
    read_mistral,
    read_mlx,
    read_modelopt,
    read_quantization,
    whole_number,
)
from imageworks.detection.file_names import Container
from imageworks.foundation.json_values import EMPTY, part
from imageworks.naming.quantization_labels import quantization_label

_NESTED: Final = ("text_config", "llm_config", "language_config", "thinker_config", "vlm_config", "decoder")


def claims_of_config(config: Mapping[str, object], source: str = "config.json") -> Iterator[Claim]:
    """Yield what a ``config.json`` says of its quantization."""
    own = config.get("quantization")
    if isinstance(own, Mapping):
        if whole_number(own.get("bits")):
            yield _claim(read_mlx(own), source, f"MLX quantization, {own['bits']} bits", Container.MLX)
            return
        told = read_modelopt(own) or read_mistral(own)  # TensorRT-LLM's checkpoints, Mistral's params.json
        if told:
            yield _claim(told, source, f"quantization {told[0]}")
            return
    elif isinstance(own, str) and "context_window_size" in config and (label := quantization_label(own)):
        details = {"method": "mlc", "bits": int(label[1])}
        yield _claim((label, details), source, f"quantization {own}", Container.MLC)  # mlc-chat-config.json
        return
    for holder in (config, *(part(config, key) for key in _NESTED)):
        blocks = [part(holder, key) for key in ("quantization_config", "compression_config")]
        for found in (*blocks, holder if isinstance(holder.get("quant_method"), str) else EMPTY):
            experts = {"expert_dtype": config["expert_dtype"]} if "expert_dtype" in config else {}
            claim = claim_of_quantization({**experts, **found}, source) if found else None
            if claim:
                yield claim
                return


def claims_of_side_file(name: str, content: Mapping[str, object], source: str) -> Iterator[Claim]:
    """Yield what a quantization's own file says, such as ``quantize_config.json``.

    Files of that name are written by several tools: without the keys of one, nothing is proved.
    """
    inner = part(content, "quantization")
    if name == "hf_quant_config.json":
        told = read_modelopt(inner)
        if told:
            yield _claim(told, source, f"quant_algo {inner.get('quant_algo')}")
    elif name == "openvino_config.json":
        bits = whole_number(part(content, "quantization_config").get("bits"))
        if bits:
            details = {"method": "openvino", "bits": bits, "group_size": group_of(part(content, "quantization_config"))}
            yield _claim((f"int{bits}", details), source, f"{bits} bits")
    elif "quantization_config" in content:
        yield from claims_of_config(content, source)
    elif not isinstance(content.get("quant_method"), str) or content.keys() & PROOF:
        named = {"awq_config.json": "awq", "quantize_config.json": "gptq"}.get(name) if "bits" in content else None
        claim = claim_of_quantization({"quant_method": named, **content} if named else content, source)
        if claim:
            yield claim


def claims_of_recipe(text: str, source: str = "recipe.yaml") -> Iterator[Claim]:
    """Yield what an llm-compressor recipe says, read as text: it is anybody's YAML."""
    scheme = _RECIPE_SCHEME.search(text)
    label = None
    if scheme:
        label = {"int8": "w8a8"}.get(scheme[1].lower()) or label_of_words(scheme[1])
    bits, group = _RECIPE_BITS.search(text), _RECIPE_GROUP.search(text)
    if label is None and "Modifier" in text and bits:
        label = "fp8" if re.search(r"\btype:\s*['\"]?float", text) and bits[1] == "8" else f"w{bits[1]}a16"
        if "input_activations" in text and label.startswith("w8"):
            label = "w8a8"
    if label:
        details: dict[str, object] = {"method": "compressed-tensors", "bits": bits_of(label)}
        if group:
            details["group_size"] = int(group[1])
        yield _claim(
            (label, details), source, f"recipe says {scheme[1] if scheme else 'modifiers with num_bits'}", compact=False
        )


_RECIPE_SCHEME: Final = re.compile(r"\bscheme:\s*['\"]?([A-Za-z0-9_]{3,20})")
_RECIPE_GROUP: Final = re.compile(r"\bgroup_size:\s*(\d{1,4})\b")
_RECIPE_BITS: Final = re.compile(r"\bnum_bits:\s*(\d{1,2})\b")


def claim_of_quantization(found: Mapping[str, object], source: str) -> Claim | None:
    """Return what one ``quantization_config`` says, or ``None`` when it says nothing that we know."""
    told = read_quantization(found)
    if told is None:
        return None
    method = found.get("quant_method") or found.get("quant_algo") or told[0]
    return _claim(told, source, f"quantization_config of {str(method)[:40]}")


def _claim(told: Said, source: str, said: str, container: Container | None = None, *, compact: bool = True) -> Claim:
    """Return a claim, with the compact label where bits and group are known; what a mix holds contradicts nothing."""
    label, details = told
    kept = {key: value for key, value in details.items() if value is not None}
    bits, group = kept.get("bits"), kept.get("group_size")
    if compact and isinstance(bits, int) and isinstance(group, int):
        kept["compact"] = f"w{bits}g{group}"
    mixed = kept.get("mixed")
    others = tuple(str(one) for one in mixed) if isinstance(mixed, list) else ()
    return Claim(label, Evidence(Level.CONFIG, source, said), kept, container, others)
