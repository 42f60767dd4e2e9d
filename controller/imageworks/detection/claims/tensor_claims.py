"""What tensors say of a quantization: their types and shapes in headers, else their names in a shard index.

Each scheme is told by the tensors that its library writes for one layer, with their types: a name alone proves nothing.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from imageworks.detection.claims.evidence import Claim, Evidence, Level
from imageworks.detection.formats.gguf_header import BASES, GUESSED, TENSOR_TYPES, GgufHeader
from imageworks.detection.formats.safetensors_header import BITS, SafetensorsHeader, Tensor

_PLAIN: Final = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64"}
_MOST: Final = 0.5
_A_PART: Final = 0.1
_WHOLE: Final = frozenset({"U8", "I8", "I16", "U16", "I32", "U32"})
_DEFAULTS: Final = frozenset({"fp32", "fp16", "bf16", "q8_0"})
"""File types that converters write whatever comes of the tensors later."""
_NEAR: Final = 1.7
"""Bits a weight by which the type of most tensors may differ from a file's type: shapes force some into others."""


def claim_of_gguf(header: GgufHeader, source: str) -> Claim | None:
    """Return what a GGUF header says."""
    main, written = header.main_type, header.file_type
    known = main is not None and not main.startswith("type-")
    details: dict[str, object] = {"method": "gguf", "main_type": main, "bits": _gguf_bits(written or main)}
    if written and (not known or _bears_out(header, written)):
        return Claim(written, Evidence(Level.HEADER, source, "general.file_type"), details)
    if main is None or not known:
        return None
    details["bits"] = _gguf_bits(main)
    if written:
        details["file_type"] = written
    mixes = tuple(label for label, bases in BASES.items() if main in bases)
    return Claim(main, Evidence(Level.HEADER, source, "type of most tensors"), details, None, mixes)


def _bears_out(header: GgufHeader, written: str) -> bool:
    """Return whether a file of some type can have such tensors: of its own kind, or near ones that shapes force."""
    main = header.main_type
    bases = BASES.get(written, (written,))
    if main in bases:
        return True
    number = header.number("general.file_type") or 0
    if main is None or written in _DEFAULTS or number & GUESSED:
        return False
    if any(base in header.body for base in bases):
        return True
    near = [bits for base in bases if (bits := _gguf_bits(base)) is not None]
    bits = _gguf_bits(main)
    return bits is None or any(abs(one - bits) <= _NEAR for one in near)


def _gguf_bits(label: str | None) -> float | None:
    """Return the bits a weight of a tensor type, or of the main type of a mix."""
    for base in (label, *BASES.get(label or "", ())):
        for name, elements, width in TENSOR_TYPES.values():
            if name == base and width:
                return round(width * 8 / elements, 2)
    return None


def claims_of_safetensors(headers: Sequence[tuple[str, SafetensorsHeader]], *, complete: bool) -> Iterator[Claim]:
    """Yield what safetensors headers say.

    Plain types are strong evidence only when every file's header was read: a shard may hold just what is not quantized.
    """
    if not headers:
        return
    source = headers[0][0]
    quantized: Counter[str] = Counter()
    plain: Counter[str] = Counter()
    for name, parts in _layers(headers).items():
        label = _scheme_of(parts)
        elements = sum(tensor.elements for tensor in parts.values())
        for tensor in parts.values():
            if label is None:
                plain[tensor.dtype] += 0 if _EMBEDS.search(name) and len(parts) > 1 else tensor.elements
            else:
                quantized[label] += tensor.elements * BITS.get(tensor.dtype, 8) // 8
        if label in _BARE:
            plain[next(iter(parts.values())).dtype] += elements
    yield from _quantized_claims(quantized, plain, source)
    bits = {dtype: count * BITS.get(dtype, 8) for dtype, count in plain.items()}
    packed = sum(count for dtype, count in bits.items() if dtype in _WHOLE)
    if not quantized and plain and packed <= sum(bits.values()) * _A_PART:  # else packed in a way that we do not know
        dtype, _ = plain.most_common(1)[0]
        if dtype in _PLAIN:
            level = Level.HEADER if complete else Level.DTYPE
            yield Claim(_PLAIN[dtype], Evidence(level, source, f"tensors are {dtype}"))


def _quantized_claims(quantized: Counter[str], plain: Counter[str], source: str) -> Iterator[Claim]:
    """Yield the claim of the scheme that most bytes have; what others have is kept with it."""
    total, elements = sum(quantized.values()), sum(plain.values())
    for label in list(quantized):
        bare = _BARE.get(label)
        if bare and sum(plain[dtype] for dtype in bare) <= elements * _MOST:
            del quantized[label]  # a few small numbers among others are no scheme
    told = [(label, size) for label, size in quantized.most_common() if label != _PACKED]
    if not told:
        return
    label = _BARE_LABELS.get(told[0][0], told[0][0])
    details: dict[str, object] = {}
    if label in _BITS:
        details["bits"] = _BITS[label]
    shares = {_BARE_LABELS.get(one, one): round(size / total, 3) for one, size in told}
    if len(shares) > 1:
        details["mixed"] = shares
    level = Level.TENSOR_NAMES if told[0][0] in _HINTS else Level.HEADER
    others = (*_UNDECIDED.get(told[0][0], ()), *(one for one in shares if one != label))
    yield Claim(label, Evidence(level, source, "types, shapes and names of its tensors"), details, None, others)


_F8: Final = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
_BYTES: Final = frozenset({"U8", "I8"})
_STORED: Final = _F8 | _BYTES
_POWERS: Final = frozenset({"U8", "F8_E8M0"})
_WORDS: Final = frozenset({"I32", "U32"})
_PACKED: Final = "packed"
_BLOCKS: Final = "blocks of powers of two"
_EITHER: Final = "awq or gptq"
Needs = tuple[str, Mapping[str, frozenset[str] | None]]

_SCHEMES: Final[tuple[Needs, ...]] = (
    ("bnb-4bit", {"bitsandbytes": None}),
    ("bnb-8bit", {"SCB": None}),
    ("nvfp4", {"weight": _BYTES, "weight_scale": _F8, "weight_scale_2": None}),
    ("nvfp4", {"weight_packed": _BYTES, "weight_scale": _F8, "weight_global_scale": None}),
    ("w4a8", {"weight": _BYTES, "weight_scale": None, "weight_scale_2": None}),
    ("mxfp4", {"blocks": _BYTES, "scales": _BYTES}),
    (_BLOCKS, {"weight": _STORED, "weight_scale": _POWERS}),
    (_BLOCKS, {"weight_packed": _STORED, "weight_scale": _POWERS}),
    (_BLOCKS, {"weight": _STORED, "weight_scale_inv": _POWERS}),
    (_BLOCKS, {"weight": _STORED, "scale": _POWERS}),
    (_BLOCKS, {"qweight": _STORED, "scales": _POWERS}),
    ("gptq", {"qweight": _WORDS, "g_idx": None}),
    (_EITHER, {"qweight": _WORDS, "qzeros": None}),
    ("gptq", {"qweight": _WORDS, "scales": None}),
    ("fp8", {"weight": _F8, "weight_scale": None}),
    ("fp8", {"weight": _F8, "weight_scale_inv": None}),
    ("fp8", {"weight": _F8, "scale": None}),
    ("fp8", {"weight": _F8, "scale_weight": None}),
    ("exl3", {"trellis": None}),
    ("exl2", {"q_weight": None, "q_groups": None}),
    ("hqq", {"W_q": None}),
    ("aqlm", {"codes": None, "codebooks": None}),
    ("int8", {"weight": frozenset({"I8"}), "weight_scale": None}),
    ("int8", {"qweight": frozenset({"I8"}), "weight_scales": None}),
    (_PACKED, {"weight_packed": None}),
    (_PACKED, {"weight": _BYTES, "weight_scale": None}),
    (_PACKED, {"weight": _WORDS, "scales": None}),
    (_PACKED, {"qweight": None}),
)
"""The tensors of one layer by the last part of their names, with the types they may have; the first match counts.

ModelOpt (quant_utils.py), compressed-tensors (compressors/), DeepSeek's and MiniMax's own, Quark, FP-Quant, AutoGPTQ,
AutoAWQ, ExLlama, HQQ, AQLM, bitsandbytes, MLX; gpt-oss for blocks.
"""
_BARE: Final[Mapping[str, frozenset[str]]] = {"fp8 without scales": _F8, "int8 without scales": frozenset({"I8"})}
_BARE_LABELS: Final = {"fp8 without scales": "fp8", "int8 without scales": "int8"}
_HINTS: Final = frozenset({"exl3", "exl2", "hqq", "aqlm", "int8", "int8 without scales"})
"""What is told by names that other tools may use too."""
_UNDECIDED: Final[Mapping[str, tuple[str, ...]]] = {
    "gptq": ("autoround",),
    "awq": ("autoround",),
    "fp8": ("mxfp8", "torchao", "quanto"),
    "fp8 without scales": ("mxfp8", "torchao", "quanto"),
    "int8": ("w8a8", "w8a16", "eetq", "quanto", "torchao"),
    "int8 without scales": ("w8a8", "w8a16", "eetq", "quanto", "torchao", "bnb-8bit"),
    "mxfp4": ("w4a8",),
}
"""What the same tensors may be besides: whoever packed them says it elsewhere."""
_BITS: Final = {
    "nvfp4": 4,
    "mxfp4": 4,
    "mxfp6": 6,
    "mxfp8": 8,
    "fp8": 8,
    "int8": 8,
    "w4a8": 4,
    "bnb-4bit": 4,
    "bnb-8bit": 8,
}
_RATIOS: Final = {16: "mxfp4", 24: "mxfp6", 32: "mxfp8"}
"""Bytes that share one scale, where 32 values do."""
_EMBEDS: Final = re.compile(r"embed|lm_head|wte\b")
_JOINED: Final = re.compile(r"^(.+?)[_.]?(blocks|scales|scale_inv|scale|packed)$")


def _layers(headers: Iterable[tuple[str, SafetensorsHeader]]) -> Mapping[str, dict[str, Tensor]]:
    """Return tensors by layer and by the last part of their names."""
    found: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for _, header in headers:
        for name, tensor in header.tensors.items():
            layer, _, leaf = name.rpartition(".")
            if leaf.startswith("bitsandbytes__"):
                layer, leaf = layer.removesuffix(".quant_state").removesuffix(".weight"), "bitsandbytes"
            elif leaf.endswith(_ENDINGS) and leaf not in _LEAVES and (joined := _JOINED.match(leaf)):
                layer, leaf = f"{layer}.{joined[1]}", _OF_JOINED.get(joined[2], joined[2])  # experts in one tensor
            elif leaf not in _LEAVES and tensor.dtype in _STORED:
                layer, leaf = name, "weight"
            found[layer][leaf] = tensor
    return found


_ENDINGS: Final = ("_blocks", "_scales", "_scale_inv", "_scale", "_packed")
_OF_JOINED: Final = {"scale_inv": "weight_scale_inv", "scale": "weight_scale", "packed": "weight_packed"}
_LEAVES: Final = frozenset(leaf for _, needs in _SCHEMES for leaf in needs) | {"input_scale", "k_scale", "v_scale"}


def _scheme_of(parts: Mapping[str, Tensor]) -> str | None:
    """Return the scheme of one layer's tensors, ``None`` for tensors as they are."""
    for label, needs in _SCHEMES:
        if all(leaf in parts and (types is None or parts[leaf].dtype in types) for leaf, types in needs.items()):
            if label == _EITHER:
                return _packing(parts)
            return _of_blocks(*(parts[leaf] for leaf in needs)) if label == _BLOCKS else label
    return next((label for label, types in _BARE.items() if any(one.dtype in types for one in parts.values())), None)


def _of_blocks(weight: Tensor, scale: Tensor) -> str | None:
    """Return the format of values that share scales which are powers of two, by how many bytes share one."""
    alike = weight.shape[:-1] == scale.shape[:-1] and scale.shape and scale.shape[-1]
    ratio = weight.shape[-1] // scale.shape[-1] if alike and weight.shape else 0
    label = _RATIOS.get(ratio)
    if weight.dtype in _F8:
        return label if label == "mxfp8" else "fp8"
    return label or _PACKED


def _packing(parts: Mapping[str, Tensor]) -> str:
    """Tell AWQ and GPTQ apart: AWQ packs along the outputs, so that weights and zeros are equally wide."""
    weight, zeros = parts["qweight"], parts["qzeros"]
    return "awq" if weight.shape and zeros.shape and zeros.shape[-1] == weight.shape[-1] else "gptq"


def claims_of_names(names: Iterable[str], source: str) -> Iterator[Claim]:
    """Yield what the names of a shard index say."""
    joined = "\n".join(names) + "\n"  # a search in one text is a hundred times quicker than in each name
    for label, endings in _NAMES:
        if all(ending in joined for ending in endings):
            others = _UNDECIDED.get(label, ())
            yield Claim(label, Evidence(Level.TENSOR_NAMES, source, "names of its tensors"), {}, None, others)
            return


_NAMES: Final = (
    ("exl3", (".trellis\n",)),
    ("exl2", (".q_weight\n", ".q_groups\n")),
    ("bnb-4bit", ("quant_state.bitsandbytes__",)),
    ("bnb-8bit", (".SCB\n",)),
    ("gptq", (".qweight\n", ".g_idx\n")),
    ("awq", (".qweight\n", ".qzeros\n")),
    ("hqq", (".W_q\n",)),
    ("mxfp4", ("_blocks\n", "_scales\n")),
    ("nvfp4", ("weight_packed\n", "weight_global_scale\n")),
    ("fp8", ("weight_scale_inv\n",)),
)
