"""What configs say of a quantization: ``quantization_config`` of every kind, and the files beside ``config.json``."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from imageworks.detect.evidence import Claim, Evidence, Level
from imageworks.detect.filenames import Container
from imageworks.quant_labels import quantization_label

_NESTED: Final = ("text_config", "llm_config", "language_config", "thinker_config")
_BY_METHOD: Final = {
    "awq": "awq",
    "gptq": "gptq",
    "gptq_v2": "gptq",
    "auto_gptq": "gptq",
    "gptqmodel": "gptq",
    "marlin": "gptq",
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "mxfp4": "mxfp4",
    "mxfp8": "mxfp8",
    "exl2": "exl2",
    "exl3": "exl3",
    "aqlm": "aqlm",
    "eetq": "eetq",
    "vptq": "vptq",
    "spqr": "spqr",
    "squeezellm": "squeezellm",
    "quip": "quip",
    "hqq": "hqq",
    "auto-round": "autoround",
    "auto_round": "autoround",
    "intel/auto-round": "autoround",
    "bitnet": "bitnet",
    "higgs": "higgs",
    "quanto": "quanto",
    "torchao": "torchao",
    "bitsandbytes": "bnb",
    "modelopt": "modelopt",
    "modelopt_fp4": "nvfp4",
    "quark": "quark",
}
_RECIPE_SCHEME: Final = re.compile(r"\bscheme:\s*['\"]?([A-Za-z0-9_]{3,20})")
_RECIPE_GROUP: Final = re.compile(r"\bgroup_size:\s*(\d{1,4})\b")
_RECIPE_BITS: Final = re.compile(r"\bnum_bits:\s*(\d{1,2})\b")
_SCHEMES: Final = {
    "fp8": "fp8", "fp8_dynamic": "fp8", "fp8_block": "fp8", "w4a16": "w4a16", "w4a16_asym": "w4a16", "w8a16": "w8a16",
    "w8a8": "w8a8", "int8": "w8a8", "w4a8": "w4a8", "nvfp4": "nvfp4", "nvfp4a16": "nvfp4", "mxfp4": "mxfp4",
}  # fmt: skip
_ALGORITHMS: Final = {"nvfp4": "nvfp4", "nvfp4_awq": "nvfp4", "fp8": "fp8", "fp8_pb_wo": "fp8", "mxfp4": "mxfp4",
                      "w4a8_awq": "w4a8", "w4a16_awq": "awq", "int4_awq": "awq", "int8_sq": "w8a8", "mxfp8": "mxfp8",
                      "w4a8_mxfp4_fp8": "mxfp4", "fp8_per_channel_per_token": "fp8"}  # fmt: skip


def claims_of_config(config: Mapping[str, object], source: str = "config.json") -> Iterator[Claim]:
    """Yield what a ``config.json`` says of its quantization.

    Args:
        config: The parsed file.
        source: Its path, for the evidence.
    """
    mlx = config.get("quantization")
    if isinstance(mlx, Mapping) and _whole(mlx.get("bits")):
        yield _mlx(mlx, source)
        return
    for where, holder in (("", config), *((key, config.get(key)) for key in _NESTED)):
        if not isinstance(holder, Mapping):
            continue
        for key in ("quantization_config", "compression_config"):
            found = holder.get(key)
            if isinstance(found, Mapping):
                claim = claim_of_quantization(found, source)
                if claim:
                    yield claim
                    return
        if where == "" and isinstance(config.get("quant_method"), str):
            claim = claim_of_quantization(config, source)
            if claim:
                yield claim
                return


def claims_of_side_file(name: str, content: Mapping[str, object], source: str) -> Iterator[Claim]:
    """Yield what a quantization's own file says, such as ``quantize_config.json``.

    Args:
        name: The file's name without folders, in lower case.
        content: The parsed file.
        source: Its path, for the evidence.
    """
    if name == "hf_quant_config.json":
        inner = content.get("quantization")
        if isinstance(inner, Mapping):
            yield from _some(_modelopt(inner, source))
        return
    method = content.get("quant_method")
    if isinstance(method, str):
        yield from _some(claim_of_quantization(content, source))
    elif "w_bit" in content or "q_group_size" in content or name == "awq_config.json":
        yield from _some(_packed("awq", content, source))
    elif name == "quantize_config.json" or "desc_act" in content:
        yield from _some(_packed("gptq", content, source))
    elif _whole(content.get("bits")) and "zero_point" in content:
        yield from _some(_packed("awq", content, source))
    elif isinstance(content.get("quantization_config"), Mapping):
        yield from claims_of_config(content, source)


def claims_of_recipe(text: str, source: str = "recipe.yaml") -> Iterator[Claim]:
    """Yield what an llm-compressor recipe says, read as text: it is anybody's YAML.

    Args:
        text: The file's content.
        source: Its path, for the evidence.
    """
    scheme = _RECIPE_SCHEME.search(text)
    label = _SCHEMES.get(scheme[1].lower()) if scheme else None
    bits, group = _RECIPE_BITS.search(text), _RECIPE_GROUP.search(text)
    if label is None and "Modifier" in text and bits:
        label = "fp8" if re.search(r"\btype:\s*['\"]?float", text) and bits[1] == "8" else f"w{bits[1]}a16"
        if "input_activations" in text and label.startswith("w8"):
            label = "w8a8"
    if label:
        details: dict[str, object] = {"method": "compressed-tensors"}
        if group:
            details["group_size"] = int(group[1])
        said = scheme[1] if scheme else "modifiers with num_bits"
        yield Claim(label, Evidence(Level.CONFIG, source, f"recipe says {said}"), details)


def claim_of_quantization(found: Mapping[str, object], source: str) -> Claim | None:
    """Return what one ``quantization_config`` says, or ``None`` when it says nothing that we know.

    Args:
        found: The object.
        source: The path of the file that holds it.
    """
    method = (
        str(found.get("quant_method") or "")
        .lower()
        .removeprefix("quantizationmethod.")
        .replace("bitsandbytes_4bit", "bitsandbytes")
    )
    if method in {"compressed-tensors", "compressed_tensors"} or "config_groups" in found:
        return _compressed(found, source)
    label = _BY_METHOD.get(method)
    if label == "bnb" or (not method and ("load_in_4bit" in found or "load_in_8bit" in found)):
        return _bitsandbytes(found, source)
    if label == "modelopt" or (not method and "quant_algo" in found):
        return _modelopt(found, source)
    if label == "hqq":
        return _hqq(found, source)
    if label == "torchao":
        return _torchao(found, source)
    if label == "quark":
        return _quark(found, source)
    if label == "fp8":
        return _fp8(found, source, method)
    if label is None and not method and _whole(found.get("bits")):
        label = "gptq" if "desc_act" in found else "awq" if "zero_point" in found or "version" in found else None
    if label is None and method:
        label = quantization_label(method)
    return _packed(label, found, source) if label else None


def _some(claim: Claim | None) -> Iterator[Claim]:
    """Yield a claim unless it is none."""
    if claim:
        yield claim


def _claim(label: str, source: str, said: str, details: Mapping[str, object]) -> Claim:
    """Return a claim of a config, with the compact label where bits and group are known."""
    kept = {key: value for key, value in details.items() if value is not None}
    bits, group = kept.get("bits"), kept.get("group_size")
    if isinstance(bits, int) and isinstance(group, int):
        kept["compact"] = f"w{bits}g{group}"
    return Claim(label, Evidence(Level.CONFIG, source, said), kept)


def _packed(label: str, found: Mapping[str, object], source: str) -> Claim:
    """Read AWQ, GPTQ and their like: bits and a group size under one of two spellings."""
    bits = _number(found, "bits", "w_bit", "nbits")
    group = _whole(found.get("group_size"))
    group = group if group is not None else _whole(found.get("q_group_size"))
    details: dict[str, object] = {
        "method": label,
        "bits": bits,
        "group_size": group,
        "zero_point": found.get("zero_point") if isinstance(found.get("zero_point"), bool) else None,
        "desc_act": found.get("desc_act") if isinstance(found.get("desc_act"), bool) else None,
        "symmetric": found.get("sym") if isinstance(found.get("sym"), bool) else None,
        "kernel": _short(found.get("version")) if label == "awq" else _short(found.get("checkpoint_format")),
        "packing": _short(found.get("packing_format")),
    }
    if label in {"exl2", "exl3"} and bits is not None:
        details["bits_per_weight"] = details.pop("bits")
        details["head_bits"] = _whole(found.get("head_bits"))
    return _claim(label, source, f"quant_method {label}" + (f", {bits} bits" if bits is not None else ""), details)


def _fp8(found: Mapping[str, object], source: str, method: str) -> Claim:
    """Read fine-grained and FBGEMM fp8."""
    block = found.get("weight_block_size")
    details = {
        "method": method,
        "bits": 8,
        "format": _short(found.get("fmt")),
        "activations": _short(found.get("activation_scheme")),
        "block_size": [n for n in block if isinstance(n, int)][:4] if isinstance(block, list) else None,
    }
    return _claim("fp8", source, f"quant_method {method}", details)


def _bitsandbytes(found: Mapping[str, object], source: str) -> Claim | None:
    """Read bitsandbytes, which says its bits by two flags."""
    four = found.get("load_in_4bit") is True or found.get("_load_in_4bit") is True
    eight = found.get("load_in_8bit") is True or found.get("_load_in_8bit") is True
    if not four and not eight:
        return None
    kind = _short(found.get("bnb_4bit_quant_type")) if four else None
    details = {"method": "bitsandbytes", "bits": 4 if four else 8, "type": kind}
    return _claim("bnb-4bit" if four else "bnb-8bit", source, "quant_method bitsandbytes", details)


def _modelopt(found: Mapping[str, object], source: str) -> Claim | None:
    """Read NVIDIA's ModelOpt, inside ``config.json`` or in ``hf_quant_config.json``."""
    algorithm = str(found.get("quant_algo") or "").lower()
    label = _ALGORITHMS.get(algorithm) or ("nvfp4" if "nvfp4" in algorithm else None)
    if label is None and isinstance(found.get("config_groups"), Mapping):
        return _compressed(found, source)
    if label is None:
        return None
    details = {
        "method": "modelopt",
        "group_size": _whole(found.get("group_size")),
        "kv_cache": _short(found.get("kv_cache_quant_algo")),
        "bits": 8 if label in {"fp8", "w8a8", "mxfp8"} else 4,
    }
    return _claim(label, source, f"quant_algo {algorithm.upper()}", details)


def _hqq(found: Mapping[str, object], source: str) -> Claim:
    """Read HQQ, whose bits lie two levels down."""
    inner = found.get("quant_config")
    weights = inner.get("weight_quant_params") if isinstance(inner, Mapping) else None
    values = weights if isinstance(weights, Mapping) else found
    return _packed("hqq", {"bits": values.get("nbits"), "group_size": values.get("group_size")}, source)


def _torchao(found: Mapping[str, object], source: str) -> Claim:
    """Read torchao, whose type is a word or a class's name with its settings."""
    kind = found.get("quant_type")
    inner = kind.get("default") if isinstance(kind, Mapping) else None
    word = kind if isinstance(kind, str) else inner.get("_type") if isinstance(inner, Mapping) else ""
    said = str(word or "unknown")[:60]
    group = inner.get("_data") if isinstance(inner, Mapping) else found.get("quant_type_kwargs")
    size = _whole(group.get("group_size")) if isinstance(group, Mapping) else None
    low = said.lower().replace("_", "")
    bits = 4 if "int4" in low or "uint4" in low else 8 if "int8" in low or "float8" in low else None
    return _claim(
        "torchao", source, f"torchao {said}", {"method": "torchao", "type": said, "group_size": size, "bits": bits}
    )


def _quark(found: Mapping[str, object], source: str) -> Claim | None:
    """Read AMD's Quark."""
    layer = found.get("global_quant_config")
    weight = layer.get("weight") if isinstance(layer, Mapping) else None
    if isinstance(weight, list):
        weight = weight[0] if weight else None
    dtype = str(weight.get("dtype") if isinstance(weight, Mapping) else "").lower()
    label = (
        "mxfp4"
        if "fp4" in dtype
        else "fp8"
        if "fp8" in dtype
        else "w8a8"
        if "int8" in dtype
        else "int4"
        if "int4" in dtype
        else None
    )
    return _claim(label, source, f"quark {dtype}", {"method": "quark", "type": dtype}) if label else None


def _mlx(found: Mapping[str, object], source: str) -> Claim:
    """Read MLX's own ``quantization`` object, which may hold exceptions by layer beside bits and group size."""
    bits, group, mode = _whole(found.get("bits")), _whole(found.get("group_size")), _short(found.get("mode"))
    label = mode if mode in {"mxfp4", "nvfp4", "mxfp8"} else f"{bits}bit"
    mixed = any(
        isinstance(value, Mapping) and _whole(value.get("bits")) not in {None, bits} for value in found.values()
    )
    kept = {"method": "mlx", "bits": bits, "group_size": group, "mode": mode, "mixed": mixed or None}
    claim = _claim(label, source, f"MLX quantization, {bits} bits", kept)
    return Claim(claim.label, claim.evidence, claim.details, Container.MLX)


def _compressed(found: Mapping[str, object], source: str) -> Claim | None:
    """Read compressed-tensors: groups of layers, each with a scheme for weights and for activations."""
    groups = found.get("config_groups")
    listed = [group for group in groups.values() if isinstance(group, Mapping)] if isinstance(groups, Mapping) else []
    schemes = [(label, group) for group in listed if (label := _scheme(group))]
    form = _short(found.get("format"))
    if not schemes:
        label = "nvfp4" if form and "nvfp4" in form else "fp8" if form == "float-quantized" else None
        return (
            _claim(label, source, f"compressed-tensors {form}", {"method": "compressed-tensors", "format": form})
            if label
            else None
        )
    label, group = schemes[0]
    weights = group.get("weights")
    inputs = group.get("input_activations")
    plain: Mapping[str, object] = weights if isinstance(weights, Mapping) else {}
    details = {
        "method": "compressed-tensors",
        "format": form,
        "bits": _whole(plain.get("num_bits")),
        "group_size": _whole(plain.get("group_size")),
        "strategy": _short(plain.get("strategy")),
        "dynamic": inputs.get("dynamic") is True if isinstance(inputs, Mapping) else None,
        "mixed": sorted({other for other, _ in schemes}) if len({other for other, _ in schemes}) > 1 else None,
    }
    return _claim(label, source, f"compressed-tensors {form or ''}".strip(), details)


def _scheme(group: Mapping[str, object]) -> str | None:
    """Return the label of one group of compressed-tensors."""
    weights, inputs = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, Mapping):
        return None
    bits, kind = _whole(weights.get("num_bits")), weights.get("type")
    if bits is None:
        return None
    if kind == "float":
        if bits == 4:  # noqa: PLR2004 - four bits
            return "mxfp4" if _whole(weights.get("group_size")) == 32 else "nvfp4"  # noqa: PLR2004 - MX blocks have 32
        return "fp8"
    active = _whole(inputs.get("num_bits")) if isinstance(inputs, Mapping) else None
    return f"w{bits}a{active or 16}"


def _whole(value: object) -> int | None:
    """Return a whole number, or ``None`` for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(found: Mapping[str, object], *keys: str) -> int | float | None:
    """Return the first number under one of several keys; a whole one as such."""
    for key in keys:
        value = found.get(key)
        if isinstance(value, float) and not value.is_integer():
            return round(value, 3)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return int(value)
    return None


def _short(value: object) -> str | None:
    """Return a short text in lower case, or ``None`` for anything else."""
    return value.lower() if isinstance(value, str) and 0 < len(value) <= 80 else None  # noqa: PLR2004 - a word, not prose
