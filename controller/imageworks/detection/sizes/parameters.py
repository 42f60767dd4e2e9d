"""How many parameters a model has, and how that was counted.

The headers of the chosen weights say it exactly, once what quantizers packed is unpacked. Where not all of them were
read, the plain weights' bytes say it, else the shape in the config, else the name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Final, Literal

from imageworks.detection.formats.gguf_header import GgufHeader
from imageworks.detection.formats.safetensors_header import SafetensorsHeader, Tensor
from imageworks.detection.sizes.estimated_parameters import Estimate
from imageworks.foundation.json_values import part, whole

Counted = Literal["headers", "index", "config", "name"]
_WORD: Final = 32
_MATRIX: Final = 2
_SCALES: Final = ("weight_scale", "weight_scale_inv", "scales", "scale", "weight_scale_2")
_AUXILIARY: Final = (
    ".scales", ".qzeros", ".g_idx", ".biases", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB",
    "weight_scale", "weight_scale_inv", "weight_scale_2", "input_scale", "k_scale", "v_scale", "_scales",
    "weight_zero_point", "weight_shape", "weight_g_idx", "weight_global_scale", "input_global_scale", "weight_format",
    "bitsandbytes__nf4", "bitsandbytes__fp4", "output_scale", "q_scale", "pre_quant_scale", "_scale_inv",
    ".q_invperm", ".q_perm", ".q_scale_max", ".q_groups", ".q_group_map", ".suh", ".svh", ".su", ".sv", ".mcg", ".mul1",
    ".codebooks", ".inv_freq", ".position_ids", ".masked_bias", ".lookup_table", "hadamard_matrix", ".smooth",
)  # fmt: skip
"""Endings of tensors that serve others and hold no parameters."""
_OPAQUE: Final = frozenset({"vptq", "spqr", "higgs", "quip", "quanto", "squeezellm"})
"""Schemes whose tensors do not tell what they stand for."""
_PLAIN_BYTES: Final = {
    "bf16": 2, "fp16": 2, "fp32": 4, "fp64": 8, "fp8": 1, "w8a8": 1, "bnb-8bit": 1, "int8": 1, "mxfp8": 1,
}  # fmt: skip
_WHOLE_BYTES: Final = frozenset({"bf16", "fp16", "fp32", "fp64"})
_SIZE: Final = re.compile(r"(?<![a-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])")
_ACTIVE: Final = re.compile(r"(?<![a-z0-9])a(\d{1,3}(?:\.\d{1,2})?)b(?![a-z0-9])")
_NEAR: Final = 0.12
_FAR: Final = 0.3
_FEWEST_BITS, _MOST_BITS = 1.0, 40.0


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """How many parameters a model has.

    Args:
        total: All of them.
        counted: From what: every header, the plain weights' bytes with their index, the config's shape, or the name.
        active: Those that one token passes through, where that is fewer.
    """

    total: int
    counted: Counted
    active: int | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """What is known of the chosen weights.

    Args:
        size: Their bytes.
        quantization: Their label.
        details: What is known of it.
        headers: Headers of safetensors files.
        gguf: Headers of GGUF files.
        complete: Whether these are the headers of all of them.
        said: What the shard index says: ``total_parameters``.
        indexed: Whether there is a shard index.
    """

    size: int
    quantization: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    headers: tuple[SafetensorsHeader, ...] = ()
    gguf: tuple[GgufHeader, ...] = ()
    complete: bool = False
    said: int | None = None
    indexed: bool = False


def count_parameters(
    weights: Weights, config: Mapping[str, object], estimate: Estimate | None, name: str = ""
) -> ParameterCount | None:
    """Return how many parameters the chosen weights hold, from the best evidence there is."""
    shape, inactive = (estimate.total, estimate.inactive) if estimate else (None, 0)
    found = _counted(weights, shape, config, name)
    if found is None:
        return None
    total, how = found
    passed = min(shape, total) if shape and _is_near(shape, total, _FAR) else total  # layers that look ahead are not
    active = passed - inactive if inactive else None
    if active is None and (said := _ACTIVE.search(name.lower())) is not None:
        active = round(float(said[1]) * 1e9)
    return ParameterCount(total, how, active if active is not None and 0 < active < total else None)


def _counted(
    weights: Weights, shape: int | None, config: Mapping[str, object], name: str
) -> tuple[int, Counted] | None:
    if weights.complete and weights.quantization not in _OPAQUE:
        groups = _mlx_groups(config)
        total = sum(parameters_of(one, weights.details, groups) for one in weights.headers)
        total += sum(one.parameters for one in weights.gguf)
        if total:
            return total, "headers"
    width = _PLAIN_BYTES.get(weights.quantization or "")
    if weights.said and width and _is_near(weights.said * width, weights.size, _NEAR if width > 1 else 2 * _NEAR):
        return weights.said, "index"
    by_size = weights.size // width if width and weights.quantization in _WHOLE_BYTES else 0
    if by_size and not _is_doubled(by_size, shape):
        return by_size, "index" if weights.indexed else "config"
    if shape and _is_plausible(shape, weights.size):
        return shape, "config"
    named = parameters_of_name(name)
    return (named, "name") if named and _is_plausible(named, weights.size) else None


def _is_near(one: int, other: int, part_of_it: float) -> bool:
    return abs(one - other) <= part_of_it * max(one, other)


def _is_doubled(count: int, shape: int | None) -> bool:
    """Tell whether a count is a power of two away from what the shape says: the weights are of another type."""
    return shape is not None and any(_is_near(count * times, shape * by, _NEAR) for times, by in _DOUBLED)


_DOUBLED: Final = ((1, 2), (2, 1), (1, 4), (4, 1))


def _is_plausible(count: int, size: int) -> bool:
    """Tell whether so many parameters can be in so many bytes; bytes that are not known contradict nothing."""
    return not size or _FEWEST_BITS <= size * 8 / count <= _MOST_BITS


def parameters_of_name(name: str) -> int | None:
    """Return what a name says: ``8b``, ``8x7b``, ``135m``."""
    found = _SIZE.findall(name.rpartition("/")[2].lower().replace("_", "-"))
    sizes = [int(times or 1) * float(number) * (1e9 if unit == "b" else 1e6) for times, number, unit in found]
    return round(max(sizes)) if sizes else None


def parameters_of(
    header: SafetensorsHeader, details: Mapping[str, object], groups: Mapping[str, int] | None = None
) -> int:
    """Return how many parameters one file's tensors hold, unpacking what quantizers packed."""
    tensors = header.tensors
    return sum(_held(name, tensor, tensors, details, groups or {}) for name, tensor in tensors.items())


def _held(
    name: str,
    tensor: Tensor,
    tensors: Mapping[str, Tensor],
    details: Mapping[str, object],
    groups: Mapping[str, int],
) -> int:
    """Return how many parameters one tensor stands for."""
    module, _, own = name.rpartition(".")
    if f"{module}.W_q" in tensors and own not in {"W_q", "bias"}:
        return 0  # HQQ keeps its settings as tensors
    if tensor.dtype in _FLOATS and not name.endswith(_AUXILIARY):
        return 0 if _is_buffer(name, tensor) or (own == "scale" and f"{module}.weight" in tensors) else tensor.elements
    reader = _READERS.get(own)
    if reader is not None:
        return reader(module, tensor, tensors, details)
    if name.endswith(_AUXILIARY) or tensor.dtype in {"BOOL", "I64", "F8_E8M0"}:
        return 0
    if own == "weight" or own.endswith(("_blocks", "_packed", "qdata", "_proj", "weight")):
        return _packed_weight(module, own, tensor, tensors, details, groups)
    return tensor.elements


_FLOATS: Final = frozenset({"BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2", "F4"})


def _is_buffer(name: str, tensor: Tensor) -> bool:
    """Tell whether a tensor is a mask that old GPT checkpoints carry along."""
    return name.endswith(".attn.bias") and len(tensor.shape) > _MATRIX


def _bits(details: Mapping[str, object], usual: int) -> int:
    bits = details.get("bits")
    return bits if isinstance(bits, int) and 1 <= bits <= _WORD else usual


def _qweight(module: str, tensor: Tensor, tensors: Mapping[str, Tensor], details: Mapping[str, object]) -> int:
    """GPTQ and AWQ: zeros are packed as weights are, scales are not, so that both together say the bits."""
    zeros, scales = tensors.get(f"{module}.qzeros"), tensors.get(f"{module}.scales")
    width = _WIDTHS.get(tensor.dtype, _WORD)
    if zeros is not None and scales is not None and zeros.elements and scales.elements:
        return tensor.elements * scales.elements // zeros.elements
    return tensor.elements * width // _bits(details, 4)


def _q_weight(module: str, tensor: Tensor, tensors: Mapping[str, Tensor], details: Mapping[str, object]) -> int:
    """EXL2: rows of several widths; the permutation is as long as there are inputs."""
    inputs = tensors.get(f"{module}.q_invperm")
    if inputs is not None and tensor.shape:
        return inputs.elements * tensor.shape[-1]
    return tensor.elements * _WORD // _bits(details, 4)


def _trellis(module: str, tensor: Tensor, tensors: Mapping[str, Tensor], details: Mapping[str, object]) -> int:  # noqa: ARG001
    """EXL3: tiles of 16 by 16."""
    return prod(tensor.shape[:_MATRIX]) * 256


def _codes(module: str, tensor: Tensor, tensors: Mapping[str, Tensor], details: Mapping[str, object]) -> int:  # noqa: ARG001
    """AQLM: a code stands for a group of inputs, eight where nothing says otherwise; several codebooks add up."""
    books = tensors.get(f"{module}.codebooks")
    return prod(tensor.shape[:_MATRIX]) * (books.shape[-1] if books is not None and books.shape else 8)


def _w_q(module: str, tensor: Tensor, tensors: Mapping[str, Tensor], details: Mapping[str, object]) -> int:  # noqa: ARG001
    """HQQ: as many values in a word as its bits go into it."""
    return tensor.elements * (_WIDTHS.get(tensor.dtype, 8) // _bits(details, 4))


_READERS: Final = {"qweight": _qweight, "q_weight": _q_weight, "trellis": _trellis, "codes": _codes, "W_q": _w_q}
_WIDTHS: Final = {"U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64}


def _packed_weight(  # noqa: PLR0911 # one return a packing
    module: str,
    own: str,
    tensor: Tensor,
    tensors: Mapping[str, Tensor],
    details: Mapping[str, object],
    groups: Mapping[str, int],
) -> int:
    """Return what a tensor of whole numbers stands for whose name is that of plain weights."""
    count, width = tensor.elements, _WIDTHS.get(tensor.dtype)
    scales = next((found for end in _SCALES if (found := tensors.get(f"{module}.{end}")) is not None), None)
    if width is None or own.endswith("_blocks"):
        return count * 2 if width else count
    if tensor.dtype == "U32":  # MLX: a scale for each group
        if scales is not None and groups:
            return scales.elements * groups.get(module, groups.get("", 64))
        return count * _WORD // _bits(details, 4)
    if width == _WORD:
        group = details.get("group_size")
        if (
            scales is not None
            and len(scales.shape) == _MATRIX < scales.shape[-1]
            and isinstance(group, int)
            and group > 1
        ):
            return scales.elements * group
        return count * _WORD // _bits(details, 4)
    if (
        f"{module}.{own}.quant_state.bitsandbytes__nf4" in tensors
        or f"{module}.{own}.quant_state.bitsandbytes__fp4" in tensors
    ):
        return count * 2
    if own.endswith("_packed"):
        return count * width // _bits(details, 4)
    if details.get("method") == "bitnet":
        return count * 4
    if scales is None or len(scales.shape) < _MATRIX or scales.shape[-1] < 1 or not tensor.shape:
        return count if tensor.dtype == "I8" or scales is None else count * 2
    return count * 2 if tensor.dtype == "U8" or tensor.shape[-1] // scales.shape[-1] in {8, 16} else count


def _mlx_groups(config: Mapping[str, object]) -> dict[str, int]:
    """Return MLX's group sizes by module, the usual one under the empty name."""
    said = part(config, "quantization")
    usual = whole(said, "group_size")
    if not usual or usual < 1:
        return {}
    own = {name: size for name, one in said.items() if isinstance(one, Mapping) and (size := whole(one, "group_size"))}
    return {**{name: size for name, size in own.items() if size > 0}, "": usual}
