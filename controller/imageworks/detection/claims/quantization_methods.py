"""How each method of quantization says what it did: one reader a method, of the keys that its own library writes.

Read in November 2026: transformers (quantization_config.py), compressed-tensors (quant_scheme.py), ModelOpt
(quant_utils.py, convert_hf_config.py), TensorRT-LLM (QuantAlgo), AMD Quark, AutoRound, GPTQModel, AutoAWQ, torchao,
ExLlamaV2 and V3, MLX-LM and vLLM's loaders. Pure.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from math import log2
from typing import Final

from imageworks.foundation.json_values import EMPTY, part
from imageworks.naming.quantization_labels import quantization_label

Said = tuple[str, Mapping[str, object]]
"""A label and the details that speak for it."""
Reader = Callable[[Mapping[str, object]], Said | None]


def read_quantization(found: Mapping[str, object]) -> Said | None:
    """Return what a ``quantization_config`` says: by the method that it names, else by the keys that tell one."""
    method = str(found.get("quant_method") or "").lower()[:60].removeprefix("quantizationmethod.")
    method = method.removeprefix("intel/").replace("_", "-")
    reader = _READERS.get(method)
    if reader is None and (not method or "config_groups" in found):
        reader = next((reader for key, reader in _SIGNS if key in found), None)
    if reader is not None:
        return reader(found)
    label = quantization_label(method) if method else None
    return _packed(label)(found) if label else None


def _packing(found: Mapping[str, object]) -> dict[str, object]:
    """Return what methods that pack whole numbers say beside their bits."""
    return {
        "group_size": group_of(found),
        "zero_point": _flag(found, "zero_point"),
        "desc_act": _flag(found, "desc_act"),
        "symmetric": _flag(found, "sym"),
        "packing": _short(found.get("packing_format")),
        "provider": _short(found.get("provider")),
        "mixed": _overrides(found) or None,
    }


def _overrides(found: Mapping[str, object]) -> list[str]:
    """Return the bits that a packed model has besides its own, by layer: ``dynamic`` or ``extra_config``."""
    own = _number(found, "bits", "w_bit")
    several = [part(found, key).values() for key in ("dynamic", "extra_config")]
    bits = {_number(one, "bits") for values in several for one in values if isinstance(one, Mapping)}
    own_too = (None, own, 16, 32)  # layers of sixteen bits and more are not quantized
    return [f"{one}bit" for one in sorted(one for one in bits if one is not None and one not in own_too)]


def _packed(label: str) -> Reader:
    """Return the reader of a method that says bits and a group size under one of two spellings."""

    def read(found: Mapping[str, object]) -> Said | None:
        bits = _number(found, "bits", "w_bit", "nbits", "num_bits")
        kernel = _short(found.get("version")) if label == "awq" else _short(found.get("checkpoint_format"))
        return label, {"method": label, "bits": bits, "kernel": kernel, **_packing(found)}

    return read


def _fixed(label: str, **details: object) -> Reader:
    """Return the reader of a method whose name says all."""
    return lambda found: (label, {"method": _short(found.get("quant_method")), "bits": bits_of(label), **details})


def _exllama(label: str) -> Reader:
    def read(found: Mapping[str, object]) -> Said | None:
        storage = part(found, "tensor_storage")
        if "bits" not in found and not any(part(storage, key).get("quant_format") == label for key in storage):
            return None
        bits, head = _number(found, "bits"), whole_number(found.get("head_bits"))
        return label, {"method": label, "bits": bits, "bits_per_weight": bits, "head_bits": head}

    return read


def _fp8(found: Mapping[str, object]) -> Said:
    """Read block-wise, per-tensor and FBGEMM fp8; blocks of 1 x 32 are what MX calls it, and experts may be fp4."""
    block = found.get("weight_block_size")
    blocks = [size for size in block if isinstance(size, int)][:4] if isinstance(block, list) else None
    details: dict[str, object] = {
        "method": _short(found.get("quant_method")),
        "bits": 8,
        "format": _short(found.get("fmt")),
        "activations": _short(found.get("activation_scheme")),
        "block_size": blocks,
        "scale_format": _short(found.get("scale_fmt")),
    }
    label = "mxfp8" if blocks == [1, 32] else "fp8"
    if _short(found.get("expert_dtype")) == "fp4":  # as in DeepSeek-V4: the experts are nearly all of it
        return "mxfp4", {**details, "bits": 4, "group_size": 32, "block_size": None, "mixed": [label]}
    return label, details


def _bitsandbytes(found: Mapping[str, object]) -> Said | None:
    """Read bitsandbytes, which says its bits by two flags."""
    for bits in (4, 8):
        if found.get(f"load_in_{bits}bit") is True or found.get(f"_load_in_{bits}bit") is True:
            kind = _short(found.get("bnb_4bit_quant_type")) if bits == 4 else None  # noqa: PLR2004 - four bits
            return f"bnb-{bits}bit", {"method": "bitsandbytes", "bits": bits, "type": kind}
    return None


def read_modelopt(found: Mapping[str, object]) -> Said | None:
    """Read NVIDIA's ModelOpt, inside ``config.json`` or in ``hf_quant_config.json``: one algorithm, or one a layer."""
    found = part(found, "quantization") or found
    algorithm = str(found.get("quant_algo") or "")[:60].lower()
    label = label_of_words(algorithm)
    kv_cache = _kv_cache(found)
    if label is not None:
        group = group_of(found) or (_GROUPS.get(label) if label != "awq" else None)
        details = {"method": "modelopt", "bits": bits_of(label), "group_size": group, "kv_cache": kv_cache}
        return label, {**details, "activations": _activations(algorithm, label)}
    layers = part(found, "quantized_layers")
    told = _majority(
        (label, (name,), {"bits": bits_of(label), "group_size": group_of(layer)})
        for name, layer in layers.items()
        if isinstance(layer, Mapping) and (label := label_of_words(str(layer.get("quant_algo") or "")[:60]))
    )
    if told is not None:
        return told[0], {"method": "modelopt", **told[1], "kv_cache": kv_cache}
    told = _compressed(found) if "config_groups" in found else None
    return (told[0], {**told[1], "method": "modelopt"}) if told else None


def _hqq(found: Mapping[str, object]) -> Said:
    """Read HQQ, whose bits lie two levels down, once for all layers or for each kind of them."""
    inner = part(found, "quant_config")
    per_layer = [part(part(inner, key), "weight_quant_params") for key in inner]
    values = next((one for one in (part(inner, "weight_quant_params"), *per_layer) if one), found)
    return "hqq", {"method": "hqq", "bits": _number(values, "nbits", "bits"), "group_size": group_of(values)}


def _torchao(found: Mapping[str, object]) -> Said:
    """Read torchao, whose type is a word or a class's name with its settings."""
    kind = found.get("quant_type")
    inner = part(kind, "default") if isinstance(kind, Mapping) else EMPTY
    layers = part(part(inner, "_data"), "module_fqn_to_config") or part(part(inner, "_data"), "fqn_to_config")
    inner = part(layers, "_default") or next((one for one in layers.values() if isinstance(one, Mapping)), inner)
    said = str((kind if isinstance(kind, str) else inner.get("_type")) or "unknown")[:60]
    data = part(inner, "_data") or part(found, "quant_type_kwargs")
    low = f"{said} {part(data, 'weight_dtype').get('_data', '')}".lower().replace("_", "")
    bits = next((bits for bits in (4, 8, 2, 3, 6) if f"int{bits}" in low), 8 if "float8" in low else None)
    bits = 4 if "fp4" in low else bits
    return "torchao", {"method": "torchao", "type": said, "group_size": group_of(data), "bits": bits}


def _quark(found: Mapping[str, object]) -> Said | None:
    """Read AMD's Quark: one specification for all layers, else one by layer or by their kind."""
    layers = {**part(found, "layer_type_quant_config"), **part(found, "layer_quant_config")}
    named = ((name, one) for name, one in layers.items() if isinstance(one, Mapping))
    told = _majority(
        (told[0], (name,), told[1])
        for name, one in (("Linear", part(found, "global_quant_config")), *named)
        if (told := _quark_layer(one))
    )
    return (told[0], {"method": "quark", **told[1]}) if told else None


def _quark_layer(layer: Mapping[str, object]) -> Said | None:
    weights, inputs = _specifications(layer.get("weight")), _specifications(layer.get("input_tensors"))
    if not weights:
        return None
    dtypes = [str(one.get("dtype") or "").lower() for one in weights]
    dtype = next(
        (one for one in dtypes if "4" in one.partition("_")[0]), dtypes[0]
    )  # the smaller of two stages is kept
    weight = weights[dtypes.index(dtype)]
    group, form = group_of(weight), str(weight.get("scale_format") or "").lower()
    active = str(inputs[0].get("dtype") or "").lower() if inputs else ""
    label: str | None = None
    if "fp4" in dtype:
        label = "nvfp4" if group == _GROUPS["nvfp4"] else "mxfp4"
    elif "fp6" in dtype:
        label = "mxfp6"
    elif "fp8" in dtype:
        label = "mxfp8" if group == _GROUPS["mxfp8"] or form == "e8m0" else "fp8"
    elif (whole := re.fullmatch(r"u?int([2-8])", dtype)) is not None:
        eight = "8" in active
        label = f"w{whole[1]}a8" if eight else f"int{whole[1]}" if whole[1] != "8" else "w8a16"
    if label is None:
        return None
    return label, {"type": dtype, "bits": bits_of(label), "group_size": group, "activations": active or None}


def _specifications(value: object) -> list[Mapping[str, object]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Mapping)]


def read_mlx(found: Mapping[str, object]) -> Said:
    """Read MLX's own ``quantization`` object, which may hold exceptions by layer beside bits and group size."""
    whole = _mlx_layer(found)
    layers = [(key, one) for key, one in found.items() if isinstance(one, Mapping) and whole_number(one.get("bits"))]
    parts = [(label, (key,), details) for key, one in layers for label, details in (_mlx_layer(one, found),)]
    others = {label for label, _, _ in parts} - {whole[0]}
    told = _majority([(whole[0], ("Linear",), whole[1]), *parts]) if others else None
    label, details = told or whole
    return label, {"method": "mlx", **details, "mixed": True if others else None}


def _mlx_layer(found: Mapping[str, object], outer: Mapping[str, object] = EMPTY) -> Said:
    bits, mode = whole_number(found.get("bits")), _short(found.get("mode")) or _short(outer.get("mode"))
    if mode is not None and bits is not None and bits_of(mode) not in {None, bits}:
        mode = None
    label = mode if mode in {"mxfp4", "nvfp4", "mxfp8"} else f"{bits}bit"
    return label, {"bits": bits, "group_size": group_of(found), "mode": mode}


def read_mistral(found: Mapping[str, object]) -> Said | None:
    """Read the ``quantization`` of Mistral's ``params.json``."""
    label = label_of_words(str(found.get("qformat_weight") or "")[:40])
    return (label, {"method": "mistral", "bits": bits_of(label)}) if label else None


def _compressed(found: Mapping[str, object]) -> Said | None:
    """Read compressed-tensors: groups of layers, each with a scheme for weights and for activations."""
    form = _short(found.get("format"))
    told = _majority(
        (told[0][0], told[1], told[0][1])
        for key, group in part(found, "config_groups").items()
        if (told := _group_scheme(str(key), group, form))
    )
    if told is None:
        label = label_of_words(form.partition("-")[0]) if form else None
        label = "fp8" if form == "float-quantized" else label
        told = (label, {"bits": bits_of(label)}) if label else None
    if told is None:
        return None
    return told[0], {"method": "compressed-tensors", "format": form, **told[1], "kv_cache": _kv_cache(found)}


def _group_scheme(key: str, group: object, form: str | None) -> tuple[Said, tuple[str, ...]] | None:
    """Return a group's label and details with the layers that it is for."""
    if isinstance(group, list):  # a preset's name and the layers
        label = label_of_words(key)
        return ((label, {"bits": bits_of(label)}), tuple(map(str, group))) if label else None
    if not isinstance(group, Mapping):
        return None
    listed = group.get("targets")
    targets = tuple(one for one in listed if isinstance(one, str)) if isinstance(listed, list) else ()
    weights, inputs = part(group, "weights"), part(group, "input_activations")
    bits, size = whole_number(weights.get("num_bits")), whole_number(weights.get("group_size"))
    if bits is None:
        told = label_of_words(str(weights.get("quant_algo") or group.get("quant_algo") or "")[:60])
        return ((told, {"bits": bits_of(told)}), targets) if told else None
    active, active_bits = str(inputs.get("type") or ""), whole_number(inputs.get("num_bits"))
    if weights.get("type") == "float":
        said = f"{_short(group.get('format')) or form or ''} {weights.get('scale_dtype') or ''}"
        label = _float_label(bits, size, said)
    else:
        label = f"w{bits}a{active_bits or 16}"
    details = {
        "bits": bits,
        "group_size": size,
        "strategy": _short(weights.get("strategy")),
        "activations": f"{'fp' if active == 'float' else 'int'}{active_bits}" if active_bits else None,
        "dynamic": inputs.get("dynamic") is True if inputs else None,
    }
    return (label, details), targets


def _float_label(bits: int, size: int | None, said: str) -> str:
    """Return the label of floats; blocks of 32 with scales that are powers of two are the MX formats."""
    if "nvfp4" in said:
        return "nvfp4"
    mx = "mxfp" in said or "uint8" in said or "e8m0" in said or size == _GROUPS["mxfp4"]
    if bits == 4:  # noqa: PLR2004 - four bits
        return "mxfp4" if mx else "nvfp4"
    return f"mxfp{bits}" if mx or bits == 6 else "fp8"  # noqa: PLR2004 - no other format has six bits


def _aqlm(found: Mapping[str, object]) -> Said:
    books, each = whole_number(found.get("num_codebooks")), whole_number(found.get("nbits_per_codebook"))
    values = (whole_number(found.get("in_group_size")) or 8) * (whole_number(found.get("out_group_size")) or 1)
    bits = _tidy(books * each / values) if books and each and values > 0 else None
    return "aqlm", {"method": "aqlm", "bits": bits, "codebooks": f"{books}x{each}" if books and each else None}


def _vptq(found: Mapping[str, object]) -> Said:
    """Read VPTQ: centroids of vectors, and of what is left of them."""
    layer = next((one for one in part(found, "config_for_layers").values() if isinstance(one, Mapping)), EMPTY)
    layer = layer or part(found, "shared_layer_config")
    length = _last(layer, "vector_lens")
    counts = [count for key in ("num_centroids", "num_res_centroids") if (count := _last(layer, key)) > 1]
    bits = _tidy(sum(map(log2, counts)) / length) if length > 0 and counts else None
    return "vptq", {"method": "vptq", "bits": bits, "group_size": group_of(layer)}


def _typed(label: str) -> Reader:
    """Return the reader of a method that names the type of the weights (quanto, EETQ)."""

    def read(found: Mapping[str, object]) -> Said | None:
        said, active = _short(found.get("weights")), _short(found.get("activations"))
        bits = _whole_text(re.sub(r"\D", "", said or "")) or (8 if label == "eetq" else None)
        return label, {"method": label, "bits": bits, "type": said, "activations": active}

    return read


def _forward(*keys: str) -> Reader:
    """Return the reader of a method that names the 4-bit format by one of several keys (FP-Quant, Four Over Six)."""

    def read(found: Mapping[str, object]) -> Said | None:
        said = next((word for key in keys if (word := _short(found.get(key)))), "nvfp4")
        label = label_of_words(said)
        if label is None:
            return None
        return label, {"method": _short(found.get("quant_method")), "bits": 4, "group_size": _GROUPS.get(label)}

    return read


def _auto_round(found: Mapping[str, object]) -> Said:
    """Read AutoRound, which is a way to round; floats are told by their own format."""
    kind, bits = _short(found.get("data_type")) or "int", whole_number(found.get("bits"))
    active_bits = whole_number(found.get("act_bits"))
    details = {"method": "autoround", "bits": bits, **_packing(found)}
    if active_bits is not None and active_bits <= 8:  # noqa: PLR2004 - sixteen bits are not quantized
        details["activations"] = _short(found.get("act_data_type"))
    if kind.startswith(("mx_fp", "mxfp")) and (several := bits or _whole_text(kind[-1:])) in {4, 6, 8}:
        return f"mxfp{several}", {**details, "bits": several}
    if kind.startswith(("nv_fp", "nvfp")):
        return "nvfp4", {**details, "bits": bits or 4}
    if kind.startswith("fp") and bits == 8:  # noqa: PLR2004 - eight bits
        return "fp8", details
    return ("w8a8" if bits == active_bits == 8 else "autoround"), details  # noqa: PLR2004


def _by_bits(template: str) -> Reader:
    """Return the reader of a method that is known by its bits alone."""

    def read(found: Mapping[str, object]) -> Said | None:
        bits = whole_number(found.get("bits")) or whole_number(found.get("num_bits"))
        details = {"method": _short(found.get("quant_method")), "bits": bits, "group_size": group_of(found)}
        return (template.format(bits), details) if bits else None

    return read


_READERS: Final[Mapping[str, Reader]] = {
    **dict.fromkeys(("awq", "autoawq", "awq-marlin", "llm-awq", "cpu-awq"), _packed("awq")),
    **dict.fromkeys(
        ("gptq", "gptq-v2", "auto-gptq", "autogptq", "gptqmodel", "marlin", "gptq-marlin", "gptq-marlin-24",
         "gptq-bitblas", "bitblas", "moe-wna16"), _packed("gptq")),
    **dict.fromkeys(("auto-round", "autoround", "inc", "auto-round:gptq", "auto-round:awq"), _auto_round),
    **dict.fromkeys(("fp8", "fbgemm-fp8", "ptpc-fp8", "deepgemm-fp8", "w8a8-fp8"), _fp8),
    **dict.fromkeys(("modelopt", "modelopt-fp4", "modelopt-mxfp8", "modelopt-mixed", "nvidia-modelopt"),
                    lambda found: read_modelopt(found) or _bare_modelopt(found)),
    **dict.fromkeys(("bitsandbytes", "bitsandbytes-4bit", "bitsandbytes-8bit", "bnb"), _bitsandbytes),
    **dict.fromkeys(("nvfp4", "petit-nvfp4"), _fixed("nvfp4", group_size=16)),
    **dict.fromkeys(("mxfp4", "gpt-oss-mxfp4"), _fixed("mxfp4", group_size=32)),
    "mxfp6": _fixed("mxfp6", group_size=32),
    "mxfp8": _fixed("mxfp8", group_size=32),
    **dict.fromkeys(("qqq", "w4afp8"), lambda found: ("w4a8", {**_packed("qqq")(found)[1], "bits": 4})),  # type: ignore[index]
    **dict.fromkeys(("experts-int8", "tpu-int8"), _fixed("int8")),
    "w8a8-int8": _fixed("w8a8"),
    "compressed-tensors": _compressed,
    "fp-quant": _forward("forward_dtype"),
    "fouroversix": _forward("weight_dtype", "dtype"),
    "quark": _quark,
    "torchao": _torchao,
    "hqq": _hqq,
    "aqlm": _aqlm,
    "vptq": _vptq,
    "spqr": _packed("spqr"),
    "quip": _packed("quip"),
    "squeezellm": _packed("squeezellm"),
    "higgs": _packed("higgs"),
    "sinq": _packed("sinq"),
    "bitnet": lambda found: ("bitnet", {"method": "bitnet", "bits": 2, "type": _short(found.get("linear_class"))}),
    "quanto": _typed("quanto"),
    "eetq": _typed("eetq"),
    "exl2": _exllama("exl2"),
    "exl3": _exllama("exl3"),
    "gemma": _by_bits("int{}"),
    "metal": _by_bits("{}bit"),
}  # fmt: skip
"""What reads a ``quantization_config``, by its ``quant_method`` in lower case with dashes."""

_SIGNS: Final[tuple[tuple[str, Reader], ...]] = (
    ("config_groups", _compressed),
    ("load_in_4bit", _bitsandbytes),
    ("load_in_8bit", _bitsandbytes),
    ("quant_algo", read_modelopt),
    ("global_quant_config", _quark),
    ("tensor_storage", _exllama("exl3")),
    ("w_bit", _packed("awq")),
    ("q_group_size", _packed("awq")),
    ("desc_act", lambda found: _packed("gptq")(found) if whole_number(found.get("bits")) else None),
    ("damp_percent", lambda found: _packed("gptq")(found) if whole_number(found.get("bits")) else None),
    ("zero_point", lambda found: _packed("awq")(found) if whole_number(found.get("bits")) else None),
    ("version", lambda found: _packed("awq")(found) if whole_number(found.get("bits")) else None),
    ("weight_quant_params", lambda found: _hqq({"quant_config": found})),
)
"""Keys that tell a method which does not name itself, the surest first."""
PROOF: Final = frozenset(
    {"bits", "w_bit", "nbits", "num_bits", "quant_config", "quant_type", "weights", "fmt", "activation_scheme"}
    | {"num_codebooks", "config_for_layers", "forward_dtype", "layer_quant_config", "linear_class", "kv_cache_scheme"}
    | {key for key, _ in _SIGNS}
)
"""Keys without which a file beside the config that names a method proves nothing."""


def _bare_modelopt(found: Mapping[str, object]) -> Said | None:
    """Return what ModelOpt's name alone says where it comes with no algorithm."""
    label = label_of_words(str(found.get("quant_method")))
    return (label, {"method": "modelopt", "bits": bits_of(label)}) if label else None


_WORDS: Final = (
    (re.compile(r"nvfp4|modelopt[-_]fp4"), "nvfp4"),
    (re.compile(r"mxfp[468]"), ""),
    (re.compile(r"^fp8|float8|e[45]m[23]|^fp_?8"), "fp8"),
    (re.compile(r"w4a(?:8|fp8|int8)"), "w4a8"),
    (re.compile(r"w8a8|int8_sq"), "w8a8"),
    (re.compile(r"awq"), "awq"),
    (re.compile(r"gptq"), "gptq"),
    (re.compile(r"w[1-8]a(?:16|8|4)"), ""),
    (re.compile(r"int8_wo"), "w8a16"),
    (re.compile(r"u?int[248]"), ""),
)
"""Words in the names of algorithms and schemes with our labels, the most telling first; empty for the word itself."""
_GROUPS: Final = {"nvfp4": 16, "mxfp4": 32, "mxfp6": 32, "mxfp8": 32}


def label_of_words(words: str) -> str | None:
    """Return the label of an algorithm or a scheme, such as ``W4A8_NVFP4_FP8`` or ``FP8_PB_WO``."""
    low = words.lower()
    for pattern, label in _WORDS:
        if found := pattern.search(low):
            return label or found.group().removeprefix("u")
    return None


def bits_of(label: str | None) -> int | None:
    """Return how many bits a weight has under a label that says so."""
    found = re.search(r"(?:fp|int|^w|^)([1-8])(?:a\d|bit|$)", label or "")
    return int(found[1]) if found else 4 if label in {"awq", "gptq"} else None


def _activations(words: str, label: str) -> str | None:
    """Return the type of the activations that an algorithm's name tells, ``None`` where they are left as they are."""
    if re.search(r"a16|_wo$|pb_wo", words):
        return None
    behind = re.search(r"(?<=_)(mxfp8|fp8|int8)$", words)
    if behind and label != behind[1]:
        return behind[1]
    return {"w8a8": "int8", "w4a8": "fp8", "awq": None, "gptq": None, "int8": None, "int4": None}.get(label, label)


_ONE_EXPERT: Final = re.compile(r"experts?\.\d|shared_expert")
_EXPERTS: Final = re.compile(r"expert")
_MIDDLE: Final = re.compile(r"mlp|ffn|feed_forward|gate|up_proj|down_proj|w[123]\b|fc[12]")
_SMALL: Final = re.compile(r"lm_head|embed|wte|output")


def _share(name: str) -> float:
    """Return about how much of a model's weights the layers of a name or a pattern are, in layers of attention."""
    low = name.lower()
    if _SMALL.search(low):
        return 0.1
    if _EXPERTS.search(low) and not _ONE_EXPERT.search(low):
        return 64  # all experts of a layer, or of a model
    return 3 if _MIDDLE.search(low) or _ONE_EXPERT.search(low) else 4 if low == "linear" else 1


def _majority(parts: Iterable[tuple[str, tuple[str, ...], Mapping[str, object]]]) -> Said | None:
    """Return the label that most weights have by the names of their layers, with the rest under ``mixed``."""
    shares: dict[str, float] = {}
    details: dict[str, Mapping[str, object]] = {}
    for label, targets, told in parts:
        shares[label] = shares.get(label, 0) + sum(map(_share, targets or ("Linear",)))
        details.setdefault(label, told)
    if not shares:
        return None
    label = max(shares, key=lambda one: (shares[one], -(bits_of(one) or 0)))
    others = sorted(shares.keys() - {label})
    return label, {**details[label], **({"mixed": others} if others else {})}


def _kv_cache(found: Mapping[str, object]) -> str | None:
    """Return the type of the cache of keys and values."""
    scheme = found.get("kv_cache_scheme")
    if isinstance(scheme, Mapping):
        bits = whole_number(scheme.get("num_bits"))
        return f"{'fp' if scheme.get('type') == 'float' else 'int'}{bits}" if bits else None
    return _short(found.get("kv_cache_quant_algo")) or _short(scheme)


def whole_number(value: object) -> int | None:
    """Return a value that is a whole number of a sound size, else ``None``."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31 else None


def _whole_text(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None  # noqa: PLR2004


def group_of(found: Mapping[str, object]) -> int | None:
    """Return the size of the groups that share a scale, under one of its two spellings."""
    group = whole_number(found.get("group_size"))
    return group if group is not None else whole_number(found.get("q_group_size"))


def _flag(found: Mapping[str, object], key: str) -> bool | None:
    value = found.get(key)
    return value if isinstance(value, bool) else None


def _last(found: Mapping[str, object], key: str) -> int:
    value = found.get(key)
    return (whole_number(value[-1]) or 0) if isinstance(value, list) and value else 0


def _number(found: Mapping[str, object], *keys: str) -> int | float | None:
    """Return the first number under one of several keys; a whole one as such."""
    for key in keys:
        value = found.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1 << 31:
            return _tidy(value)
    return None


def _tidy(value: float) -> int | float:
    return int(value) if float(value).is_integer() else round(value, 3)


def _short(value: object) -> str | None:
    """Return a short text in lower case, or ``None`` for anything else."""
    return value.lower() if isinstance(value, str) and 0 < len(value) <= 80 else None  # noqa: PLR2004 - a word, not prose
