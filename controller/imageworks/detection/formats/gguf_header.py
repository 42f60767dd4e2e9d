"""GGUF headers, read by hand: the ``gguf`` package takes seconds on a large vocabulary and trusts what it reads.

Only the header is read. Vocabularies are stepped over, not kept; every count and length is held against the file's size
and a fixed limit before anything is done with it, so that time and memory stay bounded whatever the bytes are.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from imageworks.detection.formats.range_reader import FIRST_PIECE, Beginning, HeaderError, RangeReader

MAGIC: Final = b"GGUF"
LONGEST_HEADER: Final = 64 << 20
LONGEST_STRING: Final = 1 << 20
MOST_KEYS: Final = 16_384
MOST_TENSORS: Final = 262_144
MOST_ELEMENTS: Final = 4_000_000
"""Strings of all arrays together; the largest vocabularies with their merges have under a million."""
KEPT_ELEMENTS: Final = 1_024
MOST_DIMENSIONS: Final = 8
DEFAULT_ALIGNMENT: Final = 32

Scalar = int | float | bool | str
Value = Scalar | tuple[Scalar, ...]

_STRING: Final = 8
_ARRAY: Final = 9
_FORMATS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

FILE_TYPES: Final[Mapping[int, str]] = {
    0: "fp32", 1: "fp16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1", 10: "q2_k", 11: "q3_k_s", 12: "q3_k_m",
    13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s", 17: "q5_k_m", 18: "q6_k", 19: "iq2_xxs", 20: "iq2_xs",
    21: "q2_k_s", 22: "iq3_xs", 23: "iq3_xxs", 24: "iq1_s", 25: "iq4_nl", 26: "iq3_s", 27: "iq3_m", 28: "iq2_s",
    29: "iq2_m", 30: "iq4_xs", 31: "iq1_m", 32: "bf16", 33: "q4_0_4_4", 34: "q4_0_4_8", 35: "q4_0_8_8", 36: "tq1_0",
    37: "tq2_0", 38: "mxfp4", 39: "nvfp4", 40: "q1_0",
    135: "q6_0", 138: "iq2_k", 139: "iq3_k", 140: "iq4_k", 141: "iq5_k", 142: "iq6_k", 145: "iq4_ks", 147: "iq2_ks",
    148: "iq4_kss", 150: "iq5_ks", 151: "iq2_kt", 152: "iq3_kt", 153: "iq4_kt", 154: "iq3_ks", 156: "iq1_kt",
}  # fmt: skip
"""llama.cpp's numbers in ``general.file_type``, and ik_llama.cpp's above 127."""
GUESSED: Final = 1024
"""The bit of a file type that was guessed."""
_BITNET: Final[Mapping[tuple[int, int], str]] = {(38, 38): "tl1", (39, 39): "tl2", (40, 36): "i2_s"}
"""bitnet.cpp's file types, which mean something else upstream, with the tensor type that proves them."""

TENSOR_TYPES: Final[Mapping[int, tuple[str, int, int]]] = {
    0: ("fp32", 1, 4), 1: ("fp16", 1, 2), 2: ("q4_0", 32, 18), 3: ("q4_1", 32, 20), 6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24), 8: ("q8_0", 32, 34), 9: ("q8_1", 32, 40), 10: ("q2_k", 256, 84), 11: ("q3_k", 256, 110),
    12: ("q4_k", 256, 144), 13: ("q5_k", 256, 176), 14: ("q6_k", 256, 210), 15: ("q8_k", 256, 292),
    16: ("iq2_xxs", 256, 66), 17: ("iq2_xs", 256, 74), 18: ("iq3_xxs", 256, 98), 19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18), 21: ("iq3_s", 256, 110), 22: ("iq2_s", 256, 82), 23: ("iq4_xs", 256, 136),
    24: ("int8", 1, 1), 25: ("int16", 1, 2), 26: ("int32", 1, 4), 27: ("int64", 1, 8), 28: ("fp64", 1, 8),
    29: ("iq1_m", 256, 56), 30: ("bf16", 1, 2), 34: ("tq1_0", 256, 54), 35: ("tq2_0", 256, 66), 36: ("i2_s", 128, 32),
    38: ("tl1", 4, 1), 39: ("mxfp4", 32, 17), 40: ("nvfp4", 64, 36), 41: ("q1_0", 128, 18),
    133: ("q6_0", 32, 26), 137: ("iq2_k", 256, 76), 138: ("iq3_k", 256, 110), 139: ("iq4_k", 256, 144),
    140: ("iq5_k", 256, 176), 141: ("iq6_k", 256, 212),
}  # fmt: skip
"""ggml's tensor types: our label, elements a block, bytes a block; 36 and 38 are bitnet.cpp's."""

BASES: Final[Mapping[str, tuple[str, ...]]] = {
    "q2_k_s": ("q2_k",), "q3_k_s": ("q3_k",), "q3_k_m": ("q3_k",), "q3_k_l": ("q3_k",), "q4_k_s": ("q4_k",),
    "q4_k_m": ("q4_k",), "q5_k_s": ("q5_k",), "q5_k_m": ("q5_k",), "iq3_xs": ("iq3_s", "iq3_xxs"), "iq3_m": ("iq3_s",),
    "iq2_s": ("iq2_xs", "iq2_s"), "iq2_m": ("iq2_s",), "q4_0_4_4": ("q4_0",), "q4_0_4_8": ("q4_0",),
    "q4_0_8_8": ("q4_0",), "tl2": ("mxfp4",),
}  # fmt: skip
"""The tensor types that most of a mix has, where it is called otherwise."""


_EMBEDDINGS: Final = ("token_embd", "output.", "per_layer_token_embd", "position_embd", "token_types")


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself.

    Args:
        version: The format's version.
        metadata: Scalars, and arrays of up to `KEPT_ELEMENTS` elements.
        lengths: How many elements each array has, kept or not.
        elements: Elements by tensor type, by our label or ``type-<number>`` for one that we do not know.
        body: Likewise without embeddings and output, which are the larger part of small models.
        tensors: How many tensors this file holds.
        size: Bytes of header, alignment included: where the tensors' data begins.
        expected_size: Bytes that the file must at least have for all its tensors to be there.
    """

    version: int
    metadata: Mapping[str, Value]
    lengths: Mapping[str, int]
    elements: Mapping[str, int]
    tensors: int
    size: int
    expected_size: int
    body: Mapping[str, int] = field(default_factory=dict)

    def text(self, key: str) -> str | None:
        """Return a text value, or ``None`` when it is absent or of another type."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> int | None:
        """Return a whole number, or ``None`` when it is absent or of another type."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def architecture(self) -> str | None:
        """The model's architecture, such as ``qwen2vl``; ``clip`` for projectors."""
        return self.text("general.architecture")

    @property
    def file_type(self) -> str | None:
        """The quantization that the file was written as, by our label."""
        number = self.number("general.file_type")
        if number is None or number < 0:
            return None
        kinds = {kind for kind, (label, _, _) in TENSOR_TYPES.items() if label in self.elements}
        bitnet = (label for (file, kind), label in _BITNET.items() if file == number and kind in kinds)
        return next(bitnet, FILE_TYPES.get(number & ~GUESSED))

    @property
    def main_type(self) -> str | None:
        """The tensor type that most elements have, embeddings and output left out."""
        counted = self.body or self.elements
        return max(counted, key=lambda label: counted[label]) if counted else None

    @property
    def parameters(self) -> int:
        """Elements of all tensors of this file."""
        return sum(self.elements.values())


def read_gguf(read: RangeReader, size: int, file: str = "file.gguf", *, first_piece: int = FIRST_PIECE) -> GgufHeader:
    """Return what a GGUF file says of itself, reading its header alone."""
    return _Reader(Beginning(read, size, LONGEST_HEADER, file, first_piece=first_piece)).read()


@dataclass(slots=True)
class _Collected:
    """What has been read so far."""

    metadata: dict[str, Value] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    elements: dict[str, int] = field(default_factory=dict)
    body: dict[str, int] = field(default_factory=dict)
    stepped: int = 0
    data_end: int = 0


class _Reader:
    """A cursor over the beginning of a file."""

    def __init__(self, beginning: Beginning) -> None:
        self._beginning = beginning
        self._position = 0
        self._order = "<"
        self._found = _Collected()
        self._u32 = struct.Struct("<I")
        self._u64 = struct.Struct("<Q")

    def read(self) -> GgufHeader:
        """Read it all."""
        version = self._read_version()
        tensors, keys = self._count("tensors", MOST_TENSORS, 24), self._count("keys", MOST_KEYS, 13)
        for _ in range(keys):
            self._read_pair()
        for _ in range(tensors):
            self._read_tensor()
        alignment = self._alignment()
        start = (self._position + alignment - 1) // alignment * alignment
        found = self._found
        expected = start + found.data_end if tensors else self._position
        return GgufHeader(version, found.metadata, found.lengths, found.elements, tensors, start, expected, found.body)

    def _fail(self, problem: str, *, certain: bool = True) -> HeaderError:
        return HeaderError(self._beginning.file, problem, certain=certain)

    def _read_version(self) -> int:
        """Check magic and version; the version's bytes also tell the file's byte order."""
        if self._beginning.size < len(MAGIC) or self._beginning.need(len(MAGIC))[: len(MAGIC)] != MAGIC:
            raise self._fail("it is not a GGUF file")
        self._position = len(MAGIC)
        version = self._unsigned32()
        if version and not version & 0xFFFF:
            self._order = ">"
            self._u32, self._u64 = struct.Struct(">I"), struct.Struct(">Q")
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in {2, 3}:
            message = f"its GGUF version is {version}, and only 2 and 3 can be read"
            raise self._fail(message, certain=version < 2)  # noqa: PLR2004 # no loader reads the first one any more
        return version

    def _count(self, what: str, most: int, smallest: int) -> int:
        """Return a count, held against what the rest of the file could hold."""
        count = self._unsigned64()
        if count > most or count * smallest > self._beginning.size - self._position:
            raise self._fail(f"it claims {count} {what}, more than such a file can hold")
        return count

    def _unsigned32(self) -> int:
        end = self._position + 4
        value: int = self._u32.unpack_from(self._beginning.need(end), self._position)[0]
        self._position = end
        return value

    def _unsigned64(self) -> int:
        end = self._position + 8
        value: int = self._u64.unpack_from(self._beginning.need(end), self._position)[0]
        self._position = end
        return value

    def _bytes(self) -> bytes:
        """Return a string's bytes."""
        length = self._unsigned64()
        if length > LONGEST_STRING:
            raise self._fail(f"it holds a text of {length} bytes, more than {LONGEST_STRING}", certain=False)
        start, self._position = self._position, self._position + length
        return self._beginning.need(self._position)[start : self._position]

    def _name(self) -> str:
        """Return a key or a tensor's name."""
        try:
            return self._bytes().decode()
        except UnicodeDecodeError:
            raise self._fail("it holds a name that is not UTF-8") from None

    def _read_pair(self) -> None:
        """Read one key and its value."""
        key = self._name()
        if key in self._found.metadata or key in self._found.lengths:
            raise self._fail(f"it holds the key {key[:80]!r} twice")
        kind = self._unsigned32()
        if kind == _ARRAY:
            self._read_array(key)
        elif kind == _STRING:
            self._found.metadata[key] = self._bytes().decode(errors="replace")
        else:
            self._found.metadata[key] = self._numbers(kind, 1)[0]

    def _numbers(self, kind: int, count: int) -> tuple[Scalar, ...]:
        """Return numbers of one type."""
        code = _FORMATS.get(kind)
        if code is None:
            raise self._fail(f"it holds a value of the unknown type {kind}", certain=False)
        form = f"{self._order}{count}{code}"
        start, self._position = self._position, self._position + struct.calcsize(form)
        values: tuple[Scalar, ...] = struct.unpack_from(form, self._beginning.need(self._position), start)
        return values

    def _read_array(self, key: str) -> None:
        """Read a short array, or step over a long one."""
        kind, count = self._unsigned32(), self._unsigned64()
        width = 8 if kind == _STRING else struct.calcsize(f"<{_FORMATS[kind]}") if kind in _FORMATS else 0
        if not width:
            raise self._fail(f"the array {key[:80]!r} holds values of the type {kind}, which cannot be")
        if count * width > self._beginning.size - self._position:
            raise self._fail(f"the array {key[:80]!r} claims {count} elements, more than the file can hold")
        self._found.lengths[key] = count
        if kind != _STRING:
            if count <= KEPT_ELEMENTS:
                self._found.metadata[key] = self._numbers(kind, count)
            else:
                self._position += count * width
                self._beginning.need(self._position)
            return
        self._found.stepped += count
        if self._found.stepped > MOST_ELEMENTS:
            raise self._fail(f"its arrays hold more than {MOST_ELEMENTS} texts", certain=False)
        if count <= KEPT_ELEMENTS:
            self._found.metadata[key] = tuple(self._bytes().decode(errors="replace") for _ in range(count))
        else:
            self._step_over_texts(count)

    def _step_over_texts(self, count: int) -> None:
        """Step over texts, hot: one unpacking each, with the bounds checked by the unpacking itself."""
        unpack, position, left = self._u64.unpack_from, self._position, count
        data = self._beginning.data
        while left:
            done = 0
            try:
                for done in range(left):  # noqa: B007 - how far it came is what counts when it fails
                    position += unpack(data, position)[0] + 8
            except (struct.error, OverflowError):
                data = self._beginning.need(position + 8)
                left -= done
            else:
                left = 0
        self._position = position
        self._beginning.need(position)

    def _read_tensor(self) -> None:
        """Read one tensor's description."""
        name = self._name()
        dimensions = self._unsigned32()
        if dimensions > MOST_DIMENSIONS:
            raise self._fail(f"the tensor {name[:80]!r} has {dimensions} dimensions")
        count = 1
        for _ in range(dimensions):
            count *= self._unsigned64()
        kind, offset = self._unsigned32(), self._unsigned64()
        if count >= 1 << 62 or offset >= 1 << 62:
            raise self._fail(f"the tensor {name[:80]!r} has {count} elements at {offset}, which cannot be")
        label, block, width = TENSOR_TYPES.get(kind, (f"type-{kind}", 1, 0))
        elements, body = self._found.elements, self._found.body
        elements[label] = elements.get(label, 0) + count
        if dimensions > 1 and not name.startswith(_EMBEDDINGS):
            body[label] = body.get(label, 0) + count
        self._found.data_end = max(self._found.data_end, offset + -(-count // block) * width)

    def _alignment(self) -> int:
        """Return what the tensors' data is aligned to, in bytes."""
        value = self._found.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(value, int) or not 1 <= value <= LONGEST_STRING or value & (value - 1):
            raise self._fail(f"its alignment is {value!r}, which is no power of two")
        return value
