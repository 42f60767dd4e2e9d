"""Safetensors headers: a length and a JSON object that describes each tensor. Read by hand, and bounded."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Final, TypeGuard

from imageworks.detection.formats.range_reader import FIRST_PIECE, Beginning, HeaderError, RangeReader
from imageworks.foundation.bounded_json import read_json

LONGEST_HEADER: Final = 32 << 20
"""Bytes; the format allows 100 MB, the largest real ones have under ten."""
MOST_TENSORS: Final = 1_000_000
MOST_DIMENSIONS: Final = 32
_PREFIX: Final = 8

BITS: Final[Mapping[str, int]] = {
    "BOOL": 8,
    "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64, "F16": 16, "BF16": 16,
    "F32": 32, "F64": 64, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of an element of each type that the format knows."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's description.

    Args:
        dtype: The format's own word, such as ``BF16``.
        shape: Its dimensions.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a safetensors file says of itself.

    Args:
        tensors: Every tensor by name.
        metadata: The free texts under ``__metadata__``.
        size: Bytes of header, its length included.
        expected_size: Bytes that the file must have.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    size: int
    expected_size: int


def read_safetensors(
    read: RangeReader, size: int, file: str = "file.safetensors", *, first_piece: int = FIRST_PIECE
) -> SafetensorsHeader:
    """Return what a safetensors file says of itself, reading its header alone."""
    beginning = Beginning(read, size, LONGEST_HEADER, file, first_piece=first_piece)
    length = int.from_bytes(beginning.need(_PREFIX)[:_PREFIX], "little")
    end = _PREFIX + length
    text = beginning.need(end)[_PREFIX:end]
    if not text.startswith(b"{"):
        raise HeaderError(file, "it is not a safetensors file")
    try:
        described = read_json(text)
    except ValueError:
        raise HeaderError(file, "its header is not valid JSON") from None
    if not isinstance(described, dict) or len(described) > MOST_TENSORS:
        raise HeaderError(file, "its header does not describe tensors")
    metadata = described.pop("__metadata__", None)
    texts = (
        {key: value for key, value in metadata.items() if isinstance(value, str)} if isinstance(metadata, dict) else {}
    )
    tensors: dict[str, Tensor] = {}
    last = 0
    for name, entry in described.items():
        tensor, data_end = _tensor(entry, file, name)
        tensors[name] = tensor
        last = max(last, data_end)
    return SafetensorsHeader(tensors, texts, end, end + last)


def _tensor(entry: object, file: str, name: str) -> tuple[Tensor, int]:
    """Return a tensor and where its data ends, having checked that the two agree."""
    if isinstance(entry, dict):
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if isinstance(dtype, str) and _is_counts(shape, MOST_DIMENSIONS) and _is_counts(offsets, 2):
            tensor = Tensor(dtype, tuple(shape))
            bits = BITS.get(dtype)
            begin, end = offsets if len(offsets) == 2 else (1, 0)  # noqa: PLR2004 # where it begins and ends
            if begin <= end and (bits is None or -(-tensor.elements * bits // 8) == end - begin):
                return tensor, end
    raise HeaderError(file, f"the tensor {name[:80]!r} is described wrongly")


def _is_counts(value: object, most: int) -> TypeGuard[list[int]]:
    """Tell whether a value is a short list of whole numbers that are not negative."""
    return (
        isinstance(value, list)
        and len(value) <= most
        and all(type(number) is int and 0 <= number < 1 << 62 for number in value)
    )
