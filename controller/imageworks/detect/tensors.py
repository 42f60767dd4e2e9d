"""What tensors say of a quantization: their types and shapes in headers, else their names in a shard index."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from imageworks.detect.evidence import Claim, Evidence, Level
from imageworks.detect.gguf import GgufHeader
from imageworks.detect.safetensors import SafetensorsHeader, Tensor

_PLAIN: Final = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64"}
_WORD_BITS: Final = 32
_MOST: Final = 0.5

_AUXILIARY: Final = (
    ".scales", ".qzeros", ".g_idx", ".biases", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB",
    "weight_scale", "weight_scale_inv", "weight_scale_2", "input_scale", "k_scale", "v_scale", "_scales",
    "weight_zero_point", "weight_shape", "weight_g_idx", "weight_global_scale", "input_global_scale", "weight_format",
    "bitsandbytes__nf4", "bitsandbytes__fp4",
)  # fmt: skip
"""Endings of tensors that serve others and hold no parameters."""


def claim_of_gguf(header: GgufHeader, source: str) -> Claim | None:
    """Return what a GGUF header says: the type it was written as, else the type that most of it has.

    Args:
        header: The header.
        source: The file's path.
    """
    details = {"method": "gguf", "main_type": header.main_type}
    if header.file_type:
        return Claim(header.file_type, Evidence(Level.HEADER, source, "general.file_type"), details)
    if header.main_type and not header.main_type.startswith("type-"):
        return Claim(header.main_type, Evidence(Level.HEADER, source, "type of most tensors"), details)
    return None


def claims_of_safetensors(headers: Sequence[tuple[str, SafetensorsHeader]], *, complete: bool) -> Iterator[Claim]:
    """Yield what safetensors headers say.

    Plain types are strong evidence only when every file's header was read: a shard may hold just what is not quantized.

    Args:
        headers: Paths and headers.
        complete: Whether these are all of the model's files.
    """
    if not headers:
        return
    source = headers[0][0]
    tensors: dict[str, Tensor] = {}
    for _, header in headers:
        tensors.update(header.tensors)
    label = _packing(tensors)
    if label:
        yield Claim(label, Evidence(Level.HEADER, source, "types, shapes and names of its tensors"))
        return
    named = _label_of_names(tensors)
    if named:
        yield Claim(named, Evidence(Level.TENSOR_NAMES, source, "names of its tensors"))
    elements: Counter[str] = Counter()
    for tensor in tensors.values():
        elements[tensor.dtype] += tensor.elements
    total = sum(elements.values())
    if not total:
        return
    dtype, count = elements.most_common(1)[0]
    if dtype.startswith("F8_E") and dtype != "F8_E8M0" and count / total > _MOST:
        yield Claim("fp8", Evidence(Level.HEADER, source, f"tensors are {dtype}"), {"bits": 8})
    elif dtype == "I8" and count / total > _MOST:
        yield Claim("int8", Evidence(Level.TENSOR_NAMES, source, "tensors are I8"), {"bits": 8})
    elif dtype in _PLAIN and not named:
        level = Level.HEADER if complete else Level.DTYPE
        yield Claim(_PLAIN[dtype], Evidence(level, source, f"tensors are {dtype}"))


def claims_of_names(names: Iterable[str], source: str) -> Iterator[Claim]:
    """Yield what the names of a shard index say.

    Args:
        names: The tensors' names.
        source: The index's path.
    """
    label = _label_of_names(names)
    if label:
        yield Claim(label, Evidence(Level.TENSOR_NAMES, source, "names of its tensors"))


def parameters_of(headers: Iterable[SafetensorsHeader], details: Mapping[str, object]) -> int:
    """Return how many parameters tensors hold, unpacking what quantizers packed into larger words.

    Args:
        headers: The headers of all files.
        details: What is known of the quantization; its bits tell how many values a packed word holds.
    """
    bits = details.get("bits")
    bits = bits if isinstance(bits, int) and 1 <= bits <= _WORD_BITS else None
    total = 0
    for header in headers:
        four_bit_bytes = any("quant_state.bitsandbytes" in name or name.endswith("_blocks") for name in header.tensors)
        half_bytes = four_bit_bytes or any(name.endswith("weight_scale_2") for name in header.tensors)
        for name, tensor in header.tensors.items():
            if name.endswith(_AUXILIARY):
                continue
            count = tensor.elements
            if tensor.dtype in {"I32", "U32"} and bits and name.endswith(("qweight", "weight_packed", ".weight")):
                count = count * _WORD_BITS // bits
            elif tensor.dtype == "U8" and (half_bytes or name.endswith("weight_packed")):
                count *= 2
            total += count
    return total


def _packing(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the scheme that types and shapes prove."""
    joined = _joined(tensors)
    if "quant_state.bitsandbytes__" in joined:
        return "bnb-4bit"
    if ".SCB\n" in joined:
        return "bnb-8bit"
    if ".qweight\n" in joined and ".qzeros\n" in joined:
        return _awq_or_gptq(tensors)
    if "weight_scale_2\n" in joined or "weight_global_scale\n" in joined:
        return "nvfp4"
    if "_blocks\n" in joined and "_scales\n" in joined:
        return "mxfp4"
    return None


def _awq_or_gptq(tensors: Mapping[str, Tensor]) -> str | None:
    """Tell AWQ and GPTQ apart: AWQ packs along the outputs, so that weights and zeros are equally wide."""
    if any(name.endswith(".g_idx") for name in tensors):
        return "gptq"
    for name, tensor in tensors.items():
        if name.endswith(".qweight"):
            zeros = tensors.get(f"{name.removesuffix('qweight')}qzeros")
            if zeros and zeros.shape and tensor.shape:
                return "awq" if zeros.shape[-1] == tensor.shape[-1] else "gptq"
    return None


def _label_of_names(names: Iterable[str]) -> str | None:
    """Return the scheme that tensors' names hint at."""
    joined = _joined(names)
    for label, endings in _HINTS:
        if all(ending in joined for ending in endings):
            return label
    return None


_HINTS: Final = (
    ("exl3", (".trellis\n",)),
    ("exl2", (".q_weight\n", ".q_groups\n")),
    ("bnb-4bit", ("quant_state.bitsandbytes__",)),
    ("bnb-8bit", (".SCB\n",)),
    ("gptq", (".qweight\n", ".g_idx\n")),
    ("awq", (".qweight\n", ".qzeros\n")),
    ("hqq", (".W_q\n",)),
    ("mxfp4", ("_blocks\n", "_scales\n")),
    ("nvfp4", ("weight_scale_2\n",)),
    ("nvfp4", ("weight_global_scale\n",)),
    ("fp8", ("weight_scale_inv\n",)),
)


def _joined(names: Iterable[str]) -> str:
    """Return names as one text: a search in it is a hundred times quicker than in each."""
    return "\n".join(names) + "\n"
